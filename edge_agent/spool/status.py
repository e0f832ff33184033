"""A look at a spool from another process, and a request to the agent that owns it."""

import sqlite3
from pathlib import Path
from typing import Any

from edge_agent.spool.errors import SpoolError, SpoolLocked, named_errors
from edge_agent.spool.file import lenient_text
from edge_agent.spool.folder import log_of, retry_request
from edge_agent.spool.queue import Spool
from edge_agent.spool.tables import empty_status, load_boots, load_counters, status_of


def read_status(path: Path | str) -> dict[str, Any]:
    """What `--spool` prints, read beside a running agent; the file is never opened for writing."""
    path = Path(path)
    with named_errors(path):
        if not path.exists() or path.stat().st_size == 0:
            return empty_status()
        # Without a log nobody writes, and a reader without rights on the folder cannot make one.
        wal = log_of(path)
        mode = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
        db = sqlite3.connect(
            f"{path.resolve().as_uri()}?{mode}", timeout=5, uri=True, isolation_level=None
        )
        try:
            db.text_factory = lenient_text
            db.execute("BEGIN")
            return status_of(db, load_counters(db, recount=False), load_boots(db))
        finally:
            db.close()


def request_retry(path: Path | str) -> None:
    """Ask the running agent to bring the set-aside readings back into the queue."""
    try:
        retry_request(path).touch()
    except OSError as error:
        raise SpoolError(f"cannot ask the agent: {error}") from error


def retry_set_aside(path: Path | str, max_mb: int) -> int | None:
    """Bring set-aside readings back into the queue; None: the running agent was asked to do it."""
    path = Path(path)
    if not path.exists():
        return 0
    try:
        spool = Spool(path, max_mb)
    except SpoolLocked:
        request_retry(path)
        return None
    try:
        count = spool.retry()
        if count is None:
            raise SpoolError(f"{path} cannot be written now")
        return count
    finally:
        spool.close()
