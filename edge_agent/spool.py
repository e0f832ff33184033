"""The spool: a queue on disk that no power cut, full disk or bad sector makes forget a reading.

`enqueue` returns True when the reading is on disk. Until its batch is confirmed (`ack`) or refused
(`set_aside`) it stays there. Every change is first noted in memory and then written; what can not
be written now (no room, a failing disk) stays in memory, can be sent from there, and is written
by the first call that succeeds. So a full disk never stops the agent and never refuses a
confirmation; at worst a confirmed reading is sent again, which the server recognises.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent.logs import event
from edge_agent.samples import parse_time
from edge_agent.spool_file import (
    COUNTERS,
    DAMAGED,
    Row,
    SpoolCorrupt,
    SpoolError,
    SpoolFailed,
    SpoolFile,
    SpoolFull,
    SpoolLocked,
    is_good,
    lock,
    make_row,
    replace_time,
    retry_flag,
)

__all__ = ["Entry", "Held", "Spool", "SpoolBroken", "SpoolError", "SpoolFull", "SpoolLocked"]

MEMORY_SAMPLES = 7200  # two hours of the fastest polling
INSERT_ROWS = 500  # at most so many in one transaction, so that the log stays small

log = logging.getLogger(__name__)


class SpoolBroken(SpoolError):
    """The disk has failed for minutes: end the process, a new one may find it better."""


class Entry(NamedTuple):
    """A reading to be sent, and the id that confirms it."""

    id: int
    sample: dict[str, Any]


class Held(NamedTuple):
    """A reading whose wall time can not be trusted yet."""

    id: int
    ts: str
    boot_id: str
    boot_s: float


class Spool:
    """Thread-safe; the only object in the process that touches the file."""

    def __init__(self, path: Path | str, max_mb: int = 1024, patience_s: float = 300):
        self.path = Path(path)
        self._max_mb = max_mb
        self._patience_s = patience_s
        self._mutex = threading.Lock()
        self._file: SpoolFile | None = None
        self._waiting: deque[Row] = deque()  # not on disk yet, under negative ids
        self._endings: dict[int, str | None] = {}  # id -> reason, None: confirmed
        self._new_meta: dict[str, str] = {}
        self._moved: dict[int, int] = {}  # negative ids that peek gave -> ids on disk
        self._given_ids = 0
        self._failing_since: float | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpoolError(f"cannot make the folder of the spool: {error}") from error
        if self.path.is_dir():
            raise SpoolError(f"{self.path} is a folder; SPOOL_PATH must name a file")
        self._lock_handle = lock(self.path)
        self._flush()

    def enqueue(self, sample: dict[str, Any], stamp: Any = None) -> bool:
        """Store a reading: True when it is on disk, False while it is only in memory.

        Raises SpoolBroken when the disk has been failing for minutes.
        """
        row = make_row(
            sample,
            stamp.boot_id if stamp else "",
            float(stamp.boot_s) if stamp else 0.0,
            held=bool(stamp) and not stamp.synced,
        )
        with self._mutex:
            self._given_ids -= 1
            self._waiting.append(row._replace(id=self._given_ids))
            written = self._flush()
            if len(self._waiting) > MEMORY_SAMPLES:
                self._waiting.popleft()
            self._give_up_after_patience()
            return written

    def peek(self, limit: int, newest: bool = False) -> list[Entry]:
        """The oldest readings that may be sent (or the newest), oldest first; they stay."""
        with self._mutex:
            self._moved.clear()
            disk = self._queued_on_disk(limit + len(self._endings), newest)
            memory = [row for row in self._waiting if not row.held and row.id not in self._endings]
            rows = disk + memory
            rows = rows[-limit:] if newest else rows[:limit]
            self._moved.update((row.id, row.id) for row in rows if row.id < 0)
            return [Entry(row.id, row.sample) for row in rows]

    def ack(self, ids: Iterable[int]) -> None:
        """Forget readings that the server has confirmed; never fails."""
        self._end(dict.fromkeys(ids))

    def set_aside(self, refused: Iterable[tuple[int, str]]) -> None:
        """Keep refused readings apart, each with its reason; never fails."""
        self._end(dict(refused))

    def retry(self) -> int:
        """Bring what was set aside back into the queue; returns how many."""
        with self._mutex:
            return self._file.retry() if self._flush() else 0

    def retry_requested(self) -> bool:
        """Whether `request_retry` asked for `retry` since the last call."""
        try:
            retry_flag(self.path).unlink()
        except OSError:
            return False
        return True

    def held(self, limit: int = 1000) -> list[Held]:
        """The oldest readings that wait for a trusted time."""
        with self._mutex:
            rows = self._file.held(limit) if self._flush() else []
            return [Held(row.id, row.ts, row.boot_id, row.boot_s) for row in rows]

    def place(self, updates: Iterable[tuple[int, str, str]]) -> int:
        """Give held readings their time and a note; returns how many may now be sent."""
        new = {id_: (ts, note) for id_, ts, note in updates}
        with self._mutex:
            if not self._flush():
                return 0
            rows = self._file.get(list(new))
            good = [replace_time(row, *new[row.id]) for row in rows if row.held and is_good(row)]
            self._file.place(good)
            self._endings.update((row.id, DAMAGED) for row in rows if not is_good(row))
            self._flush()
            return len(good)

    def status(self) -> dict[str, Any]:
        """What `--spool` prints, and what only memory knows."""
        with self._mutex:
            file = self._file if self._flush() else None
            counters = file.counters if file else COUNTERS
            oldest = file.oldest_ts() if file else None
            return {
                "pending": counters["pending"] + len(self._waiting),
                "set_aside": counters["set_aside"],
                "oldest_ts": oldest or next((row.ts for row in self._waiting), None),
                "rejected": file.rejected() if file else [],
                "thinned": counters["thinned"],
            }

    def newest_ts(self) -> datetime | None:
        """The latest trusted time of any reading ever stored here."""
        with self._mutex:
            newest = self._file and self._file.counters["newest_ts"]
            return parse_time(newest) if newest else None

    def meta(self, key: str) -> str | None:
        """A text remembered with `set_meta`."""
        with self._mutex:
            if key in self._new_meta:
                return self._new_meta[key]
            return self._file.meta(key) if self._flush() else None

    def set_meta(self, key: str, value: str) -> None:
        """Remember a text beside the readings."""
        with self._mutex:
            self._new_meta[key] = value
            self._flush()

    def close(self) -> None:
        """Write what can still be written and let go of the file."""
        with self._mutex:
            self._flush()
            self._drop_handle()
            os.close(self._lock_handle)

    def _queued_on_disk(self, limit: int, newest: bool) -> list[Row]:
        """Rows to send; damaged ones are set aside on the way."""
        while self._flush():
            rows = [row for row in self._file.queued(limit, newest) if row.id not in self._endings]
            damaged = {row.id: DAMAGED for row in rows if not is_good(row)}
            if not damaged:
                return rows
            self._endings.update(damaged)
        return []

    def _end(self, endings: dict[int, str | None]) -> None:
        with self._mutex:
            for id_, reason in endings.items():
                self._endings[self._moved.get(id_, id_)] = reason
            self._flush()

    def _flush(self) -> bool:
        """Bring the file up to date with memory; False, and the reason logged, if it can not be."""
        try:
            self._write()
        except (SpoolFull, SpoolFailed, SpoolCorrupt) as error:
            self._note_trouble(error)
            return False
        if self._failing_since is not None:
            self._failing_since = None
            event(log, logging.INFO, "spool_recovered", "the spool can be written again")
        return True

    def _write(self) -> None:
        file = self._file = self._file or SpoolFile(self.path, self._max_mb)
        if self._endings:
            file.end(self._endings)
            self._endings.clear()
        if self._new_meta:
            file.set_meta(self._new_meta)
            self._new_meta.clear()
        while self._waiting:
            rows = list(islice(self._waiting, INSERT_ROWS))
            ids = file.insert([row._replace(id=None) for row in rows])
            for row, id_ in zip(rows, ids, strict=True):
                self._waiting.popleft()
                if row.id in self._moved:
                    self._moved[row.id] = id_

    def _note_trouble(self, error: SpoolError) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            event(log, logging.ERROR, "spool_trouble", f"readings stay in memory: {error}")
        if not isinstance(error, SpoolFull):
            self._drop_handle()

    def _drop_handle(self) -> None:
        if self._file:
            try:
                self._file.close()
            except SpoolError as error:
                event(log, logging.ERROR, "spool_trouble", f"closing: {error}")
            self._file = None

    def _give_up_after_patience(self) -> None:
        if self._file is None and time.monotonic() - self._failing_since > self._patience_s:
            raise SpoolBroken(f"{self.path} could not be written for {self._patience_s:.0f} s")
