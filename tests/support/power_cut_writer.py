"""A program that fills and empties a spool, and says on stdout what was confirmed to it.

python -m tests.support.power_cut_writer SPOOL FULL|NORMAL READINGS [FIRST]
"""

import functools
import os
import sqlite3
import sys
from typing import Any

from edge_agent.spool.queue import Spool
from tests.support.readings import reading


def say(line: str) -> None:
    """One write per line, so that its place among the writes to disk can be traced."""
    os.write(1, f"{line}\n".encode())


class Weakened(sqlite3.Connection):
    """A connection that does not wait for the disk, to show that the test can fail."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Run a statement; every transaction is as weak as the first."""
        if sql.startswith("BEGIN"):
            super().execute("PRAGMA synchronous = NORMAL")
        return super().execute(sql, *parameters)


def main(path: str, synchronous: str, count: str, first: str = "0") -> None:
    """Enqueue so many readings; confirm most, refuse some, close and open once in between."""
    if synchronous != "FULL":
        sqlite3.connect = functools.partial(sqlite3.connect, factory=Weakened)
    spool = Spool(path)
    for n in range(int(first), int(first) + int(count)):
        say(f"begin {n}")
        if spool.enqueue(reading(n)):
            say(f"stored {n}")
        if n % 60 == 59:
            entries = spool.peek(50)
            last = entries.pop()
            say("end " + " ".join(str(entry.sample["pv_power_w"]) for entry in entries))
            spool.ack([entry.id for entry in entries])
            say("ended " + " ".join(str(entry.sample["pv_power_w"]) for entry in entries))
            spool.set_aside([(last.id, "refused")])
        if n == int(count) // 2:
            spool.close()
            spool = Spool(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
