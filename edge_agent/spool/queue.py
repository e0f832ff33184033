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
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from edge_agent.shared.logs import event
from edge_agent.shared.samples import parse_time
from edge_agent.spool.counters import make_status
from edge_agent.spool.disk import Disk
from edge_agent.spool.errors import SpoolBroken, SpoolError, SpoolLocked
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.folder import forget_retry_request, is_retry_requested, make_folder
from edge_agent.spool.lock import lock
from edge_agent.spool.row import DAMAGED, Entry, Held, Row, at_time, make_row

__all__ = ["Entry", "Held", "Spool", "SpoolBroken", "SpoolError", "SpoolLocked"]

MEMORY_SAMPLES = 7200  # two hours of the fastest polling
INSERT_ROWS = 500  # at most so many in one transaction, so that the log stays small
CHORES_S = 0.3  # with each reading, so that polling stays in time
FIRST_CHORES_S = 5.0

T = TypeVar("T")
log = logging.getLogger(__name__)


class Spool:
    """Thread-safe; the only object in the process that touches the file."""

    def __init__(self, path: Path | str, max_mb: int = 1024, patience_s: float = 300):
        self.path = Path(path)
        self._patience_s = patience_s
        self._mutex = threading.Lock()
        self._waiting: deque[Row] = deque()  # not on disk yet, under negative ids
        self._endings: dict[int, str | None] = {}  # id -> why refused, None: confirmed
        self._new_meta: dict[str, str] = {}
        self._in_flight: dict[int, int] = {}  # ids given by peek -> ids on disk by now
        self._thinned_in_flight: set[int] = set()
        self._taken_back_in_flight: set[int] = set()
        self._given_ids = 0
        self._dropped = self._dropped_ever = 0
        self.trouble: str | None = None  # why changes wait in memory
        make_folder(self.path)
        self._lock_handle = lock(self.path)
        try:
            self._disk = Disk(self.path, max_mb)
            self._disk.start()
            self._disk.chores(FIRST_CHORES_S)
        except BaseException:
            os.close(self._lock_handle)
            raise

    def enqueue(self, sample: dict[str, Any], stamp: Any = None) -> bool:
        """Store a reading: True when it is on disk, False while it is only in memory.

        Without a stamp its time is trusted. Raises SpoolBroken when the disk has been failing
        for minutes.
        """
        boot_id, boot_s = (str(stamp.boot_id), float(stamp.boot_s)) if stamp else ("", 0.0)
        held = bool(stamp) and not stamp.synced
        with self._mutex:
            row = make_row(self._given_ids - 1, sample, boot_id, boot_s, held)
            self._given_ids = row.id
            self._waiting.append(row)
            written = self._flush()
            if len(self._waiting) > MEMORY_SAMPLES:
                self._drop_oldest()
            self._thinned_in_flight |= self._in_flight.keys() & self._disk.chores(CHORES_S)
            self._check_patience()
            return written

    def peek(self, limit: int, newest: bool = False) -> list[Entry]:
        """The oldest readings that may be sent (or the newest), oldest first; they stay."""
        with self._mutex:
            self._flush()
            disk = self._queued_on_disk(limit, newest)
            memory = [row for row in self._waiting if not row.held and row.id not in self._endings]
            rows = (disk + memory)[-limit:] if newest else (disk + memory)[:limit]
            moving = {old: new for old, new in self._in_flight.items() if old < 0}
            self._in_flight = moving | {row.id: row.id for row in rows}
            self._thinned_in_flight.clear()
            self._taken_back_in_flight.clear()
            return [Entry(row.id, row.payload) for row in rows]

    def ack(self, ids: Iterable[int]) -> None:
        """Forget readings that the server has confirmed; never fails."""
        self._end(dict.fromkeys(ids))

    def set_aside(self, refused: Iterable[tuple[int, str]]) -> None:
        """Keep refused readings apart, each with its reason; never fails.

        What was taken back meanwhile stays: it was refused for the time that it had.
        """
        taken_back = self._taken_back_in_flight
        self._end({id_: reason for id_, reason in refused if id_ not in taken_back})

    def retry(self) -> int | None:
        """Bring what was set aside back into the queue; returns how many, None: not now."""
        with self._mutex:
            self._flush()
            count = self._on_disk(SpoolFile.retry, None)
        if count is not None:
            forget_retry_request(self.path)
        return count

    def retry_requested(self) -> bool:
        """Whether somebody asked for a `retry` that is not done yet."""
        return is_retry_requested(self.path)

    def held(self, limit: int = 1000, memory_only: bool = False) -> list[Held] | None:
        """The oldest readings that wait for a trusted time; None if the file can not tell now."""
        with self._mutex:
            self._flush()
            some = 0 if memory_only else limit + len(self._endings)
            found = self._on_disk(lambda file: file.held(some), None) if some else []
            damaged = {row.id: DAMAGED for row in found or () if not row.good}
            self._endings |= damaged
            if found is None or 0 < some == len(damaged):
                return None  # the next call looks behind the damaged ones
            rows = [row for row in (*found, *self._waiting) if row.held and row.id not in damaged]
            # `place` must find what is written meanwhile, under another id.
            self._in_flight |= {row.id: row.id for row in rows[:limit] if row.id < 0}
            return [Held(row.id, row.boot_id, row.boot_s) for row in rows[:limit]]

    def place(self, updates: Iterable[tuple[int, str, str]]) -> int:
        """Give held readings a time and a note; returns how many may be sent now, 0: not now."""
        on_disk: list[Row] = []
        with self._mutex:
            new = {self._in_flight.pop(id_, id_): (ts, note) for id_, ts, note in updates}

            def write(file: SpoolFile) -> None:
                on_disk[:] = [row for row in file.get(new) if row.held and row.good]
                file.place(at_time(row, *new[row.id]) for row in on_disk)

            try:
                if any(id_ > 0 for id_ in new):
                    self._disk.delete(write)  # with the reserve: all later readings wait for it
            except SpoolError:
                return 0
            waiting = {row.id for row in self._waiting if row.held and row.id in new}
            self._waiting = deque(
                at_time(row, *new[row.id]) if row.id in waiting else row for row in self._waiting
            )
            return len(on_disk) + len(waiting)

    def take_back(self, later_than: str, newest: str) -> int | None:
        """Hold readings again whose time was trusted and is later; returns how many, None: not now.

        When no more are left, `newest` replaces the latest trusted time.
        """
        with self._mutex:
            self._flush()
            ids: list[int] = []
            try:
                self._disk.delete(lambda file: ids.extend(file.take_back(later_than, newest)))
            except SpoolError:
                return None
            given = {now: given for given, now in self._in_flight.items()}
            self._taken_back_in_flight |= {given[id_] for id_ in ids if id_ in given}
            return len(ids)

    def other_boots_s(self, boot_id: str, gap_s: float) -> float:
        """How many seconds the held readings of other boots span, with a gap before each boot."""
        with self._mutex:
            return self._on_disk(lambda file: file.other_boots_s(boot_id, gap_s), 0.0)

    def status(self) -> dict[str, Any]:
        """What `--spool` prints, and what only memory knows."""
        return self._status(SpoolFile.status)

    def counts(self) -> dict[str, Any]:
        """The status without the readings that were set aside, which takes no time."""
        return self._status(SpoolFile.counts)

    def _status(self, ask: Callable[[SpoolFile], dict[str, Any]]) -> dict[str, Any]:
        with self._mutex:
            self._flush()
            status = self._on_disk(ask, make_status(self._disk.counters))
            status["dropped"] += self._dropped
            in_memory = len(self._waiting) - len(self._endings)
            status["pending"] = max(0, status["pending"] + in_memory)
            status["oldest_ts"] = status["oldest_ts"] or next((r.ts for r in self._waiting), None)
            return status

    def newest_ts(self) -> datetime | None:
        """The latest time of any reading ever stored here, but for what was taken back."""
        with self._mutex:
            newest = self._disk.counters["newest_ts"]
            return parse_time(newest) if newest else None

    def meta(self, key: str) -> str | None:
        """A text remembered with `set_meta`."""
        with self._mutex:
            return self._new_meta.get(key) or self._on_disk(lambda file: file.meta(key), None)

    def set_meta(self, key: str, value: str) -> None:
        """Remember a text beside the readings."""
        with self._mutex:
            self._new_meta[key] = value
            self._flush()

    def close(self) -> None:
        """Write what can still be written and let go of the file; may be called twice."""
        with self._mutex:
            if self._lock_handle is not None:
                self._flush()
                self._disk.close_for_good()
                os.close(self._lock_handle)
                self._lock_handle = None

    def _queued_on_disk(self, limit: int, newest: bool) -> list[Row]:
        """Rows to send; damaged ones are set aside on the way."""
        while True:
            some = limit + len(self._endings)
            found = self._on_disk(lambda file, some=some: file.queued(some, newest), [])
            rows = [row for row in found if row.id not in self._endings]
            damaged = {row.id: DAMAGED for row in rows if not row.good}
            if not damaged:
                return rows
            event(log, logging.ERROR, "spool_damaged", "readings set aside", ids=list(damaged))
            self._endings |= damaged
            self._flush()

    def _end(self, endings: dict[int, str | None]) -> None:
        with self._mutex:
            endings = {self._in_flight.pop(id_, id_): reason for id_, reason in endings.items()}
            # Confirmed before they ever reached the disk:
            done = {id_ for id_, reason in endings.items() if id_ < 0 and reason is None}
            if done:
                self._waiting = deque(row for row in self._waiting if row.id not in done)
            self._endings |= {id_: why for id_, why in endings.items() if id_ not in done}
            self._flush()

    def _flush(self) -> bool:
        """Bring the file up to date with memory; False if it can not be now."""
        try:
            if self._endings:
                self._disk.delete(self._write_endings)
            self._disk.run(self._write_additions)
        except SpoolError as error:
            if not self.trouble:
                event(log, logging.ERROR, "spool_waits", f"changes stay in memory: {error}")
            self.trouble = str(error)
            return False
        if self.trouble:
            event(log, logging.WARNING, "spool_recovered", "the spool is written again")
        self.trouble = None
        return True

    def _drop_oldest(self) -> None:
        self._waiting.popleft()
        self._dropped += 1
        self._dropped_ever += 1
        if self._dropped_ever % 100 == 1:
            msg = "memory is full too: the oldest reading that was never stored is gone"
            event(log, logging.ERROR, "spool_dropped", msg, dropped=self._dropped_ever)

    def _write_endings(self, file: SpoolFile) -> None:
        confirmed = {id_ for id_, reason in self._endings.items() if reason is None}
        file.end(self._endings, not_thinned=len(self._thinned_in_flight & confirmed))
        self._thinned_in_flight -= confirmed
        # What was refused before it ever reached the disk must get there first.
        self._endings = {
            row.id: self._endings[row.id] for row in self._waiting if row.id in self._endings
        }

    def _write_additions(self, file: SpoolFile) -> None:
        if self._new_meta or self._dropped:
            file.remember(self._new_meta, self._dropped)
            self._new_meta.clear()
            self._dropped = 0
        some = 1 if self.trouble else INSERT_ROWS  # no use trying many before one goes in
        while self._waiting:
            rows = list(islice(self._waiting, some))
            ids = file.insert(rows)
            for row, id_ in zip(rows, ids, strict=True):
                self._waiting.popleft()
                if row.id in self._in_flight:
                    self._in_flight[row.id] = id_
                if row.id in self._endings:
                    self._endings[id_] = self._endings.pop(row.id)
            some = INSERT_ROWS
        file.in_doubt.clear()  # memory has nothing any more that could be among them

    def _on_disk(self, action: Callable[[SpoolFile], T], default: T) -> T:
        try:
            return self._disk.run(action)
        except SpoolError:
            return default

    def _check_patience(self) -> None:
        since = self._disk.failing_since
        if since is not None and time.monotonic() - since > self._patience_s:
            raise SpoolBroken(f"{self.path} could not be used for {self._patience_s:.0f} s")
