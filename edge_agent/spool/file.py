"""The spool's database file: the statements of the queue, run on its one connection.

A plain insert writes no counter: ids are dense, so the number of waiting rows is the one saved with
the last deletion plus the ids given since.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.spool import tables
from edge_agent.spool.errors import SpoolCorrupt, SpoolError, SpoolFull, named_errors
from edge_agent.spool.folder import create_file, log_of, sync_directory
from edge_agent.spool.pages import PAGE_BYTES, is_log_damaged
from edge_agent.spool.row import COLUMNS, Row, checksum, make_row, unplaced

LOG_PAGES = 1600  # then it is moved into the file; it keeps its length and is overwritten in place
CHECKED_MB = 64  # a larger file is not read from end to end before work starts
FULL = 0.97  # the rest is kept for confirming and setting aside
UNMEASURED_ROWS = 20  # the fill is asked for after so many, and always when it is high
RETRIED_ROWS = 1000  # in one transaction, so that neither log nor memory grows with their number
REASON_CHARS = 500


@dataclass
class Changes:
    """What is to be written besides new rows."""

    endings: dict[int, str | None] = field(default_factory=dict)  # id -> why refused, None: done
    refused: list[tuple[Row, str]] = field(default_factory=list)  # before they reached the disk
    boots: dict[str, int] = field(default_factory=dict)
    newest_ts: str | None = None
    dropped: int = 0


class SpoolFile:
    """The one read-write connection; not thread-safe, raises what SQLite and the system raise.

    Ids up to `last_id` are given: a late confirmation must not hit another reading. `boots` is
    what is known of them already.
    """

    def __init__(
        self, path: Path, max_mb: int, last_id: int = 0, boots: dict[str, int] | None = None
    ):
        self.path = path
        self.fill = 0.0  # 0 to 1 of SPOOL_MAX_MB, as last measured
        self._max_pages = max_mb * 2**20 // PAGE_BYTES
        if new := not path.exists():
            create_file(path)
        elif is_log_damaged(log_of(path)):
            raise SpoolCorrupt(f"{path}: its log is damaged")
        self.db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            small = self._prepare()
            self.counters = tables.load_counters(self.db, recount=small)
            self.boots = tables.load_boots(self.db)
            for row in self.rows("held = 0 ORDER BY id DESC LIMIT 1"):
                if row.good:
                    self.saw(row.ts)
            if (
                new
                or last_id > self.counters["last_id"]
                or (boots or {}).keys() - self.boots.keys()
            ):
                self._take_over(last_id, boots or {})
            if new:
                sync_directory(path.parent)
            self.measure()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> bool:
        """Set the connection up and make the tables; whether all of the file was checked."""
        self.db.text_factory = tables.lenient_text
        self.db.create_function("checksum", 6, checksum, deterministic=True)
        self.db.create_function("boot_crc", 2, tables.boot_crc, deterministic=True)
        self._one(f"PRAGMA page_size = {PAGE_BYTES}")
        journal = self._one("PRAGMA journal_mode = WAL")
        self._one("PRAGMA synchronous = FULL")
        if (journal, self._one("PRAGMA synchronous")) != ("wal", 2):
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
        with suppress(SpoolFull), named_errors(self.path):
            self.checkpoint("TRUNCATE")
        self.db.executescript(f"BEGIN IMMEDIATE; {tables.SCHEMA} COMMIT")
        # While a damaged one is there, its readings would be sent with the time of a wrong clock.
        self.db.execute("DELETE FROM boots WHERE crc != boot_crc(boot_id, began)")
        return small

    def _take_over(self, last_id: int, boots: dict[str, int]) -> None:
        """Go on from what is known already, and save the counters where salvage finds them."""
        with self.transaction():
            self.put_boots(boots)
            if self.counters["last_id"] < last_id:
                self.counters["last_id"] = last_id
                self.db.execute("DELETE FROM sqlite_sequence WHERE name = 'samples'")
                self.db.execute("INSERT INTO sqlite_sequence VALUES ('samples', ?)", (last_id,))

    def saw(self, ts: str | None) -> None:
        """Remember the newest trusted time."""
        self.counters["newest_ts"] = _newer(self.counters["newest_ts"], ts)

    def _one(self, statement: str) -> Any:
        rows = self.db.execute(statement).fetchall()
        return rows[0][0] if rows else None

    def rows(self, where: str, *values: Any) -> list[Row]:
        """The rows of the queue that fulfil a condition."""
        found = self.db.execute(f"SELECT {COLUMNS} FROM samples WHERE {where}", values)  # noqa: S608
        return list(map(Row._make, found.fetchall()))

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
            self.counters.update(before)  # others look at them too
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
        self.boots.update({**boots, **self.boots})

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
            if changes.boots:
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

    def queued(self, limit: int, newest: bool = False) -> list[Row]:
        """The oldest (or newest) rows that may be sent, in the order of their ids."""
        sendable = "(held = 0 OR boot_id IN (SELECT boot_id FROM boots)) ORDER BY id"
        if newest:
            return self.rows(f"{sendable} DESC LIMIT ?", limit)[::-1]
        return self.rows(f"{sendable} LIMIT ?", limit)

    def measure(self) -> float:
        """Ask how full the file is, 0 to 1 of SPOOL_MAX_MB."""
        used = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
        self.fill = used / self._max_pages
        return self.fill

    def checkpoint(self, mode: str = "PASSIVE") -> None:
        """Move the log into the file, so that it is written from its beginning again."""
        self._one(f"PRAGMA wal_checkpoint({mode})")

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with suppress(sqlite3.DatabaseError):
            self.db.close()


def _newer(one: str | None, other: str | None) -> str | None:
    """The later of two times of one clock; without the Z such texts compare like times."""
    return max(one or "", other or "", key=lambda ts: ts.rstrip("Z")) or None
