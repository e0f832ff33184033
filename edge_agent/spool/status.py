"""A look at a spool from another process, and a request to the agent that owns it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from edge_agent.spool import tables
from edge_agent.spool.errors import SpoolError, SpoolLocked, spool_error
from edge_agent.spool.folder import log_of, retry_request
from edge_agent.spool.queue import Spool


def read_status(path: Path | str) -> dict[str, Any]:
    """What `--spool` prints, read beside a running agent; the file is never opened for writing."""
    path = Path(path)
    counters, oldest_ts, rejected = tables.COUNTERS, None, []
    try:
        if path.exists() and path.stat().st_size:
            # Without a log nobody writes, and a reader without rights on the folder cannot make it.
            wal = log_of(path)
            mode = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
            uri = f"{path.resolve().as_uri()}?{mode}"
            with closing(sqlite3.connect(uri, timeout=5, uri=True, isolation_level=None)) as db:
                db.text_factory = tables.lenient_text
                db.execute("BEGIN")
                counters = tables.load_counters(db, recount=False)
                oldest_ts = tables.oldest_ts(db, tables.load_boots(db))
                rejected = tables.rejected(db)
    except (OSError, sqlite3.DatabaseError) as error:
        raise spool_error(path, error) from error
    shown = {name: counters[name] for name in tables.STATUS}
    return shown | {"oldest_ts": oldest_ts, "rejected": rejected}


def request_retry(path: Path | str) -> None:
    """Ask the running agent to bring the set-aside readings back into the queue."""
    try:
        retry_request(path).touch()
    except OSError as error:
        raise SpoolError(f"cannot ask the agent: {error}") from error


def retry_set_aside(path: Path | str, max_mb: int) -> int | None:
    """Bring set-aside readings back into the queue; None: the running agent was asked to do it."""
    if not Path(path).exists():
        return 0
    try:
        spool = Spool(path, max_mb)
    except SpoolLocked:
        request_retry(path)
        return None
    with closing(spool):
        count = spool.retry()
        if count is None:
            raise SpoolError(f"{path} cannot be written now")
        return count
