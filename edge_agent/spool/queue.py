"""The spool: a queue on disk that no power cut, full disk or bad sector makes forget a reading.

`enqueue` returns True when the reading is on disk. Until its batch is confirmed (`ack`) or refused
(`set_aside`) it stays there. Every change is first noted in memory and then written; what cannot
be written now (no room, a failing disk) stays in memory, can be sent from there, and is written
by the first call that succeeds. So a full disk never stops the agent and never refuses a
confirmation; at worst a confirmed reading is sent again, which the server recognises.
"""

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from edge_agent.clock import TICK, ReadingTime
from edge_agent.shared.logs import event
from edge_agent.shared.samples import format_time, parse_time
from edge_agent.spool import boots, tables
from edge_agent.spool.errors import SpoolBroken, SpoolError
from edge_agent.spool.file import Changes, SpoolFile
from edge_agent.spool.folder import lock, make_folder, retry_request
from edge_agent.spool.maintenance import Maintenance
from edge_agent.spool.row import DAMAGED, EPOCH, Row, make_row, unplaced

MEMORY_SAMPLES = 7200  # two hours of the fastest polling
INSERT_ROWS = 500  # at most so many in one transaction, so that the log stays small
MAINTENANCE_S = 0.3  # with each reading, so that polling stays in time
FIRST_MAINTENANCE_S = 5.0
UNSENDABLE_BATCHES = 10  # of damaged or foreign readings in a row, set aside in one call
TRUSTED = ReadingTime(EPOCH, 0.0, "", trusted=True)  # as the sample says

log = logging.getLogger(__name__)


class Spool:
    """Thread-safe; the only object in the process that touches the file.

    Readings of another device than `device_id` are set aside before they are sent. After
    `patience_s` of a failing disk `enqueue` raises SpoolBroken.
    """

    def __init__(
        self,
        path: Path | str,
        max_mb: int = 1024,
        patience_s: float = 300,
        device_id: str | None = None,
    ):
        self.path = Path(path)
        self.trouble: str | None = None  # why changes wait in memory
        self.is_placed = False  # whether no reading is known to wait for its time
        self._patience_s = patience_s
        self._device_id = device_id
        self._mark = b'"device_id":%b' % json.dumps(device_id).encode() if device_id else b""
        self._retry_request = str(retry_request(self.path))
        self._mutex = threading.Lock()
        self._waiting: deque[Row] = deque()  # for the disk, under negative ids
        self._changes = Changes()
        self._given_ids = 0
        self._oldest_ts: str | None = None  # None: to be read
        self._taken_back = False  # since the last batch was peeked
        make_folder(self.path)
        self._lock_handle = lock(self.path)
        try:
            self._file = SpoolFile(self.path, max_mb)
            self._maintenance = Maintenance(self._file)
            self._maintenance.run(FIRST_MAINTENANCE_S)
        except BaseException:
            os.close(self._lock_handle)
            raise

    def enqueue(self, sample: dict[str, Any], taken: ReadingTime = TRUSTED) -> bool:
        """Store a reading: True when it is on disk, False while it is only in memory.

        Raises SpoolBroken, and ValueError or TypeError for what JSON cannot say.
        """
        with self._mutex:
            held, boot_id = not taken.trusted, taken.boot_id
            if held:
                boot_id, self.is_placed = unplaced(boot_id, self._file.boots), False
            row = make_row(self._given_ids - 1, sample, boot_id, taken.boot_s, held)
            self._given_ids = row.id
            self._waiting.append(row)
            written = self._flush()
            if len(self._waiting) > MEMORY_SAMPLES:
                self._drop_oldest()
            if self._maintenance.run(MAINTENANCE_S):
                self.is_placed, self._oldest_ts = False, None  # salvage brings back held readings
            since = self._file.failing_since
            if since is not None and monotonic() - since > self._patience_s:
                raise SpoolBroken(f"{self.path} could not be used for {self._patience_s:.0f} s")
            return written

    def _drop_oldest(self) -> None:
        self._waiting.popleft()
        self._changes.dropped += 1
        if self._changes.dropped % 100 == 1:
            msg = "memory is full too: the oldest reading that was never stored is gone"
            event(log, logging.ERROR, "spool_dropped", msg, dropped=self._changes.dropped)

    def peek(self, limit: int, newest: bool = False) -> list[Row]:
        """The oldest readings that may be sent (or the newest), oldest first; they stay."""
        with self._mutex:
            self._flush()
            self._taken_back = False
            rows = self._queued_on_disk(limit, newest)
            if self._waiting:
                placed = (row.placed(self._file.boots) for row in self._waiting)
                rows += [row for row in placed if not row.held]
            return rows[-limit:] if newest else rows[:limit]

    def ack(self, ids: Iterable[int]) -> None:
        """Forget readings that the server has confirmed; never fails."""
        with self._mutex:
            self._end(dict.fromkeys(ids))

    def set_aside(self, refused: Iterable[tuple[int, str]]) -> None:
        """Keep refused readings apart, each with its reason; never fails.

        If times were taken back meanwhile, all stay: some were refused for the time that they had.
        """
        with self._mutex:
            if not self._taken_back:
                self._end(dict(refused))

    def _end(self, endings: dict[int, str | None]) -> None:
        """Note how readings ended; one that reached the disk since it was peeked is sent again."""
        if any(id_ < 0 for id_ in endings):
            for row in [row for row in self._waiting if row.id in endings]:
                self._waiting.remove(row)
                if (reason := endings[row.id]) is not None:
                    self._changes.refused.append((row.placed(self._file.boots), reason))
        self._changes.endings |= {id_: reason for id_, reason in endings.items() if id_ > 0}
        self._flush()

    def retry(self) -> int | None:
        """Bring what was set aside back into the queue; returns how many, None: not now."""
        count, last = 0, 0
        with self._mutex:
            self._flush()
            self.is_placed, self._oldest_ts = False, None
            while last is not None:
                found = self._ask(None, SpoolFile.retry, last)
                if found is None:
                    return None
                some, last = found
                count += some
        with suppress(OSError):
            os.unlink(self._retry_request)
        return count

    def retry_requested(self) -> bool:
        """Whether somebody asked for a `retry` that is not done yet."""
        return os.path.exists(self._retry_request)

    def place(self, now: ReadingTime) -> None:
        """Give held readings their time, by a pair of clocks that can be trusted."""
        with self._mutex:
            self._flush()
            known = self._file.boots
            found = self._ask(None, boots.held_boots)
            waiting = [(row.boot_id, row.boot_s, row.boot_s) for row in self._waiting if row.held]
            held = [boot for boot in (*(found or ()), *waiting) if boot[0] not in known]
            began = boots.began(held, now, self.newest_ts())
            new = {boot_id: us for boot_id, us in began.items() if boot_id not in known}
            if new:
                self._changes.boots |= new
                self._changes.newest_ts = format_time(now.ts - TICK)
                self._file.boots |= new
                self._flush()
            self.is_placed = found is not None
            if held:
                names = sorted({boot_id for boot_id, _, _ in held})
                msg = "readings that were held have a time now"
                event(log, logging.WARNING, "held_placed", msg, boots=names, by=now.boot_id)

    def take_back(self, later_than: datetime, newest: datetime) -> int | None:
        """Hold readings again whose time was trusted and is later; returns how many, None: not now.

        When no more are left, `newest` replaces the latest trusted time.
        """
        with self._mutex:
            self._flush()
            self.is_placed, self._oldest_ts, self._taken_back = False, None, True
            return self._ask(None, boots.take_back, later_than, newest, urgent=True)

    def knows_boot(self, boot_id: str) -> bool:
        """Whether the time was ever trusted in this boot."""
        return boot_id in self._file.boots

    def status(self) -> dict[str, Any]:
        """What `--spool` prints, and what only memory knows."""
        counts = self.counts()
        with self._mutex:
            return counts | {"rejected": self._ask([], lambda file: tables.rejected(file.db))}

    def counts(self) -> dict[str, Any]:
        """The status without the readings that were set aside, which takes no time."""
        with self._mutex:
            self._flush()
            if self._oldest_ts is None and self._file.counters["pending"]:
                self._oldest_ts = self._ask(
                    None, lambda file: tables.oldest_ts(file.db, file.boots)
                )
            counts = {name: self._file.counters[name] for name in tables.STATUS}
            changes, waiting = self._changes, self._waiting
            counts["dropped"] += changes.dropped
            counts["set_aside"] += len(changes.refused)
            in_memory = len(waiting) - len(changes.endings)
            counts["pending"] = max(0, counts["pending"] + in_memory)
            oldest = self._oldest_ts or (waiting[0].ts if waiting else None)
            return counts | {"oldest_ts": oldest}

    def newest_ts(self) -> datetime | None:
        """The latest time of any reading ever stored here, but for what was taken back."""
        newest = self._file.counters["newest_ts"]
        return parse_time(newest) if newest else None

    def close(self) -> None:
        """Write what can still be written and close the file; may be called twice."""
        with self._mutex:
            if self._lock_handle is not None:
                self._flush()
                self._file.close(for_good=True)
                os.close(self._lock_handle)
                self._lock_handle = None

    def _queued_on_disk(self, limit: int, newest: bool) -> list[Row]:
        """Rows to send; damaged and foreign ones are set aside on the way."""
        for _ in range(UNSENDABLE_BATCHES):
            endings = self._changes.endings
            found = self._ask([], SpoolFile.queued, limit + len(endings), newest)
            rows = [row for row in found if row.id not in endings] if endings else found
            unsendable = {row.id: why for row in rows if (why := self._why_unsendable(row))}
            if not unsendable:
                return [row.placed(self._file.boots) if row.held else row for row in rows]
            msg = f"{len(unsendable)} readings set aside: {'; '.join({*unsendable.values()})}"
            event(log, logging.ERROR, "spool_unsendable", msg, ids=list(unsendable)[:20])
            self._end(unsendable)
        return []

    def _why_unsendable(self, row: Row) -> str | None:
        if not row.good:
            return DAMAGED
        if self._mark in row.payload or row.sample.get("device_id") == self._device_id:
            return None
        return f"of device {row.sample.get('device_id')}, while DEVICE_ID is {self._device_id}"

    def _flush(self) -> bool:
        """Bring the file up to date with memory; False if it cannot be now."""
        changes, waiting = self._changes, self._waiting
        urgent = bool(changes.endings or changes.refused or changes.boots)
        try:
            if urgent or changes.dropped:
                self._file.run(SpoolFile.apply, changes, urgent=urgent)
                self._changes, self._oldest_ts = Changes(), None
            some = 1 if self.trouble else INSERT_ROWS  # no use trying many before one goes in
            while waiting:
                rows = list(islice(waiting, some))
                self._file.run(SpoolFile.insert, rows)
                for _ in rows:
                    waiting.popleft()
                some = INSERT_ROWS
        except SpoolError as error:
            if not self.trouble:
                event(log, logging.ERROR, "spool_waits", f"changes stay in memory: {error}")
            self.trouble = str(error)
            return False
        if self.trouble:
            event(log, logging.WARNING, "spool_recovered", "the spool is written again")
        self.trouble = None
        return True

    def _ask(
        self, default: Any, action: Callable[..., Any], *values: Any, urgent: bool = False
    ) -> Any:
        try:
            return self._file.run(action, *values, urgent=urgent)
        except SpoolError:
            return default
