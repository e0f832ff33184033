"""The program that copies samples out of PostgreSQL: a process of its own, since COPY and the
deadlines of the API's own connections exclude each other.

It reads one JSON object from stdin, `{"url", "count", "copy", "values", "header", "start"}`, and
writes to stdout a line with the number of rows, counted in the same snapshot, then what COPY
writes; with a header, that and the rows as lines of CSV, which begin with `start`. It ends with 0
when all is written, with BUSY when two others are at work on this database, else with 1.
"""

import fcntl
import io
import json
import os
import sys
from contextlib import suppress

import psycopg2

BUSY = 75
PIECE = 1 << 15  # larger ones are given back to the system each time, which takes as long again
PLACES = (7_395_021_001, 7_395_021_002)  # advisory locks: so many copy at a time, of all servers


def main() -> int:
    """Copy what stdin asks for; returns the exit code."""
    asked = json.load(sys.stdin)
    connection = psycopg2.connect(asked["url"], fallback_application_name="sunspool-export")
    connection.set_session("REPEATABLE READ", readonly=True)
    with connection, connection.cursor() as cursor:
        if not any(_take(cursor, place) for place in PLACES):
            return BUSY
        cursor.execute(asked["count"], asked["values"])
        sys.stdout.write(f"{cursor.fetchone()[0]}\n")
        sys.stdout.flush()
        query = cursor.mogrify(asked["copy"], asked["values"]).decode()
        with suppress(OSError):  # a user has only so much room in pipes
            fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 8 * PIECE)
        with _out(asked["header"], asked["start"]) as out:
            cursor.copy_expert(query, out)
    sys.stdout.flush()
    return 0


class Lines(io.RawIOBase):
    """Rows like `2026-01-01 00:00:05Z,583,` to stdout as CSV of RFC 4180."""

    def __init__(self, header: str, start: str):
        self._out, self._start, self._rest = sys.stdout.buffer, start.encode(), b""
        self._out.write(f"{header}\r\n".encode())

    def writable(self) -> bool:
        """As io.BufferedWriter asks."""
        return True

    def write(self, piece: memoryview) -> int:
        """Write the lines that are whole by now."""
        lines, end, self._rest = (self._rest + piece).rpartition(b"\n")
        if end:
            lines = (self._start + lines).replace(b" ", b"T").replace(b"/", b" ")
            self._out.write(lines.replace(b"\n", b"\r\n" + self._start) + b"\r\n")
        return len(piece)


def _out(header: str, start: str) -> io.BufferedWriter:
    return io.BufferedWriter(Lines(header, start) if header else io.FileIO(os.dup(1), "w"), PIECE)


def _take(cursor: psycopg2.extensions.cursor, place: int) -> bool:
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (place,))
    return cursor.fetchone()[0]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (psycopg2.Error, OSError) as error:
        print(type(error).__name__, file=sys.stderr)  # noqa: T201 - its words may hold a password
        sys.exit(1)
