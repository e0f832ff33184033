"""The spool's database file: one SQLite connection, its schema, and every statement run on it.

A row of `samples` is a reading that waits for its confirmation, `set_aside` holds what the server
refused or the disk damaged, `meta` the counters. A plain insert writes no counter: ids are dense,
so the number of waiting rows is the one saved with the last deletion plus the ids given since.
"""

import fcntl
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ts TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    boot_s REAL NOT NULL,
    held INTEGER NOT NULL,
    note TEXT,
    crc INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS held ON samples (id) WHERE held = 1;
CREATE TABLE IF NOT EXISTS set_aside (
    number INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    id INTEGER NOT NULL,
    ts TEXT, boot_id TEXT, boot_s REAL, held INTEGER, note TEXT, crc INTEGER, payload BLOB
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
COLUMNS = "id, ts, boot_id, boot_s, held, note, crc, payload"
COUNTERS = {
    "pending": 0,
    "set_aside": 0,
    "last_id": 0,
    "newest_ts": None,
    "thinned": 0,
    "dropped": 0,
    "lost": 0,
}

WAL_PAGES = 200  # checkpoint after this many; the log file stays that long and is then overwritten
CHECK_WHOLE_FILE_MB = 64  # a larger file is not read from end to end before work starts
DAMAGED = "damaged on the disk: the checksum does not match"
FULL = 0.97  # of the pages: the rest is kept for confirming


class SpoolError(Exception):
    """The spool can not be used; the text says why and where."""


class SpoolFull(SpoolError):
    """No room, in the file or on the disk; the handle is good."""


class SpoolCorrupt(SpoolError):
    """The file is damaged: set it aside and start another."""


class SpoolFailed(SpoolError):
    """The disk or the file system failed: the handle must not be used again."""


class SpoolLocked(SpoolError):
    """Another process works on this spool."""


class Row(NamedTuple):
    """One row of `samples`."""

    id: int | None
    ts: str
    boot_id: str
    boot_s: float
    held: int
    note: str | None
    crc: int
    payload: bytes

    @property
    def sample(self) -> dict[str, Any]:
        """The reading; raises ValueError if a byte of it changed on the disk."""
        if not isinstance(self.payload, bytes) or self.crc != checksum(
            self.payload, self.boot_id, self.boot_s
        ):
            raise ValueError(DAMAGED)
        return json.loads(self.payload)


def checksum(payload: bytes, boot_id: str, boot_s: float) -> int:
    """A CRC of all that can not be found out again."""
    return zlib.crc32(f"{boot_id} {boot_s} ".encode() + payload)


def make_row(sample: dict[str, Any], boot_id: str, boot_s: float, held: bool) -> Row:
    """A row for a new reading; raises ValueError for what JSON can not say."""
    payload = json.dumps(sample, separators=(",", ":"), allow_nan=False).encode()
    crc = checksum(payload, boot_id, boot_s)
    return Row(None, sample["ts"], boot_id, boot_s, int(held), None, crc, payload)


def replace_time(row: Row, ts: str, note: str) -> Row:
    """The same reading at another time."""
    new = make_row({**row.sample, "ts": ts}, row.boot_id, row.boot_s, held=False)
    return new._replace(id=row.id, note=note)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into the error that says what to do."""
    kinds = {
        sqlite3.SQLITE_FULL: SpoolFull,
        sqlite3.SQLITE_CORRUPT: SpoolCorrupt,
        sqlite3.SQLITE_NOTADB: SpoolCorrupt,
    }
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            raise
        name = error.sqlite_errorname
        raise kinds.get(code & 0xFF, SpoolFailed)(f"{path}: {error} ({name})") from error
    except OSError as error:
        raise SpoolFailed(f"{path}: {error}") from error


def lock(path: Path, create: bool = True) -> int | None:
    """Take the lock beside the spool until the descriptor is closed; raises SpoolLocked.

    Without `create`, None says that no agent ever ran here.
    """
    name = f"{path}.lock"
    try:
        # Not for writing: a lock file made by root must not stop the agent's own user.
        handle = os.open(name, os.O_RDONLY | (os.O_CREAT if create else 0) | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpoolError(f"cannot open the lock file {name}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise SpoolLocked(f"another agent is using the spool {path}") from None
    return handle


def sync_directory(folder: Path) -> None:
    """Make the names of new files in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def retry_flag(path: Path) -> Path:
    """The file whose presence asks the agent for a retry."""
    return path.with_name(path.name + ".retry")


class SpoolFile:
    """The one read-write connection; not thread-safe, the owner holds a lock around every call."""

    def __init__(self, path: Path, max_mb: int):
        self.path = path
        self.counters: dict[str, Any] = {}
        with named_errors(path):
            new = not path.exists()
            self._db = sqlite3.connect(path, 5, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(max_mb)
                if new:
                    sync_directory(path.parent)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self, max_mb: int) -> None:
        # A damaged text must come out as text, to be found by its checksum.
        self._db.text_factory = lambda raw: raw.decode(errors="replace")
        self._one("PRAGMA journal_mode = WAL")
        self._one("PRAGMA synchronous = FULL")
        if (self._one("PRAGMA journal_mode"), self._one("PRAGMA synchronous")) != ("wal", 2):
            raise SpoolFailed(f"{self.path}: this file system can not promise durable writes")
        page_size = self._one("PRAGMA page_size")
        self._one(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        self._one(f"PRAGMA journal_size_limit = {WAL_PAGES * 2 * page_size}")
        self._one(f"PRAGMA max_page_count = {max_mb * 2**20 // page_size}")
        # After a failed write the log may hold what never reached the disk: start an empty one.
        self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        if self._one("PRAGMA page_count") * page_size <= CHECK_WHOLE_FILE_MB * 2**20:
            found = self._one("PRAGMA quick_check(1)")
            if found != "ok":
                raise SpoolCorrupt(f"{self.path}: {found}")
        with self._transaction(save=False):
            for statement in SCHEMA.split(";")[:-1]:
                self._db.execute(statement)
        self._load_counters()

    def _load_counters(self) -> None:
        self.counters = load_counters(self._db)
        for row in self._rows("held = 0 ORDER BY id DESC LIMIT 1"):
            if is_good(row):
                self._saw(row.ts)

    def _saw(self, ts: str | None) -> None:
        """Remember the newest time; texts of one clock compare like times once the Z is off."""
        newest = self.counters["newest_ts"]
        if ts and (newest is None or ts.rstrip("Z") > newest.rstrip("Z")):
            self.counters["newest_ts"] = ts

    def _one(self, statement: str, *values: Any) -> Any:
        rows = self._db.execute(statement, values).fetchall()
        return rows[0][0] if rows else None

    def _rows(self, where: str, *values: Any) -> list[Row]:
        found = self._db.execute(f"SELECT {COLUMNS} FROM samples WHERE {where}", values)  # noqa: S608
        return [Row(*row) for row in found.fetchall()]

    @contextmanager
    def _transaction(self, save: bool = True) -> Iterator[None]:
        """Everything inside is on the disk afterwards, or nothing is and the error says why."""
        before = dict(self.counters)
        with named_errors(self.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                if save:
                    self._put_meta("counters", json.dumps(self.counters))
                self._db.execute("COMMIT")
            except BaseException:
                self.counters = before
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def insert(self, rows: list[Row]) -> list[int]:
        """Store new rows durably and return their ids."""
        if self.fill() >= FULL:
            raise SpoolFull(f"{self.path}: SPOOL_MAX_MB is reached")
        ids = []
        with self._transaction(save=False):
            for row in rows:
                ids.append(self._insert(row))
                if not row.held:
                    self._saw(row.ts)
            self.counters["pending"] += len(ids)
            self.counters["last_id"] = ids[-1]
        return ids

    def _insert(self, row: Row) -> int:
        marks = ", ".join("?" * len(row))
        return self._db.execute(
            f"INSERT INTO samples ({COLUMNS}) VALUES ({marks})",  # noqa: S608
            row,
        ).lastrowid

    def end(self, endings: dict[int, str | None]) -> None:
        """Delete confirmed rows (reason None); move the others into `set_aside`."""
        with self._transaction():
            for id_, reason in endings.items():
                if reason is not None:
                    self.counters["set_aside"] += self._db.execute(
                        f"INSERT INTO set_aside (reason, {COLUMNS})"  # noqa: S608
                        f" SELECT ?, {COLUMNS} FROM samples WHERE id = ?",
                        (reason, id_),
                    ).rowcount
                deleted = self._db.execute("DELETE FROM samples WHERE id = ?", (id_,)).rowcount
                self.counters["pending"] -= deleted

    def retry(self) -> int:
        """Move undamaged set-aside rows back under their old ids; returns how many."""
        with self._transaction():
            found = self._db.execute(f"SELECT number, {COLUMNS} FROM set_aside").fetchall()  # noqa: S608
            good = [(number, Row(*row)) for number, *row in found if is_good(Row(*row))]
            for number, row in good:
                self._insert(row)
                self._db.execute("DELETE FROM set_aside WHERE number = ?", (number,))
            self.counters["pending"] += len(good)
            self.counters["set_aside"] -= len(good)
        return len(good)

    def place(self, rows: list[Row]) -> None:
        """Give held rows their time and let them go."""
        with self._transaction():
            for row in rows:
                self._db.execute(
                    "UPDATE samples SET ts = ?, held = 0, note = ?, crc = ?, payload = ?"
                    " WHERE id = ?",
                    (row.ts, row.note, row.crc, row.payload, row.id),
                )
                self._saw(row.ts)

    def queued(self, limit: int, newest: bool = False) -> list[Row]:
        """The oldest (or newest) rows that may be sent, in the order of their ids."""
        with named_errors(self.path):
            order = "DESC" if newest else "ASC"
            rows = self._rows(f"held = 0 ORDER BY id {order} LIMIT ?", limit)
        return rows[::-1] if newest else rows

    def held(self, limit: int) -> list[Row]:
        """The oldest rows that wait for a trusted clock."""
        with named_errors(self.path):
            return self._rows("held = 1 ORDER BY id LIMIT ?", limit)

    def get(self, ids: list[int]) -> list[Row]:
        """The rows of these ids that still exist."""
        with named_errors(self.path):
            return [row for id_ in ids for row in self._rows("id = ?", id_)]

    def oldest_ts(self) -> str | None:
        """The time of the oldest row."""
        with named_errors(self.path):
            return oldest_ts(self._db)

    def rejected(self, limit: int = 100) -> list[dict[str, Any]]:
        """What was set aside, newest first."""
        with named_errors(self.path):
            return rejected(self._db, limit)

    def meta(self, key: str) -> str | None:
        """A remembered text."""
        with named_errors(self.path):
            return self._one("SELECT value FROM meta WHERE key = ?", key)

    def set_meta(self, values: dict[str, str]) -> None:
        """Remember texts durably."""
        with self._transaction():
            for key, value in values.items():
                self._put_meta(key, value)

    def _put_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def fill(self) -> float:
        """How full the file is, 0 to 1 of SPOOL_MAX_MB."""
        with named_errors(self.path):
            used = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
            return used / self._one("PRAGMA max_page_count")

    def close(self) -> None:
        """Let go of the file, whatever state it is in."""
        with named_errors(self.path):
            self._db.close()


def load_counters(db: sqlite3.Connection) -> dict[str, Any]:
    """The counters as of now: those saved with the last deletion, and what was added since."""
    saved = db.execute("SELECT value FROM meta WHERE key = 'counters'").fetchall()
    counters = {**COUNTERS, **(json.loads(saved[0][0]) if saved else {})}
    last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'samples'").fetchall()
    last_id = last[0][0] if last else 0
    counters["pending"] += last_id - counters["last_id"]
    counters["last_id"] = last_id
    return counters


def oldest_ts(db: sqlite3.Connection) -> str | None:
    """The time of the oldest row."""
    found = db.execute("SELECT ts FROM samples ORDER BY id LIMIT 1").fetchall()
    return found[0][0] if found else None


def rejected(db: sqlite3.Connection, limit: int) -> list[dict[str, Any]]:
    """The newest set-aside rows as the status shows them; a damaged one as the text it left."""
    found = db.execute(
        f"SELECT reason, {COLUMNS} FROM set_aside ORDER BY number DESC LIMIT ?",  # noqa: S608
        (limit,),
    ).fetchall()
    shown = []
    for reason, *values in found:
        row = Row(*values)
        raw = row.payload if isinstance(row.payload, bytes) else str(row.payload).encode()
        sample = row.sample if is_good(row) else raw.decode(errors="replace")
        shown.append({"ts": row.ts, "reason": reason, "sample": sample})
    return shown


def is_good(row: Row) -> bool:
    """Whether the row can be sent."""
    try:
        return isinstance(row.sample, dict)
    except ValueError:
        return False
