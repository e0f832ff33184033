"""What can be wrong with a spool, named by what has to be done about it."""

import sqlite3
from pathlib import Path


class SpoolError(Exception):
    """The spool cannot be used; the text says why and where."""


class SpoolLocked(SpoolError):
    """Another process works on this spool."""


class SpoolBroken(SpoolError):
    """The disk has failed for minutes: end the process, a new one may find it better."""


class SpoolFull(SpoolError):
    """No room, in the file or on the disk; the connection is good."""


class SpoolCorrupt(SpoolError):
    """The file is damaged: set it aside and start another."""


class SpoolFailed(SpoolError):
    """The disk or the file system failed: the connection must not be used again."""


_KINDS = {
    sqlite3.SQLITE_FULL: SpoolFull,
    sqlite3.SQLITE_CORRUPT: SpoolCorrupt,
    sqlite3.SQLITE_NOTADB: SpoolCorrupt,
    sqlite3.SQLITE_ERROR: SpoolCorrupt,  # our statements are right, so the schema is not
}


def spool_error(path: Path, error: OSError | sqlite3.DatabaseError) -> SpoolError:
    """One of the errors above, for what SQLite or the system raised."""
    kind = _KINDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, SpoolFailed)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return kind(f"{path}: {error} ({name})")
