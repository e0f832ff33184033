"""The spool's database file: the statements of the queue, run on its one connection.

A plain insert writes no counter: ids are dense, so the number of waiting rows is the one saved with
the last deletion plus the ids given since.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge_agent.spool.errors import SpoolCorrupt, SpoolError, SpoolFull, named, named_errors
from edge_agent.spool.folder import create_file, log_of, sync_directory
from edge_agent.spool.memory import Changes
from edge_agent.spool.pages import is_log_damaged
from edge_agent.spool.row import COLUMNS, Row, checksum, make_row, unplaced
from edge_agent.spool.tables import (
    SCHEMA,
    boot_crc,
    last_id,
    load_boots,
    load_counters,
    oldest_of,
    status_of,
)

PAGE_BYTES = 1024  # a third of the bytes written per reading with 4096: what wears out a card
LOG_PAGES = 1600  # then it is moved into the file; it keeps its length and is overwritten in place
CHECKED_MB = 64  # a larger file is not read from end to end before work starts
FULL = 0.97  # the rest is kept for confirming and setting aside
UNMEASURED_ROWS = 20  # the fill is asked for after so many, and always when it is high
REASON_CHARS = 500


class SpoolFile:
    """The one read-write connection; not thread-safe, the owner holds a lock around every call.

    Ids larger than `last_id` are given: a late confirmation must not hit another reading.
    """

    def __init__(self, path: Path, max_mb: int, last_id: int = 0):
        self.path = path
        self.counters: dict[str, Any] = {}
        self.boots: dict[str, int] = {}
        self.fill = 0.0  # 0 to 1 of SPOOL_MAX_MB, as last measured
        self._unmeasured = 0
        self._max_pages = max_mb * 2**20 // PAGE_BYTES
        with named_errors(path):
            if new := not path.exists():
                create_file(path)
            elif is_log_damaged(log_of(path)):
                raise SpoolCorrupt(f"{path}: its log is damaged")
            self.db = sqlite3.connect(
                path, timeout=5, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(last_id)
                if new:
                    sync_directory(path.parent)
            except BaseException:
                self.db.close()
                raise

    def _prepare(self, highest_id: int) -> None:
        if not os.access(self.path, os.W_OK):
            raise PermissionError("readonly")  # SQLite would open it all the same
        self.db.text_factory = lenient_text
        self.db.create_function("checksum", 6, checksum, deterministic=True)
        self._one(f"PRAGMA page_size = {PAGE_BYTES}")
        self._one("PRAGMA journal_mode = WAL")
        self._one("PRAGMA synchronous = FULL")
        if (self._one("PRAGMA journal_mode"), self._one("PRAGMA synchronous")) != ("wal", 2):
            raise SpoolError(f"{self.path}: this file system cannot promise durable writes")
        self._one(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        self._one(f"PRAGMA journal_size_limit = {2 * LOG_PAGES * PAGE_BYTES}")
        self._one(f"PRAGMA max_page_count = {self._max_pages}")
        # Salvage must not find confirmed readings again in pages that were given back.
        self._one("PRAGMA secure_delete = ON")
        small = self._one("PRAGMA page_count") * PAGE_BYTES <= CHECKED_MB * 2**20
        if small and (found := self._one("PRAGMA integrity_check(1)")) != "ok":
            raise SpoolCorrupt(f"{self.path}: {found}")
        # After a failed write the log may hold what never reached the disk: start an empty one.
        with suppress(SpoolFull):
            self.checkpoint("TRUNCATE")
        with self.transaction(save=False):
            for statement in SCHEMA.split(";")[:-1]:
                self.db.execute(statement)
        self.counters, self.boots = load_counters(self.db, recount=small), load_boots(self.db)
        if self.meta("counters") is None:
            self.apply(Changes())  # salvage needs to find them
        if self.counters["last_id"] < highest_id:
            with self.transaction():
                self.db.execute("DELETE FROM sqlite_sequence WHERE name = 'samples'")
                self.db.execute("INSERT INTO sqlite_sequence VALUES ('samples', ?)", (highest_id,))
        for row in self.rows("held = 0 ORDER BY id DESC LIMIT 1"):
            if row.good:
                self.saw(row.ts)
        self.measure()

    def saw(self, ts: str | None) -> None:
        """Remember the newest trusted time."""
        self.counters["newest_ts"] = newer(self.counters["newest_ts"], ts)

    def _one(self, statement: str, *values: Any) -> Any:
        rows = self.db.execute(statement, values).fetchall()
        return rows[0][0] if rows else None

    def rows(self, where: str, *values: Any) -> list[Row]:
        """The rows of the queue that fulfil a condition."""
        try:
            found = self.db.execute(f"SELECT {COLUMNS} FROM samples WHERE {where}", values)  # noqa: S608
            return list(map(Row._make, found.fetchall()))
        except sqlite3.DatabaseError as error:
            raise named(error, self.path) from error

    @contextmanager
    def transaction(self, save: bool = True) -> Iterator[None]:
        """Everything inside is on the disk afterwards, or nothing is and the error says why."""
        before, boots = dict(self.counters), dict(self.boots) if save else self.boots
        try:
            self.db.execute("BEGIN IMMEDIATE")
            yield
            if save:
                self._unmeasured = UNMEASURED_ROWS
                self.counters["last_id"] = last_id(self.db)
                self.put_meta("counters", json.dumps(self.counters))
            self.db.execute("COMMIT")
        except BaseException as error:
            self.counters.update(before)  # others look at them too
            for boot_id in self.boots.keys() - boots.keys():
                del self.boots[boot_id]
            with suppress(sqlite3.DatabaseError):
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
            if isinstance(error, sqlite3.DatabaseError):
                raise named(error, self.path) from error
            raise

    def insert(self, rows: list[Row]) -> None:
        """Store new rows durably."""
        if self._unmeasured >= (UNMEASURED_ROWS if self.fill < 0.75 else 1):
            self.measure()
        if self.fill >= FULL:
            raise SpoolFull(f"{self.path}: SPOOL_MAX_MB is reached")
        with self.transaction(save=False):
            for row in rows:
                self.counters["last_id"] = self.put(row)
        self._unmeasured += len(rows)

    def put(self, row: Row) -> int:
        """Insert one row inside a transaction; under another id if another row has its own."""
        id_ = row.id if row.id and row.id > 0 else None
        for there in self.rows("id = ?", id_) if id_ else []:
            if there.crc == row.crc:
                return row.id
            id_ = None
        if not row.held:
            self.saw(row.ts)
        self.counters["pending"] += 1
        statement = f"INSERT INTO samples ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        return self.db.execute(statement, (id_, *row[1:])).lastrowid

    def put_aside(self, row: Row, reason: str) -> None:
        """Keep one row in `set_aside`, inside a transaction."""
        self.counters["set_aside"] += 1
        self.db.execute(
            f"INSERT INTO set_aside (reason, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (reason[:REASON_CHARS], *row),
        )

    def put_boots(self, boots: dict[str, int]) -> None:
        """Note when boots began, inside a transaction; what is known stays."""
        rows = [(*boot, boot_crc(*boot)) for boot in boots.items()]
        self.db.executemany("INSERT OR IGNORE INTO boots VALUES (?, ?, ?)", rows)
        self.boots.update({**boots, **self.boots})

    def put_meta(self, key: str, value: str) -> None:
        """Remember a text, inside a transaction."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def delete(self, ids: Iterable[int]) -> int:
        """Delete rows inside a transaction; returns how many there were."""
        deleted = self.db.executemany("DELETE FROM samples WHERE id = ?", [(id_,) for id_ in ids])
        self.counters["pending"] -= max(deleted.rowcount, 0)
        return max(deleted.rowcount, 0)

    def apply(self, changes: Changes) -> None:
        """Write what memory collected, in one transaction."""
        with self.transaction():
            self.counters["dropped"] += changes.dropped
            for key, value in changes.meta.items():
                self.put_meta(key, value)
            if changes.boots:
                self.put_boots(changes.boots)
                self.saw(changes.newest_ts)
            for row, reason in changes.refused:
                self.put_aside(row, reason)
            for id_, reason in changes.endings.items():
                for row in self.rows("id = ?", id_) if reason is not None else []:
                    self.put_aside(row.placed(self.boots) if row.good else row, reason)
            self.delete(changes.endings)

    def retry(self) -> int:
        """Move undamaged set-aside rows back under their old ids; returns how many.

        What is later than the newest time is of a clock that was ahead: it waits for its own.
        """
        newest = self.counters["newest_ts"]
        with self.transaction():
            found = self.db.execute(f"SELECT number, {COLUMNS} FROM set_aside").fetchall()  # noqa: S608
            good = [(number, row) for number, *values in found if (row := Row(*values)).good]
            for number, row in good:
                if newest and newer(row.ts, newest) != newest:
                    boot_id = unplaced(row.boot_id, self.boots)
                    row = make_row(row.id, row.sample, boot_id, row.boot_s, held=True)
                self.put(row)
                self.db.execute("DELETE FROM set_aside WHERE number = ?", (number,))
            self.counters["set_aside"] -= len(good)
        return len(good)

    def queued(self, limit: int, newest: bool = False) -> list[Row]:
        """The oldest (or newest) rows that may be sent, in the order of their ids."""
        sendable = "(held = 0 OR boot_id IN (SELECT boot_id FROM boots)) ORDER BY id"
        if newest:
            return self.rows(f"{sendable} DESC LIMIT ?", limit)[::-1]
        return self.rows(f"{sendable} LIMIT ?", limit)

    def status(self) -> dict[str, Any]:
        """What `--spool` prints."""
        with named_errors(self.path):
            return status_of(self.db, self.counters, self.boots)

    def oldest_ts(self) -> str | None:
        """The time of the reading that waits longest."""
        with named_errors(self.path):
            return oldest_of(self.db, self.boots)

    def meta(self, key: str) -> str | None:
        """A remembered text."""
        with named_errors(self.path):
            return self._one("SELECT value FROM meta WHERE key = ?", key)

    def measure(self) -> float:
        """Ask how full the file is, 0 to 1 of SPOOL_MAX_MB."""
        with named_errors(self.path):
            used = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
        self.fill, self._unmeasured = used / self._max_pages, 0
        return self.fill

    def checkpoint(self, mode: str = "PASSIVE") -> None:
        """Move the log into the file, so that it is written from its beginning again."""
        with named_errors(self.path):
            self._one(f"PRAGMA wal_checkpoint({mode})")

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with named_errors(self.path):
            self.db.close()


def lenient_text(raw: bytes) -> str:
    """A damaged text still comes out as text; its checksum tells."""
    return raw.decode(errors="replace")


def newer(one: str | None, other: str | None) -> str | None:
    """The later of two times of one clock; without the Z such texts compare like times."""
    return max(one or "", other or "", key=lambda ts: ts.rstrip("Z")) or None
