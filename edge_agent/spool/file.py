"""The spool's database file: its one connection, through all failures, and the queue's statements.

A plain insert writes no counter: ids are dense, so the number of waiting rows is the one saved with
the last deletion plus the ids given since.
"""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from edge_agent.shared.logs import event
from edge_agent.spool import tables
from edge_agent.spool.errors import SpoolCorrupt, SpoolError, SpoolFailed, SpoolFull, spool_error
from edge_agent.spool.folder import (
    Reserve,
    create_file,
    log_of,
    move_away,
    require_writable,
    sync_directory,
)
from edge_agent.spool.pages import PAGE_BYTES, is_log_damaged
from edge_agent.spool.row import COLUMNS, Row, make_row, unplaced

FULL = 0.97  # the rest is kept for confirming and setting aside
UNMEASURED_ROWS = 20  # the fill is asked for after so many, and always when it is high
RETRIED_ROWS = 1000  # in one transaction, so that neither log nor memory grows with their number
REASON_CHARS = 500
REOPEN_AFTER_S = 1.0
REPLACE_AFTER_S = 60.0  # a fresh file that is damaged already: the disk is at fault, not the file

log = logging.getLogger(__name__)


@dataclass
class Changes:
    """What is to be written besides new rows."""

    endings: dict[int, str | None] = field(default_factory=dict)  # id -> why refused, None: done
    refused: list[tuple[Row, str]] = field(default_factory=list)  # before they reached the disk
    boots: dict[str, int] = field(default_factory=dict)
    newest_ts: str | None = None
    dropped: int = 0


class SpoolFile:
    """The file; not thread-safe. `run` opens it, everything else needs it open.

    Only `run` names errors; the statements raise what SQLite and the system raise. What is known of
    counters and boots outlives the connection and a damaged file: ids up to the last are given,
    for a late confirmation must not hit another reading.
    """

    def __init__(self, path: Path, max_mb: int):
        self.path = path
        self.db: sqlite3.Connection | None = None
        self.counters: dict[str, Any] = dict(tables.COUNTERS)
        self.boots: dict[str, int] = {}
        self.fill = 0.0  # 0 to 1 of SPOOL_MAX_MB, as last measured
        self.openings = 0
        self.failing_since: float | None = None  # the file cannot be used at all since then
        self.reserve = Reserve(path)
        self._max_pages = max_mb * 2**20 // PAGE_BYTES
        self._reopen_at = self._replace_at = float("-inf")
        self._why = "closed"
        require_writable(path)
        with suppress(SpoolFull, SpoolCorrupt, SpoolFailed):  # the first reading waits in memory
            self.run(SpoolFile.measure)

    def run(self, action: Callable[..., Any], *values: Any, urgent: bool = False) -> Any:
        """Return `action(self, *values)`, if it is urgent with the reserve; raises SpoolError."""
        if self.db is None and monotonic() < self._reopen_at:
            raise SpoolFailed(self._why)
        try:
            result = self._try(action, values)
        except SpoolError as error:
            if not self._mend(error, urgent):
                raise
            result = self._try(action, values)
        self.failing_since = None
        if urgent and not self.reserve.kept:
            self._make_room_in_log()  # it must not take what the file needs
        return result

    def _try(self, action: Callable[..., Any], values: tuple[Any, ...]) -> Any:
        try:
            if self.db is None:
                self._open()
            return action(self, *values)
        except (OSError, sqlite3.DatabaseError) as error:
            raise spool_error(self.path, error) from error

    def _open(self) -> None:
        self.reserve.give_up_if_needed()
        if new := not self.path.exists():
            create_file(self.path)
        elif is_log_damaged(log_of(self.path)):
            raise SpoolCorrupt(f"{self.path}: its log is damaged")
        self.db = sqlite3.connect(
            self.path, timeout=5, isolation_level=None, check_same_thread=False
        )
        try:
            checked = tables.set_up(self.db, self.path, self._max_pages)
            self._load(new, checked)
            if new:
                sync_directory(self.path.parent)
            self.measure()
        except BaseException:
            self.close()
            raise
        self.openings += 1

    def _load(self, new: bool, checked: bool) -> None:
        """Read counters and boots, and go on from what is known already."""
        found = tables.load_counters(self.db, recount=checked)
        boots = tables.load_boots(self.db)
        known = self.counters["last_id"]
        is_behind = found["last_id"] < known or self.boots.keys() - boots.keys()
        self.boots |= boots
        self.counters = found | {"last_id": max(found["last_id"], known)}
        for row in self.rows("held = 0 ORDER BY id DESC LIMIT 1"):
            if row.good:
                self.saw(row.ts)
        if not (new or is_behind):
            return
        with self.transaction():  # which saves the counters where salvage finds them
            self.put_boots(self.boots)
            self.db.execute("DELETE FROM sqlite_sequence WHERE name = 'samples'")
            last_id = self.counters["last_id"]
            self.db.execute("INSERT INTO sqlite_sequence VALUES ('samples', ?)", (last_id,))

    def _mend(self, error: SpoolError, urgent: bool) -> bool:
        """Do about an error what can be done; whether to try again at once."""
        now = monotonic()
        if isinstance(error, SpoolFull):
            self._make_room_in_log()  # the next try needs less
            if urgent:
                self.reserve.give_up_if_needed()
            return urgent
        self.close()
        if isinstance(error, SpoolCorrupt) and now >= self._replace_at:
            self._replace_at = now + REPLACE_AFTER_S
            with suppress(OSError):
                bad = move_away(self.path)
                event(log, logging.ERROR, "spool_corrupt", f"set aside as {bad.name}: {error}")
                return True
        # After a failed write the next success of this connection would prove nothing.
        if not self.reserve.is_disk_full():  # for room one can wait
            self.failing_since = self.failing_since or now
        self._reopen_at, self._why = now + REOPEN_AFTER_S, str(error)
        return False

    def _make_room_in_log(self) -> None:
        """Move the log into the file, so that it is written from its beginning again."""
        if self.db:
            with suppress(sqlite3.DatabaseError):
                self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self, for_good: bool = False) -> None:
        """Close the connection; the next `run` opens another, unless it is closed for good."""
        if for_good:
            self._reopen_at = float("inf")
        db, self.db = self.db, None
        if db:
            with suppress(sqlite3.DatabaseError):
                db.close()

    def measure(self) -> float:
        """Ask how full the file is, 0 to 1 of SPOOL_MAX_MB."""
        ((pages,),) = self.db.execute("PRAGMA page_count").fetchall()
        ((unused,),) = self.db.execute("PRAGMA freelist_count").fetchall()
        self.fill = (pages - unused) / self._max_pages
        return self.fill

    def rows(self, where: str, *values: Any) -> list[Row]:
        """The rows of the queue that fulfil a condition."""
        found = self.db.execute(f"SELECT {COLUMNS} FROM samples WHERE {where}", values)  # noqa: S608
        return list(map(Row._make, found.fetchall()))

    def queued(self, limit: int, newest: bool = False) -> list[Row]:
        """The oldest (or newest) rows that may be sent, in the order of their ids."""
        sendable = "(held = 0 OR boot_id IN (SELECT boot_id FROM boots)) ORDER BY id"
        if newest:
            return self.rows(f"{sendable} DESC LIMIT ?", limit)[::-1]
        return self.rows(f"{sendable} LIMIT ?", limit)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is on the disk afterwards with the counters, or nothing is."""
        before = dict(self.counters)
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            counters = json.dumps(self.counters)
            self.db.execute("INSERT OR REPLACE INTO meta VALUES ('counters', ?)", (counters,))
            self.db.execute("COMMIT")
        except BaseException:
            self.counters = before
            with suppress(sqlite3.DatabaseError):
                self.db.rollback()
            raise

    def insert(self, rows: list[Row]) -> None:
        """Store new rows durably."""
        if len(rows) > 1 or self.fill > 0.75 or self.counters["last_id"] % UNMEASURED_ROWS == 0:
            self.measure()
        if self.fill >= FULL:
            raise SpoolFull(f"{self.path}: SPOOL_MAX_MB is reached")
        if len(rows) == 1:
            self.put(rows[0])  # a transaction by itself
            return
        with self.transaction():
            for row in rows:
                self.put(row)

    def put(self, row: Row) -> None:
        """Insert one row; under another id if another row has its own."""
        id_ = row.id if row.id and row.id > 0 else None
        for there in self.rows("id = ?", id_) if id_ else []:
            if there.crc == row.crc:
                return
            id_ = None
        statement = f"INSERT INTO samples ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        given = self.db.execute(statement, (id_, *row[1:])).lastrowid
        self.counters["last_id"] = max(self.counters["last_id"], given)
        self.counters["pending"] += 1
        if not row.held:
            self.saw(row.ts)

    def saw(self, ts: str | None) -> None:
        """Remember the newest trusted time."""
        self.counters["newest_ts"] = _newer(self.counters["newest_ts"], ts)

    def put_aside(self, row: Row, reason: str) -> None:
        """Keep one row in `set_aside`, with the time at which it was sent, inside a transaction."""
        self.counters["set_aside"] += 1
        self.db.execute(
            f"INSERT INTO set_aside (reason, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (reason[:REASON_CHARS], *(row.placed(self.boots) if row.good else row)),
        )

    def put_boots(self, boots: dict[str, int]) -> None:
        """Note when boots began, inside a transaction; what is known stays."""
        rows = [(*boot, tables.boot_crc(*boot)) for boot in boots.items()]
        self.db.executemany("INSERT OR IGNORE INTO boots VALUES (?, ?, ?)", rows)
        self.boots = boots | self.boots

    def delete(self, ids: Iterable[int]) -> int:
        """Delete rows inside a transaction; returns how many there were."""
        deleted = self.db.executemany("DELETE FROM samples WHERE id = ?", [(id_,) for id_ in ids])
        count = max(deleted.rowcount, 0)  # -1 without ids
        self.counters["pending"] -= count
        return count

    def apply(self, changes: Changes) -> None:
        """Write what memory collected, in one transaction."""
        with self.transaction():
            self.counters["dropped"] += changes.dropped
            self.put_boots(changes.boots)
            self.saw(changes.newest_ts)
            for row, reason in changes.refused:
                self.put_aside(row, reason)
            for id_, reason in changes.endings.items():
                for row in self.rows("id = ?", id_) if reason is not None else []:
                    self.put_aside(row, reason)
            self.delete(changes.endings)

    def retry(self, after: int) -> tuple[int, int | None]:
        """Move the undamaged of some set-aside rows back under their old ids.

        Returns how many, and the number after which to go on, None at the end. What is later than
        the newest time is of a clock that was ahead: it waits for its own.
        """
        newest = self.counters["newest_ts"]
        with self.transaction():
            found = self.db.execute(
                f"SELECT number, {COLUMNS} FROM set_aside"  # noqa: S608
                " WHERE number > ? ORDER BY number LIMIT ?",
                (after, RETRIED_ROWS),
            ).fetchall()
            good = [(number, row) for number, *values in found if (row := Row(*values)).good]
            for number, row in good:
                if newest and _newer(row.ts, newest) != newest:
                    boot_id = unplaced(row.boot_id, self.boots)
                    row = make_row(row.id, row.sample, boot_id, row.boot_s, held=True)
                self.put(row)
                self.db.execute("DELETE FROM set_aside WHERE number = ?", (number,))
            self.counters["set_aside"] -= len(good)
        return len(good), found[-1][0] if found else None


def _newer(one: str | None, other: str | None) -> str | None:
    """The later of two times of one clock; without the Z such texts compare like times."""
    return max(one or "", other or "", key=lambda ts: ts.rstrip("Z")) or None
