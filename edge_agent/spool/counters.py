"""What a spool counts, and the status made of it: the same beside the agent and within it."""

import json
import sqlite3
import zlib
from typing import Any

from edge_agent.spool.errors import SpoolCorrupt
from edge_agent.spool.row import COLUMNS, Row

COUNTERS = {
    "pending": 0,
    "set_aside": 0,
    "last_id": 0,
    "newest_ts": None,
    "thinned": 0,
    "dropped": 0,  # never reached the disk, and memory was full
    "lost": 0,  # could not be read from a damaged file
}

LARGEST_ID = 2**53  # no spool will ever count so far: it is damage
SHOWN_REJECTED = 100


def lenient_text(raw: bytes) -> str:
    """A damaged text still comes out as text; its checksum tells."""
    return raw.decode(errors="replace")


def last_id(db: sqlite3.Connection) -> int:
    """The largest id ever given."""
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'samples'").fetchall()
    return found[0][0] if found else 0


def counters_to_text(counters: dict[str, Any]) -> str:
    """The counters as they are stored, behind their checksum."""
    text = json.dumps(counters)
    return f"{zlib.crc32(text.encode()):08x} {text}"


def counters_from_text(stored: str) -> dict[str, Any] | None:
    """The counters, or None if a byte of them has changed."""
    crc, _, text = stored.partition(" ")
    return COUNTERS | json.loads(text) if crc == f"{zlib.crc32(text.encode()):08x}" else None


def load_counters(db: sqlite3.Connection) -> dict[str, Any]:
    """The counters as of now: those saved with the last deletion, and what was added since."""
    saved = db.execute("SELECT value FROM meta WHERE key = 'counters'").fetchall()
    counters = counters_from_text(saved[0][0]) if saved else dict(COUNTERS)
    newest_id = last_id(db)
    if counters is None or newest_id > LARGEST_ID:
        raise SpoolCorrupt("the counters are damaged")
    counters["pending"] += newest_id - counters["last_id"]
    counters["last_id"] = newest_id
    return counters


def newer(one: str | None, other: str | None) -> str | None:
    """The later of two times of one clock; without the Z such texts compare like times."""
    return max(one or "", other or "", key=lambda ts: ts.rstrip("Z")) or None


def counts_of(db: sqlite3.Connection, counters: dict[str, Any]) -> dict[str, Any]:
    """The status without the readings that were set aside."""
    oldest = db.execute("SELECT ts FROM samples ORDER BY id LIMIT 1").fetchall()
    return make_status(counters, oldest[0][0] if oldest else None)


def status_of(db: sqlite3.Connection, counters: dict[str, Any]) -> dict[str, Any]:
    """What `--spool` prints: the set-aside readings newest first, a damaged one as its text."""
    aside = db.execute(
        f"SELECT reason, {COLUMNS} FROM set_aside ORDER BY number DESC LIMIT ?",  # noqa: S608
        (SHOWN_REJECTED,),
    ).fetchall()
    rows = [(reason, Row(*values)) for reason, *values in aside]
    rejected = [{"ts": row.ts, "reason": why, "sample": row.shown} for why, row in rows]
    return counts_of(db, counters) | {"rejected": rejected}


def make_status(counters: dict[str, Any], oldest_ts: str | None = None) -> dict[str, Any]:
    """The status of a spool that has these counters."""
    return {
        "pending": counters["pending"],
        "set_aside": counters["set_aside"],
        "oldest_ts": oldest_ts,
        "rejected": [],
        "thinned": counters["thinned"],
        "dropped": counters["dropped"],
        "lost": counters["lost"],
    }
