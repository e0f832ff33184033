"""Readings that a changed DEVICE_ID leaves behind: the default path of the spool has it in it."""

import fcntl
import os
from pathlib import Path
from time import monotonic

from edge_agent.spool.errors import SpoolError
from edge_agent.spool.status import read_status

LOOK_EVERY_S = 300.0


class LeftBehind:
    """Looks now and then for spools beside ours that hold readings which no agent sends."""

    def __init__(self, spool_path: Path, device_id: str):
        # Only the default path has a folder named after the device, beside those of others.
        self._spool_path = spool_path if spool_path.parent.name == device_id else None
        self._looked_at = float("-inf")
        self._warning: str | None = None

    @property
    def warning(self) -> str | None:
        """What was found, for people; None: nothing."""
        if self._spool_path and monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = monotonic()
            self._warning = "; ".join(_look_beside(self._spool_path)) or None
        return self._warning


def _look_beside(ours: Path) -> list[str]:
    found = []
    try:
        spools = sorted(ours.parent.parent.glob(f"*/{ours.name}"))
    except OSError:
        return []
    for spool in spools:
        if spool != ours and not _has_agent(spool) and (count := _count(spool)):
            found.append(
                f"{spool} holds {count} readings that no agent sends: was DEVICE_ID changed? "
                f"An agent with DEVICE_ID={spool.parent.name} and its token would send them"
            )
    return found


def _count(spool: Path) -> int:
    try:
        return read_status(spool)["pending"]
    except (SpoolError, OSError):
        return 0


def _has_agent(spool: Path) -> bool:
    """Whether a process holds the lock of the spool; where that cannot be asked, one may."""
    try:
        handle = os.open(f"{spool}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)
