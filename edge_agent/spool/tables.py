"""The tables of the spool, and what is read of them the same way beside the agent and within it."""

import json
import sqlite3
import zlib
from functools import partial
from pathlib import Path
from typing import Any

from edge_agent.shared.samples import parse_time
from edge_agent.spool.errors import SpoolCorrupt, SpoolError
from edge_agent.spool.pages import PAGE_BYTES
from edge_agent.spool.row import COLUMNS, Row, checksum

# `boots` says when a boot began, in microseconds since 1970: the time of its held rows.
SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ts TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    boot_s REAL NOT NULL,
    held INTEGER NOT NULL CHECK (held IN (0, 1)),
    note TEXT,
    crc INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS held ON samples (id) WHERE held = 1;
CREATE TABLE IF NOT EXISTS boots (
    boot_id TEXT PRIMARY KEY, began INTEGER NOT NULL, crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS set_aside (
    number INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    id INTEGER, ts TEXT, boot_id TEXT, boot_s REAL, held INTEGER, note TEXT, crc INTEGER,
    payload BLOB
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
LOG_PAGES = 1600  # then it is moved into the file; it keeps its length and is overwritten in place
CHECKED_MB = 64  # a larger file is not read from end to end before work starts
SHOWN_REJECTED = 100
LARGEST_ID = 2**53  # no spool will ever count so far: it is damage
COUNTERS: dict[str, Any] = {
    "pending": 0,
    "set_aside": 0,
    "last_id": 0,
    "newest_ts": None,
    "thinned": 0,
    "dropped": 0,  # never reached the disk, and memory was full
    "lost": 0,  # could not be read from a damaged file
}
STATUS = ("pending", "set_aside", "thinned", "dropped", "lost")

# A damaged text still comes out as text; its checksum tells.
lenient_text = partial(str, encoding="utf-8", errors="replace")


def set_up(db: sqlite3.Connection, path: Path, max_pages: int) -> bool:
    """Make what is written durable, and the tables; whether every page was checked."""
    db.text_factory = lenient_text
    db.create_function("checksum", 6, checksum, deterministic=True)
    db.create_function("boot_crc", 2, boot_crc, deterministic=True)

    def pragma(text: str) -> Any:
        rows = db.execute(f"PRAGMA {text}").fetchall()
        return rows[0][0] if rows else None

    pragma(f"page_size = {PAGE_BYTES}")
    journal = pragma("journal_mode = WAL")
    pragma("synchronous = FULL")
    if (journal, pragma("synchronous")) != ("wal", 2):
        raise SpoolError(f"{path}: this file system cannot promise durable writes")
    pragma(f"wal_autocheckpoint = {LOG_PAGES}")
    pragma(f"journal_size_limit = {2 * LOG_PAGES * PAGE_BYTES}")
    pragma(f"max_page_count = {max_pages}")
    pragma("secure_delete = ON")  # else salvage finds confirmed readings in pages given back
    small = pragma("page_count") * PAGE_BYTES <= CHECKED_MB * 2**20
    if small and (found := pragma("integrity_check(1)")) != "ok":
        raise SpoolCorrupt(f"{path}: {found}")
    try:
        # After a failed write the log may hold what never reached the disk: start an empty one.
        pragma("wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
    db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT")
    # While a damaged one is there, its readings would be sent with the time of a wrong clock.
    db.execute("DELETE FROM boots WHERE crc != boot_crc(boot_id, began)")
    return small


def load_counters(db: sqlite3.Connection, recount: bool) -> dict[str, Any]:
    """The counters as of now: those saved with the last deletion, and what was added since.

    With `recount`, or where the saved ones are damaged, rows are counted, which reads every page.
    """
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'samples'").fetchall()
    last_id = found[0][0] if found else 0
    if not isinstance(last_id, int) or last_id > LARGEST_ID:
        raise SpoolCorrupt("the last id is damaged")
    saved = db.execute("SELECT value FROM meta WHERE key = 'counters'").fetchall()
    counters = counters_from_text(saved[0][0]) if saved else None
    if counters:
        counters["pending"] += last_id - counters["last_id"]
    if recount or not counters:
        counters = counters or dict(COUNTERS)
        for key, table in (("pending", "samples"), ("set_aside", "set_aside")):
            counters[key] = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
    return counters | {"last_id": last_id}


def counters_from_text(text: str) -> dict[str, Any] | None:
    """Saved counters, None if they are damaged; version 1.0.0 wrote a checksum before them."""
    try:
        counters = json.loads(text[text.index("{") :])
        if counters["newest_ts"]:
            parse_time(counters["newest_ts"])
        whole = all(0 <= counters[key] < LARGEST_ID for key in COUNTERS if key != "newest_ts")
    except (ValueError, TypeError, KeyError):
        return None
    return counters if whole and counters.keys() == COUNTERS.keys() else None


def load_boots(db: sqlite3.Connection) -> dict[str, int]:
    """When boots began, in microseconds since 1970; a damaged one has to be found again."""
    exists = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'boots'").fetchall()
    rows = db.execute("SELECT boot_id, began, crc FROM boots").fetchall() if exists else []
    return {boot_id: began for boot_id, began, crc in rows if crc == boot_crc(boot_id, began)}


def boot_crc(boot_id: str, began: int) -> int:
    """The checksum of a row of `boots`."""
    return zlib.crc32(f"{boot_id} {began}".encode())


def rejected(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """The set-aside readings, newest first, a damaged one as the text that is left of it."""
    aside = db.execute(
        f"SELECT reason, {COLUMNS} FROM set_aside ORDER BY number DESC LIMIT ?",  # noqa: S608
        (SHOWN_REJECTED,),
    )
    rows = [(reason, Row(*values)) for reason, *values in aside]
    return [
        {
            "ts": _as_text(row.ts),
            "reason": _as_text(why),
            "sample": row.sample if row.good else _as_text(row.payload),
        }
        for why, row in rows
    ]


def _as_text(value: Any) -> Any:
    """What JSON can say of a column: one flipped bit makes bytes of a text."""
    return lenient_text(value) if isinstance(value, bytes) else value


def oldest_ts(db: sqlite3.Connection, boots: dict[str, int]) -> str | None:
    """The time of the first reading; of one without a time, what its clock said."""
    found = db.execute(f"SELECT {COLUMNS} FROM samples ORDER BY id LIMIT 1").fetchall()  # noqa: S608
    row = Row(*found[0]) if found else None
    return row and (row.placed(boots).ts if row.held and row.good else _as_text(row.ts))
