"""The tables of the spool, and what is read of them the same way beside the agent and within it."""

import json
import sqlite3
import zlib
from typing import Any

from edge_agent.shared.samples import parse_time
from edge_agent.spool.errors import SpoolCorrupt
from edge_agent.spool.row import COLUMNS, Row

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


def load_counters(db: sqlite3.Connection, recount: bool) -> dict[str, Any]:
    """The counters as of now: those saved with the last deletion, and what was added since.

    With `recount`, or where the saved ones are damaged, rows are counted, which reads every page.
    """
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'samples'").fetchall()
    last_id = found[0][0] if found else 0
    if last_id > LARGEST_ID:
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
    return [{"ts": row.ts, "reason": why, "sample": _shown(row)} for why, row in rows]


def _shown(row: Row) -> Any:
    if row.good:
        return row.sample
    return row.payload.decode(errors="replace") if isinstance(row.payload, bytes) else None


def oldest_ts(db: sqlite3.Connection, boots: dict[str, int]) -> str | None:
    """The time of the first reading; of one without a time, what its clock said."""
    found = db.execute(f"SELECT {COLUMNS} FROM samples ORDER BY id LIMIT 1").fetchall()  # noqa: S608
    row = Row(*found[0]) if found else None
    return row and (row.placed(boots).ts if row.held and row.good else row.ts)


def lenient_text(raw: bytes) -> str:
    """A damaged text still comes out as text; its checksum tells."""
    return raw.decode(errors="replace")
