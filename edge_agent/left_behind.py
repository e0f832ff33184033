"""Readings that a changed DEVICE_ID leaves behind: the default path of the spool has it in it."""

import logging
import os
from pathlib import Path
from time import monotonic

from edge_agent.shared import logs
from edge_agent.spool.errors import SpoolError
from edge_agent.spool.folder import lock
from edge_agent.spool.status import read_status

LOOK_EVERY_S = 300.0

log = logging.getLogger(__name__)


class LeftBehind:
    """Looks now and then for spools beside ours that hold readings which no agent sends."""

    def __init__(self, spool_path: Path, device_id: str):
        # Only the default path has a folder named after the device, beside those of others.
        self._spool_path = spool_path if spool_path.parent.name == device_id else None
        self._looked_at = float("-inf")
        self._warning: str | None = None

    @property
    def warning(self) -> str | None:
        """What was found, for people, logged when it is new; None: nothing."""
        if self._spool_path and monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = monotonic()
            before, self._warning = self._warning, "; ".join(_look_beside(self._spool_path)) or None
            if self._warning and self._warning != before:
                logs.event(log, logging.WARNING, "spool_left_behind", self._warning)
        return self._warning


def _look_beside(ours: Path) -> list[str]:
    try:
        spools = sorted(ours.parent.parent.glob(f"*/{ours.name}"))
    except OSError:
        return []
    return [
        f"{spool} holds {count} readings that no agent sends: was DEVICE_ID changed? "
        f"An agent with DEVICE_ID={spool.parent.name} and its token would send them"
        for spool in spools
        if spool != ours and (count := _left_in(spool))
    ]


def _left_in(spool: Path) -> int:
    """How many readings wait in a spool; 0 if an agent works on it, or that cannot be seen."""
    try:
        handle = lock(spool, create=False)
        if handle is not None:
            os.close(handle)
        return read_status(spool)["pending"]
    except (SpoolError, OSError):
        return 0
