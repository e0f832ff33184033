"""The spool's database file: its tables, and every statement run on its one connection.

A plain insert writes no counter: ids are dense, so the number of waiting rows is the one saved with
the last deletion plus the ids given since.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_agent.shared.samples import format_time
from edge_agent.spool.boots import unplaced
from edge_agent.spool.errors import SpoolCorrupt, SpoolError, SpoolFull, named_errors
from edge_agent.spool.folder import create_file, log_of, sync_directory
from edge_agent.spool.pages import is_log_damaged
from edge_agent.spool.row import COLUMNS, Row, checksum, make_row, microseconds
from edge_agent.spool.tables import (
    COUNTERS,
    SCHEMA,
    boot_crc,
    last_id,
    lenient_text,
    load_boots,
    load_counters,
    newer,
    oldest_of,
    status_of,
)

PAGE_SIZE = 1024  # a third of the bytes written per reading with 4096: what wears out a card
LOG_PAGES = 1600  # then it is moved into the file; it keeps its length and is overwritten in place
CHECKED_MB = 64  # a larger file is not read from end to end before work starts
FULL = 0.97  # the rest is kept for confirming and setting aside
ROWS_UNMEASURED = 20  # the fill is asked for after so many, and always when it is high
REASON_CHARS = 500
TAKEN_BACK_ROWS = 1000  # in one transaction
GOOD = "crc = checksum(ts, samples.boot_id, boot_s, held, note, payload)"


@dataclass
class Changes:
    """What is to be written besides new rows."""

    endings: dict[int, str | None] = field(default_factory=dict)  # id -> why refused, None: done
    refused: list[tuple[Row, str]] = field(default_factory=list)  # before they reached the disk
    boots: dict[str, int] = field(default_factory=dict)
    newest_ts: str | None = None
    meta: dict[str, str] = field(default_factory=dict)
    dropped: int = 0

    @property
    def urgent(self) -> bool:
        """Whether to write it even with the reserve: it frees room, or readings wait for it."""
        return bool(self.endings or self.refused or self.boots)

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.urgent or self.meta or self.dropped)


class SpoolFile:
    """The one read-write connection; not thread-safe, the owner holds a lock around every call."""

    def __init__(self, path: Path, max_mb: int):
        self.path = path
        self.counters = dict(COUNTERS)
        self.boots: dict[str, int] = {}
        self._max_pages = max_mb * 2**20 // PAGE_SIZE
        self._fill, self._unmeasured = 0.0, ROWS_UNMEASURED
        with named_errors(path):
            if new := not path.exists():
                create_file(path)
            elif is_log_damaged(log_of(path)):
                raise SpoolCorrupt(f"{path}: its log is damaged")
            self._db = sqlite3.connect(
                path, timeout=5, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
                if new:
                    sync_directory(path.parent)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        if not os.access(self.path, os.W_OK):
            raise PermissionError("readonly")  # SQLite would open it all the same
        self._db.text_factory = lenient_text
        self._db.create_function("checksum", 6, checksum, deterministic=True)
        self._db.create_function("unplaced", 1, self._unplaced)
        self._one(f"PRAGMA page_size = {PAGE_SIZE}")
        self._one("PRAGMA journal_mode = WAL")
        self._one("PRAGMA synchronous = FULL")
        if (self._one("PRAGMA journal_mode"), self._one("PRAGMA synchronous")) != ("wal", 2):
            raise SpoolError(f"{self.path}: this file system cannot promise durable writes")
        self._one(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        self._one(f"PRAGMA journal_size_limit = {2 * LOG_PAGES * PAGE_SIZE}")
        self._one(f"PRAGMA max_page_count = {self._max_pages}")
        # Salvage must not find confirmed readings again in pages that were given back.
        self._one("PRAGMA secure_delete = ON")
        small = self._one("PRAGMA page_count") * PAGE_SIZE <= CHECKED_MB * 2**20
        if small and (found := self._one("PRAGMA integrity_check(1)")) != "ok":
            raise SpoolCorrupt(f"{self.path}: {found}")
        # After a failed write the log may hold what never reached the disk: start an empty one.
        with suppress(SpoolFull):
            self.checkpoint("TRUNCATE")
        with self.transaction(save=False):
            for statement in SCHEMA.split(";")[:-1]:
                self._db.execute(statement)
        self.boots = load_boots(self._db)
        self.counters = load_counters(self._db, recount=small)
        if self.meta("counters") is None:
            self.apply(Changes())  # salvage needs to find them
        for row in self._rows("held = 0 ORDER BY id DESC LIMIT 1"):
            if row.good:
                self._saw(row.ts)

    def _saw(self, ts: str | None) -> None:
        """Remember the newest trusted time."""
        self.counters["newest_ts"] = newer(self.counters["newest_ts"], ts)

    def _one(self, statement: str, *values: Any) -> Any:
        rows = self._db.execute(statement, values).fetchall()
        return rows[0][0] if rows else None

    def _rows(self, where: str, *values: Any) -> list[Row]:
        with named_errors(self.path):
            found = self._db.execute(f"SELECT {COLUMNS} FROM samples WHERE {where}", values)  # noqa: S608
            return [Row(*row) for row in found.fetchall()]

    @contextmanager
    def transaction(self, save: bool = True) -> Iterator[None]:
        """Everything inside is on the disk afterwards, or nothing is and the error says why."""
        before = dict(self.counters)
        with named_errors(self.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                if save:
                    self._unmeasured = ROWS_UNMEASURED
                    self.counters["last_id"] = last_id(self._db)
                    self._put_meta("counters", json.dumps(self.counters))
                self._db.execute("COMMIT")
            except BaseException:
                self.counters.update(before)  # others look at them too
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def insert(self, rows: list[Row]) -> None:
        """Store new rows durably."""
        if self.fill() >= FULL:
            raise SpoolFull(f"{self.path}: SPOOL_MAX_MB is reached")
        with self.transaction(save=False):
            for row in rows:
                self.counters["last_id"] = self._insert(row)
        self._unmeasured += len(rows)

    def _insert(self, row: Row) -> int:
        """Insert one row; under an id of its own if another reading has that one."""
        id_ = row.id if row.id and row.id > 0 else None
        for there in self._rows("id = ?", id_) if id_ else []:
            if there.crc == row.crc:
                return row.id
            id_ = None
        if not row.held:
            self._saw(row.ts)
        self.counters["pending"] += 1
        statement = f"INSERT INTO samples ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        return self._db.execute(statement, (id_, *row[1:])).lastrowid

    def _set_aside(self, row: Row, reason: str) -> None:
        self.counters["set_aside"] += 1
        self._db.execute(
            f"INSERT INTO set_aside (reason, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (reason[:REASON_CHARS], *row),
        )

    def _delete(self, ids: Iterable[int]) -> int:
        deleted = self._db.executemany("DELETE FROM samples WHERE id = ?", ((i,) for i in ids))
        self.counters["pending"] -= max(deleted.rowcount, 0)
        return max(deleted.rowcount, 0)

    def apply(self, changes: Changes) -> None:
        """Write what memory collected, in one transaction."""
        with self.transaction():
            self.counters["dropped"] += changes.dropped
            for key, value in changes.meta.items():
                self._put_meta(key, value)
            self._add_boots(changes.boots)
            self._saw(changes.newest_ts)
            for row, reason in changes.refused:
                self._set_aside(row, reason)
            endings = changes.endings
            for row in self.get(id_ for id_, reason in endings.items() if reason is not None):
                row = row.placed(self.boots | changes.boots) if row.good else row
                self._set_aside(row, endings[row.id])
            self._delete(endings)
        self.boots |= changes.boots

    def thin(self, ids: list[int]) -> None:
        """Delete rows that were not confirmed, and count them."""
        with self.transaction():
            self.counters["thinned"] += self._delete(ids)

    def retry(self) -> int:
        """Move undamaged set-aside rows back under their old ids; returns how many.

        What is later than the newest time is of a clock that was ahead: it waits for its own.
        """
        newest = self.counters["newest_ts"]
        with self.transaction():
            found = self._db.execute(f"SELECT number, {COLUMNS} FROM set_aside").fetchall()  # noqa: S608
            good = [(number, row) for number, *values in found if (row := Row(*values)).good]
            for number, row in good:
                if newest and newer(row.ts, newest) != newest:
                    boot_id = self._unplaced(row.boot_id)
                    row = make_row(row.id, row.sample, boot_id, row.boot_s, held=True)
                self._insert(row)
                self._db.execute("DELETE FROM set_aside WHERE number = ?", (number,))
            self.counters["set_aside"] -= len(good)
        return len(good)

    def unplaced_boots(self) -> list[tuple[str, float, float]]:
        """The boots of held rows that have no time, oldest first: with first and last seconds."""
        with named_errors(self.path):
            return self._db.execute(
                "SELECT boot_id, min(boot_s), max(boot_s) FROM samples WHERE held = 1"  # noqa: S608
                f" AND boot_id NOT IN (SELECT boot_id FROM boots) AND {GOOD}"
                " GROUP BY boot_id ORDER BY min(id)"
            ).fetchall()

    def take_back(self, later_than: datetime, newest: datetime) -> list[int]:
        """Hold some rows again that are later, the newest first; returns their ids.

        When no others are left, `newest` is the newest time.
        """
        text, number = format_time(later_than).rstrip("Z"), microseconds(later_than)
        again = "checksum(ts, unplaced(boot_id), boot_s, 1, note, payload)"
        with self.transaction():
            found = self._db.execute(
                f"UPDATE samples SET held = 1, boot_id = unplaced(boot_id), crc = {again}"  # noqa: S608
                " WHERE id IN (SELECT id FROM samples LEFT JOIN boots USING (boot_id) WHERE"
                " CASE held WHEN 0 THEN rtrim(ts, 'Z') > ? ELSE began + boot_s * 1e6 > ? END"
                f" AND samples.{GOOD} ORDER BY id DESC LIMIT ?) RETURNING id",
                (text, number, TAKEN_BACK_ROWS),
            ).fetchall()
            if len(found) < TAKEN_BACK_ROWS:
                self.counters["newest_ts"] = format_time(newest)
        return [id_ for (id_,) in found]

    def _unplaced(self, boot_id: str) -> str:
        """The name under which a row of this boot waits for the next placement."""
        return unplaced(boot_id, self.boots)

    def adopt(
        self,
        rows: list[Row],
        aside: list[tuple[Row, str]],
        boots: dict[str, int],
        meta: dict[str, str],
        lost: dict[str, Any],
    ) -> None:
        """Take over what was salvaged, the counts of `lost` too; meta that exists stays."""
        with self.transaction():
            for row in rows:
                self._insert(row)
            for row, reason in aside:
                self._set_aside(row, reason)
            self._add_boots(boots)
            for key, value in meta.items():
                if key == "salvage" or self.meta(key) is None:
                    self._put_meta(key, value)
            for key in ("thinned", "dropped", "lost"):
                self.counters[key] += lost.get(key, 0)
            self._saw(lost.get("newest_ts"))
        self.boots = boots | self.boots

    def _add_boots(self, boots: dict[str, int]) -> None:
        rows = [(*boot, boot_crc(*boot)) for boot in boots.items()]
        self._db.executemany("INSERT OR IGNORE INTO boots VALUES (?, ?, ?)", rows)

    def start_after(self, last_id: int) -> None:
        """Give larger ids than this: a late confirmation must not hit another reading."""
        with self.transaction():
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'samples'")
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('samples', ?)", (last_id,))

    def queued(self, limit: int, newest: bool = False) -> list[Row]:
        """The oldest (or newest) rows that may be sent, in the order of their ids."""
        sendable = "(held = 0 OR boot_id IN (SELECT boot_id FROM boots)) ORDER BY id"
        if newest:
            return self._rows(f"{sendable} DESC LIMIT ?", limit)[::-1]
        return self._rows(f"{sendable} LIMIT ?", limit)

    def from_id(self, first: int, limit: int) -> list[Row]:
        """Rows in the order of their ids."""
        return self._rows("id >= ? ORDER BY id LIMIT ?", first, limit)

    def get(self, ids: Iterable[int]) -> list[Row]:
        """The rows of these ids that still exist."""
        return [row for id_ in ids for row in self._rows("id = ?", id_)]

    def status(self) -> dict[str, Any]:
        """What `--spool` prints."""
        with named_errors(self.path):
            return status_of(self._db, self.counters, self.boots)

    def oldest_ts(self) -> str | None:
        """The time of the reading that waits longest; of one without a time what its clock said."""
        with named_errors(self.path):
            return oldest_of(self._db, self.boots)

    def meta(self, key: str) -> str | None:
        """A remembered text."""
        with named_errors(self.path):
            return self._one("SELECT value FROM meta WHERE key = ?", key)

    def _put_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def fill(self) -> float:
        """How full the file is, 0 to 1 of SPOOL_MAX_MB."""
        if self._unmeasured >= (ROWS_UNMEASURED if self._fill < 0.75 else 1):
            with named_errors(self.path):
                used = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
            self._fill, self._unmeasured = used / self._max_pages, 0
        return self._fill

    def checkpoint(self, mode: str = "PASSIVE") -> None:
        """Move the log into the file, so that it is written from its beginning again."""
        with named_errors(self.path):
            self._one(f"PRAGMA wal_checkpoint({mode})")

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with named_errors(self.path):
            self._db.close()
