"""A look at a spool from another process, and a word to the agent that owns it."""

import sqlite3
from pathlib import Path
from typing import Any

from edge_agent.spool import Spool
from edge_agent.spool_file import (
    SpoolError,
    SpoolLocked,
    load_counters,
    named_errors,
    oldest_ts,
    rejected,
    retry_flag,
)

EMPTY = {"pending": 0, "set_aside": 0, "oldest_ts": None, "rejected": [], "thinned": 0}


def read_status(path: Path | str) -> dict[str, Any]:
    """What `--spool` prints, read beside a running agent; the file is never opened for writing."""
    path = Path(path)
    with named_errors(path):
        if not path.exists() or path.stat().st_size == 0:
            return dict(EMPTY)
        # Without a log nobody writes, and a reader without rights on the folder can not make one.
        wal = path.with_name(path.name + "-wal")
        mode = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
        db = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", 5, uri=True, isolation_level=None)
        try:
            db.text_factory = lambda raw: raw.decode(errors="replace")
            db.execute("BEGIN")
            return _status(db)
        finally:
            db.close()


def _status(db: sqlite3.Connection) -> dict[str, Any]:
    counters = load_counters(db)
    return {
        "pending": counters["pending"],
        "set_aside": counters["set_aside"],
        "oldest_ts": oldest_ts(db),
        "rejected": rejected(db, 100),
        "thinned": counters["thinned"],
    }


def request_retry(path: Path | str) -> None:
    """Ask the running agent to bring the set-aside readings back into the queue."""
    path = Path(path)
    try:
        retry_flag(path).touch()
    except OSError as error:
        raise SpoolError(f"cannot ask the agent: {error}") from error


def retry_set_aside(path: Path | str) -> int | None:
    """Bring set-aside readings back into the queue; None: the running agent was asked to do it."""
    path = Path(path)
    if not path.exists():
        return 0
    try:
        spool = Spool(path)
    except SpoolLocked:
        request_retry(path)
        return None
    try:
        return spool.retry()
    finally:
        spool.close()
