"""The folder of a spool and what lies beside the file: lock, reserve, a request for a retry."""

import fcntl
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from edge_agent.shared.logs import event
from edge_agent.spool.errors import SpoolError, SpoolLocked

RESERVE_BYTES = 2**20
SPARE_BYTES = 8 * RESERVE_BYTES  # the reserve is only made where this much is free
FULL_BYTES = RESERVE_BYTES // 4  # not enough for a transaction or two

log = logging.getLogger(__name__)


def make_folder(path: Path) -> None:
    """Make the folder of the spool, durably; raises SpoolError."""
    try:
        new = [folder for folder in path.absolute().parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in new:
            sync_directory(folder.parent)
    except OSError as error:
        raise SpoolError(f"cannot make the folder of the spool: {error}") from error
    if path.is_dir():
        raise SpoolError(f"{path} is a folder; SPOOL_PATH must name a file")


def require_writable(path: Path) -> None:
    """Raise SpoolError for rights that a person has to put right.

    A disk that turned read-only is another matter: readings are sent from memory until it is well.
    """
    read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
    for each in (path.parent, path):
        if each.exists() and not read_only and not os.access(each, os.W_OK):
            raise SpoolError(f"{each}: no permission to write")


def create_file(path: Path) -> None:
    """Make an empty file; as root it belongs to whom the folder belongs, the agent's own user."""
    path.touch()
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)


def sync_directory(folder: Path) -> None:
    """Make the names of new files in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(path: Path, create: bool = True) -> int | None:
    """Lock the spool until the descriptor is closed or the process ends.

    Raises SpoolLocked if another process has the lock. Without `create`, None means that no agent
    ever ran here.
    """
    name = f"{path}.lock"
    try:
        # Not for writing: a lock file made by root must not stop the agent's own user.
        handle = os.open(name, os.O_RDONLY | (os.O_CREAT if create else 0) | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not create:
            return None
        raise SpoolError(f"cannot open the lock file {name}: {error.strerror}") from error
    with suppress(OSError):
        os.fchmod(handle, 0o644)  # whatever root's umask is
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise SpoolLocked(f"another agent is using the spool {path}") from None
    return handle


def move_away(path: Path) -> Path:
    """Give a damaged file and its log a new name; a cut in the middle leaves both readable."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    numbered = (path.with_name(f"{path.name}.corrupt-{stamp}-{n:02}") for n in range(100))
    bad = next(name for name in numbered if not name.exists())
    with suppress(OSError):  # there may be no log, or no second names on this file system
        os.link(log_of(path), log_of(bad))
    os.rename(path, bad)
    with suppress(FileNotFoundError):
        os.replace(log_of(path), log_of(bad))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    sync_directory(path.parent)
    return bad


def retry_request(path: Path | str) -> Path:
    """The file whose presence asks the running agent to retry the set-aside readings."""
    return Path(f"{path}.retry")


def log_of(path: Path) -> Path:
    """SQLite's write-ahead log of a database file."""
    return Path(f"{path}-wal")


class Reserve:
    """A file that keeps some room on the disk: a full disk must still let readings be deleted."""

    def __init__(self, spool: Path):
        self._path = Path(f"{spool}.reserve")
        self.kept = False  # as far as we know

    def keep(self) -> None:
        """Make the reserve if it is not there and the disk has room again."""
        try:
            if not self._is_whole() and self._free_bytes() >= SPARE_BYTES:
                with self._path.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            self.kept = self._is_whole()
        except OSError:
            self._remove()  # what there is of it takes room and gives none

    def give_up_if_needed(self) -> None:
        """Free the room if the disk has no other."""
        if self.is_disk_full() and self._path.exists():
            event(log, logging.WARNING, "spool_reserve", "no room on the disk: reserve given up")
            self._remove()

    def is_disk_full(self) -> bool:
        """Whether there is no room left to work in."""
        try:
            return self._free_bytes() < FULL_BYTES
        except OSError:
            return False

    def _is_whole(self) -> bool:
        """Whether all of it is there: a power cut while it is made leaves an empty file."""
        return self._path.exists() and self._path.stat().st_size == RESERVE_BYTES

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize

    def _remove(self) -> None:
        self.kept = False
        with suppress(OSError):
            self._path.unlink()
