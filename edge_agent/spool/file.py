"""The spool's database file: one SQLite connection and every statement run on it.

A plain insert writes no counter: ids are dense, so the number of waiting rows is the one saved with
the last deletion plus the ids given since.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge_agent.spool.counters import (
    COUNTERS,
    counters_to_text,
    counts_of,
    last_id,
    lenient_text,
    load_counters,
    newer,
    status_of,
)
from edge_agent.spool.errors import SpoolCorrupt, SpoolError, SpoolFull, named_errors
from edge_agent.spool.folder import create_file, log_of, sync_directory
from edge_agent.spool.pages import is_log_damaged
from edge_agent.spool.row import COLUMNS, Row, held_again
from edge_agent.spool.schema import SCHEMA

PAGE_SIZE = 1024  # a third of the bytes written per reading with 4096: what wears out a card
LOG_PAGES = 1600  # then it is moved into the file; it keeps its length and is overwritten in place
CHECKED_MB = 64  # a larger file is not read from end to end before work starts
FULL = 0.97  # the rest is kept for confirming and setting aside
ROWS_UNMEASURED = 20  # the fill is asked for after so many, and always when it is high
REASON_CHARS = 500
TAKEN_BACK = 1000  # in one transaction


class SpoolFile:
    """The one read-write connection; not thread-safe, the owner holds a lock around every call."""

    def __init__(self, path: Path, max_mb: int):
        self.path = path
        self.counters = dict(COUNTERS)
        self.in_doubt: list[Row] = []  # of a commit that failed, and yet was found in the log
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
        self._one(f"PRAGMA page_size = {PAGE_SIZE}")
        self._one("PRAGMA journal_mode = WAL")
        self._one("PRAGMA synchronous = FULL")
        if (self._one("PRAGMA journal_mode"), self._one("PRAGMA synchronous")) != ("wal", 2):
            raise SpoolError(f"{self.path}: this file system can not promise durable writes")
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
        self.counters = load_counters(self._db)
        if self.meta("counters") is None:
            self.remember({}, 0)  # salvage needs to find them
        if small:
            self.counters["pending"] = self._one("SELECT count(*) FROM samples")
        for row in self._rows("held = 0 ORDER BY id DESC LIMIT 1"):
            if row.good:
                self._saw(row)

    def _saw(self, row: Row) -> None:
        """Remember the newest trusted time."""
        if not row.held:
            self.counters["newest_ts"] = newer(self.counters["newest_ts"], row.ts)

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
                    self.put_meta("counters", counters_to_text(self.counters))
                self._db.execute("COMMIT")
            except BaseException:
                self.counters.update(before)  # others look at them too
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def insert(self, rows: list[Row]) -> list[int]:
        """Store new rows durably and return their ids."""
        if self.fill() >= FULL:
            raise SpoolFull(f"{self.path}: SPOOL_MAX_MB is reached")
        with self.transaction(save=False):
            ids = [self._insert(row) for row in rows]
            self.counters["last_id"] = ids[-1]
        self._unmeasured += len(ids)
        return ids

    def _insert(self, row: Row) -> int:
        """Insert one row; under an id of its own if another reading has that one."""
        for old in self.in_doubt:
            same_moment = row.boot_id and (old.boot_id, old.boot_s) == (row.boot_id, row.boot_s)
            if same_moment or old[1:] == row[1:]:
                self._rewrite(row._replace(id=old.id))  # it may have its time now
                return old.id
        id_ = row.id if row.id and row.id > 0 else None
        for there in self._rows("id = ?", id_) if id_ else []:
            if there.crc == row.crc:
                return row.id
            id_ = None
        self._saw(row)
        self.counters["pending"] += 1
        statement = f"INSERT INTO samples ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        return self._db.execute(statement, (id_, *row[1:])).lastrowid

    def _set_aside(self, row: Row, reason: str) -> None:
        self.counters["set_aside"] += 1
        self._db.execute(
            f"INSERT INTO set_aside (reason, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (reason[:REASON_CHARS], *row),
        )

    def _delete(self, id_: int) -> int:
        deleted = self._db.execute("DELETE FROM samples WHERE id = ?", (id_,)).rowcount
        self.counters["pending"] -= deleted
        return deleted

    def end(self, endings: dict[int, str | None], not_thinned: int = 0) -> None:
        """Delete confirmed rows (reason None); move the others into `set_aside`."""
        with self.transaction():
            self.counters["thinned"] -= not_thinned
            for id_, reason in endings.items():
                if reason is not None:
                    for row in self._rows("id = ?", id_):
                        self._set_aside(row, reason)
                self._delete(id_)

    def thin(self, ids: list[int]) -> None:
        """Delete rows that were not confirmed, and count them."""
        with self.transaction():
            self.counters["thinned"] += sum(self._delete(id_) for id_ in ids)

    def retry(self) -> int:
        """Move undamaged set-aside rows back under their old ids; returns how many.

        What is later than the newest time is of a clock that was ahead: it waits for its own.
        """
        newest = self.counters["newest_ts"]
        with self.transaction():
            found = self._db.execute(f"SELECT number, {COLUMNS} FROM set_aside").fetchall()  # noqa: S608
            good = [(number, row) for number, *values in found if (row := Row(*values)).good]
            for number, row in good:
                ahead = newest and newer(row.ts, newest) != newest
                self._insert(held_again(row) if ahead else row)
                self._db.execute("DELETE FROM set_aside WHERE number = ?", (number,))
            self.counters["set_aside"] -= len(good)
        return len(good)

    def place(self, rows: Iterable[Row]) -> None:
        """Give held rows the time they carry now and let them go."""
        with self.transaction():
            for row in rows:
                self._rewrite(row)

    def take_back(self, later_than: str, newest: str) -> list[int]:
        """Hold some rows again that are later, the newest first; returns their ids.

        When no others are left, `newest` is the newest time.
        """
        with self.transaction():
            where = "held = 0 AND ts > ? ORDER BY id DESC LIMIT ?"
            found = self._rows(where, later_than, TAKEN_BACK)
            wrong = [row for row in found if row.good]
            for row in wrong:
                self._rewrite(held_again(row))
            if len(found) < TAKEN_BACK or not wrong:
                self.counters["newest_ts"] = newest
        return [row.id for row in wrong]

    def _rewrite(self, row: Row) -> None:
        """Change a row that is there; its readings stay the same."""
        self._db.execute(
            "UPDATE samples SET ts = ?, held = ?, note = ?, crc = ?, payload = ? WHERE id = ?",
            (row.ts, row.held, row.note, row.crc, row.payload, row.id),
        )
        self._saw(row)

    def adopt(self, rows: list[Row], aside: list[tuple[Row, str]], meta: dict[str, str]) -> None:
        """Take over what was salvaged; meta that exists is not replaced, but for "salvage"."""
        with self.transaction():
            for row in rows:
                self._insert(row)
            for row, reason in aside:
                self._set_aside(row, reason)
            for key, value in meta.items():
                if key == "salvage" or self.meta(key) is None:
                    self.put_meta(key, value)

    def remember(self, meta: dict[str, str], dropped: int) -> None:
        """Store texts, and the number of readings that memory had no room for."""
        with self.transaction():
            self.counters["dropped"] += dropped
            for key, value in meta.items():
                self.put_meta(key, value)

    def finish_salvage(self, lost: int, old: dict[str, Any], state: str) -> None:
        """Count what a damaged file cost, and go on with its counts."""
        with self.transaction():
            for key in ("thinned", "dropped", "lost"):
                self.counters[key] += old.get(key, 0)
            self.counters["lost"] += lost
            self.counters["newest_ts"] = newer(self.counters["newest_ts"], old.get("newest_ts"))
            self.put_meta("salvage", state)

    def start_after(self, last_id: int) -> None:
        """Give larger ids than this: a late confirmation must not hit another reading."""
        with self.transaction():
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'samples'")
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('samples', ?)", (last_id,))

    def queued(self, limit: int, newest: bool = False) -> list[Row]:
        """The oldest (or newest) rows that may be sent, in the order of their ids."""
        if newest:
            return self._rows("held = 0 ORDER BY id DESC LIMIT ?", limit)[::-1]
        return self._rows("held = 0 ORDER BY id LIMIT ?", limit)

    def held(self, limit: int) -> list[Row]:
        """The oldest rows that wait for a trusted time."""
        return self._rows("held = 1 ORDER BY id LIMIT ?", limit)

    def other_boots_s(self, boot_id: str, gap_s: float) -> float:
        """How many seconds the held rows of other boots span, with a gap before each boot."""
        with named_errors(self.path):
            return self._one(
                "SELECT coalesce(sum(span_s + ?), 0.0) FROM (SELECT max(boot_s) - min(boot_s)"
                " AS span_s FROM samples WHERE held = 1 AND boot_id <> ? GROUP BY boot_id)",
                gap_s,
                boot_id,
            )

    def from_id(self, first: int, limit: int) -> list[Row]:
        """Rows in the order of their ids."""
        return self._rows("id >= ? ORDER BY id LIMIT ?", first, limit)

    def get(self, ids: Iterable[int]) -> list[Row]:
        """The rows of these ids that still exist."""
        return [row for id_ in ids for row in self._rows("id = ?", id_)]

    def counts(self) -> dict[str, Any]:
        """The status without the readings that were set aside."""
        with named_errors(self.path):
            return counts_of(self._db, self.counters)

    def status(self) -> dict[str, Any]:
        """What `--spool` prints."""
        with named_errors(self.path):
            return status_of(self._db, self.counters)

    def meta(self, key: str) -> str | None:
        """A remembered text."""
        with named_errors(self.path):
            return self._one("SELECT value FROM meta WHERE key = ?", key)

    def put_meta(self, key: str, value: str) -> None:
        """Remember a text; inside a transaction."""
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
        """Let go of the file, whatever state it is in."""
        with named_errors(self.path):
            self._db.close()
