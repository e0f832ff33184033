"""What can be wrong with a spool, named by what has to be done about it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SpoolError(Exception):
    """The spool cannot be used; the text says why and where."""


class SpoolLocked(SpoolError):
    """Another process works on this spool."""


class SpoolBroken(SpoolError):
    """The disk has failed for minutes: end the process, a new one may find it better."""


class SpoolFull(SpoolError):
    """No room, in the file or on the disk; the handle is good."""


class SpoolCorrupt(SpoolError):
    """The file is damaged: set it aside and start another."""


class SpoolFailed(SpoolError):
    """The disk or the file system failed: the handle must not be used again."""


_KINDS = {
    sqlite3.SQLITE_FULL: SpoolFull,
    sqlite3.SQLITE_CORRUPT: SpoolCorrupt,
    sqlite3.SQLITE_NOTADB: SpoolCorrupt,
    sqlite3.SQLITE_ERROR: SpoolCorrupt,  # our statements are right, so the schema is not
}


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into one of the errors above."""
    try:
        yield
    except OSError as error:
        raise SpoolFailed(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            raise  # a mistake of ours
        kind = _KINDS.get(code & 0xFF, SpoolFailed)
        raise kind(f"{path}: {error} ({error.sqlite_errorname})") from error
