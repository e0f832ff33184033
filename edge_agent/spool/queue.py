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
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from edge_agent.clock import ReadingTime
from edge_agent.shared.logs import event
from edge_agent.shared.samples import format_time, parse_time
from edge_agent.spool.boots import began, unplaced
from edge_agent.spool.disk import Disk
from edge_agent.spool.errors import SpoolBroken, SpoolError, SpoolLocked
from edge_agent.spool.file import Changes, SpoolFile
from edge_agent.spool.folder import lock, make_folder, retry_request
from edge_agent.spool.row import DAMAGED, EPOCH, Row, make_row, microseconds
from edge_agent.spool.tables import make_status

__all__ = ["Entry", "Spool", "SpoolBroken", "SpoolError", "SpoolLocked"]

MEMORY_SAMPLES = 7200  # two hours of the fastest polling
INSERT_ROWS = 500  # at most so many in one transaction, so that the log stays small
MAINTENANCE_S = 0.3  # with each reading, so that polling stays in time
FIRST_MAINTENANCE_S = 5.0
UNSENDABLE_BATCHES = 10  # of damaged or foreign readings in a row, set aside in one call

TRUSTED = ReadingTime(EPOCH, 0.0, "", trusted=True)  # as the sample says

T = TypeVar("T")
log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A reading to be sent, as JSON, and the id that confirms it."""

    id: int
    payload: bytes

    @property
    def sample(self) -> dict[str, Any]:
        """The reading itself."""
        return json.loads(self.payload)


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
        self._patience_s = patience_s
        self._device_id = device_id
        self._mark = b'"device_id":%b' % json.dumps(device_id).encode() if device_id else b""
        self._mutex = threading.Lock()
        self._waiting: deque[Row] = deque()  # not on disk yet, under negative ids
        self._given_ids = 0
        self._changes = Changes()
        self._look_for_held = True
        self._taken_back: set[int] = set()  # ids under which no refusal is valid any more
        self._highest_id = 0  # that was ever peeked
        self._dropped = 0
        make_folder(self.path)
        self._lock_handle = lock(self.path)
        try:
            self._disk = Disk(self.path, max_mb)
            self._disk.start()
            self._disk.maintain(FIRST_MAINTENANCE_S)
        except BaseException:
            os.close(self._lock_handle)
            raise

    def enqueue(self, sample: dict[str, Any], taken: ReadingTime = TRUSTED) -> bool:
        """Store a reading: True when it is on disk, False while it is only in memory.

        Raises SpoolBroken, and ValueError or TypeError for what JSON cannot say.
        """
        with self._mutex:
            held = not taken.trusted
            boot_id = unplaced(taken.boot_id, self._boots) if held else taken.boot_id
            row = make_row(self._given_ids - 1, sample, boot_id, taken.boot_s, held)
            self._given_ids = row.id
            self._look_for_held |= held
            self._waiting.append(row)
            written = self._flush()
            if len(self._waiting) > MEMORY_SAMPLES:
                self._drop_oldest()
            self._look_for_held |= self._disk.maintain(MAINTENANCE_S)
            self._check_patience()
            return written

    def peek(self, limit: int, newest: bool = False) -> list[Entry]:
        """The oldest readings that may be sent (or the newest), oldest first; they stay."""
        with self._mutex:
            self._flush()
            boots = self._boots
            disk = self._queued_on_disk(limit, newest)
            memory = [row.placed(boots) for row in self._waiting]
            memory = [row for row in memory if not row.held]
            rows = (disk + memory)[-limit:] if newest else (disk + memory)[:limit]
            self._taken_back.difference_update(row.id for row in rows)
            self._highest_id = max(self._highest_id, *(row.id for row in rows), 0)
            return [Entry(row.id, row.payload) for row in rows]

    def ack(self, ids: Iterable[int]) -> None:
        """Forget readings that the server has confirmed; never fails."""
        self._end(dict.fromkeys(ids))

    def set_aside(self, refused: Iterable[tuple[int, str]]) -> None:
        """Keep refused readings apart, each with its reason; never fails.

        What was taken back meanwhile stays: it was refused for the time that it had.
        """
        self._end({id_: reason for id_, reason in refused if id_ not in self._taken_back})

    def retry(self) -> int | None:
        """Bring what was set aside back into the queue; returns how many, None: not now."""
        with self._mutex:
            self._flush()
            self._look_for_held = True
            count = self._on_disk(SpoolFile.retry, None)
        if count is not None:
            with suppress(OSError):
                retry_request(self.path).unlink()
        return count

    def retry_requested(self) -> bool:
        """Whether somebody asked for a `retry` that is not done yet."""
        return retry_request(self.path).exists()

    def place(self, now: ReadingTime) -> None:
        """Give held readings their time, by a pair of clocks that can be trusted."""
        with self._mutex:
            if not self._look_for_held and now.boot_id in self._boots:
                return
            self._flush()
            found = self._on_disk(SpoolFile.unplaced_boots, None)
            self._look_for_held = found is None
            boots, newest = self._boots, self._newest_ts()
            held = [(row.boot_id, row.boot_s, row.boot_s) for row in self._waiting if row.held]
            held = [boot for boot in (*(found or ()), *held) if boot[0] not in boots]
            placed = began(held, now, microseconds(newest) if newest else None)
            new = {name: began_us for name, began_us in placed.items() if name not in boots}
            if new:
                self._changes.boots |= new
                self._changes.newest_ts = format_time(now.ts)
                self._flush()
            if held:
                names = sorted({name for name, _, _ in held})
                msg = "readings that were held have a time now"
                event(log, logging.WARNING, "held_placed", msg, boots=names, by=now.boot_id)

    def take_back(self, later_than: datetime, newest: datetime) -> int | None:
        """Hold readings again whose time was trusted and is later; returns how many, None: not now.

        When no more are left, `newest` replaces the latest trusted time.
        """
        with self._mutex:
            self._flush()
            ids: list[int] = []
            self._look_for_held = True
            try:
                self._disk.make_room(lambda file: ids.extend(file.take_back(later_than, newest)))
            except SpoolError:
                return None
            self._taken_back.update(id_ for id_ in ids if id_ <= self._highest_id)
            return len(ids)

    def knows_boot(self, boot_id: str) -> bool:
        """Whether the time was ever trusted in this boot."""
        with self._mutex:
            return boot_id in self._boots

    def status(self) -> dict[str, Any]:
        """What `--spool` prints, and what only memory knows."""
        return self._status(SpoolFile.status)

    def counts(self) -> dict[str, Any]:
        """The status without the readings that were set aside, which takes no time."""
        return self._status(lambda file: make_status(file.counters, file.oldest_ts()))

    def _status(self, ask: Callable[[SpoolFile], dict[str, Any]]) -> dict[str, Any]:
        with self._mutex:
            if self._waiting or self._changes.waiting:
                self._flush()
            status = self._on_disk(ask, make_status(self._disk.counters))
            changes = self._changes
            status["dropped"] += changes.dropped
            status["set_aside"] += len(changes.refused)
            in_memory = len(self._waiting) - len(changes.endings)
            status["pending"] = max(0, status["pending"] + in_memory)
            status["oldest_ts"] = status["oldest_ts"] or next((r.ts for r in self._waiting), None)
            return status

    def newest_ts(self) -> datetime | None:
        """The latest time of any reading ever stored here, but for what was taken back."""
        with self._mutex:
            return self._newest_ts()

    def _newest_ts(self) -> datetime | None:
        newest = self._disk.counters["newest_ts"]
        return parse_time(newest) if newest else None

    def meta(self, key: str) -> str | None:
        """A text remembered with `set_meta`."""
        with self._mutex:
            return self._changes.meta.get(key) or self._on_disk(lambda file: file.meta(key), None)

    def set_meta(self, key: str, value: str) -> None:
        """Remember a text beside the readings."""
        with self._mutex:
            self._changes.meta[key] = value
            self._flush()

    def close(self) -> None:
        """Write what can still be written and close the file; may be called twice."""
        with self._mutex:
            if self._lock_handle is not None:
                self._flush()
                self._disk.close_for_good()
                os.close(self._lock_handle)
                self._lock_handle = None

    @property
    def _boots(self) -> dict[str, int]:
        """When boots began, as far as that is known."""
        return self._disk.boots | self._changes.boots if self._changes.boots else self._disk.boots

    def _queued_on_disk(self, limit: int, newest: bool) -> list[Row]:
        """Rows to send; damaged and foreign ones are set aside on the way."""
        for _ in range(UNSENDABLE_BATCHES):
            some = limit + len(self._changes.endings)
            found = self._on_disk(lambda file, some=some: file.queued(some, newest), [])
            rows = [row for row in found if row.id not in self._changes.endings]
            unsendable = {row.id: why for row in rows if (why := self._why_unsendable(row))}
            if not unsendable:
                return [row.placed(self._disk.boots) for row in rows]
            reasons = sorted(set(unsendable.values()))
            msg = f"{len(unsendable)} readings set aside: {'; '.join(reasons)}"
            event(log, logging.ERROR, "spool_unsendable", msg, ids=list(unsendable)[:20])
            self._changes.endings |= unsendable
            self._flush()
        return []

    def _why_unsendable(self, row: Row) -> str | None:
        if not row.good:
            return DAMAGED
        if self._mark in row.payload or row.sample.get("device_id") == self._device_id:
            return None
        return f"of device {row.sample.get('device_id')}, while DEVICE_ID is {self._device_id}"

    def _end(self, endings: dict[int, str | None]) -> None:
        """A reading that moved to the disk since it was peeked stays, and is sent again."""
        with self._mutex:
            if any(id_ < 0 for id_ in endings):
                ended = [row.placed(self._boots) for row in self._waiting if row.id in endings]
                self._waiting = deque(row for row in self._waiting if row.id not in endings)
                refused = [(row, endings[row.id]) for row in ended if endings[row.id] is not None]
                self._changes.refused += refused
            self._changes.endings |= {id_: why for id_, why in endings.items() if id_ > 0}
            self._flush()

    def _flush(self) -> bool:
        """Bring the file up to date with memory; False if it cannot be now."""
        try:
            if self._changes.waiting:
                write = self._disk.make_room if self._changes.urgent else self._disk.run
                write(lambda file: file.apply(self._changes))
                self._changes = Changes()
            if self._waiting:
                self._disk.run(self._insert)
        except SpoolError as error:
            if not self.trouble:
                event(log, logging.ERROR, "spool_waits", f"changes stay in memory: {error}")
            self.trouble = str(error)
            return False
        if self.trouble:
            event(log, logging.WARNING, "spool_recovered", "the spool is written again")
        self.trouble = None
        return True

    def _insert(self, file: SpoolFile) -> None:
        some = 1 if self.trouble else INSERT_ROWS  # no use trying many before one goes in
        while self._waiting:
            rows = list(islice(self._waiting, some))
            file.insert(rows)
            for _ in rows:
                self._waiting.popleft()
            some = INSERT_ROWS

    def _drop_oldest(self) -> None:
        self._waiting.popleft()
        self._changes.dropped += 1
        self._dropped += 1
        if self._dropped % 100 == 1:
            msg = "memory is full too: the oldest reading that was never stored is gone"
            event(log, logging.ERROR, "spool_dropped", msg, dropped=self._dropped)

    def _on_disk(self, action: Callable[[SpoolFile], T], default: T) -> T:
        try:
            return self._disk.run(action)
        except SpoolError:
            return default

    def _check_patience(self) -> None:
        since = self._disk.failing_since
        if since is not None and time.monotonic() - since > self._patience_s:
            raise SpoolBroken(f"{self.path} could not be used for {self._patience_s:.0f} s")
