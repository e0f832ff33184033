"""One agent per spool: a lock beside the file, which ends with the process however it ends."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from edge_agent.spool.errors import SpoolError, SpoolLocked


def lock(path: Path, create: bool = True) -> int | None:
    """Take the lock until the descriptor is closed; raises SpoolLocked if another has it.

    Without `create`, None says that no agent ever ran here.
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
