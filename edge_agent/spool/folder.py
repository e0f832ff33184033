"""The folder of a spool and what lies beside the file."""

import os
from contextlib import suppress
from pathlib import Path

from edge_agent.spool.errors import SpoolError

RETRY = ".retry"


def make_folder(path: Path) -> None:
    """Make the folder of the spool, durably; raises SpoolError."""
    new = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in new:
            sync_directory(folder.parent)
    except OSError as error:
        raise SpoolError(f"cannot make the folder of the spool: {error}") from error
    if path.is_dir():
        raise SpoolError(f"{path} is a folder; SPOOL_PATH must name a file")


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


def request_retry(path: Path | str) -> None:
    """Ask the running agent to bring the set-aside readings back into the queue."""
    try:
        Path(f"{path}{RETRY}").touch()
    except OSError as error:
        raise SpoolError(f"cannot ask the agent: {error}") from error


def is_retry_requested(path: Path | str) -> bool:
    """Whether somebody asked and it is not done yet."""
    return os.path.exists(f"{path}{RETRY}")


def forget_retry_request(path: Path | str) -> None:
    """It is done."""
    with suppress(OSError):
        os.unlink(f"{path}{RETRY}")


def log_of(path: Path) -> Path:
    """SQLite's write-ahead log of a database file."""
    return Path(f"{path}-wal")
