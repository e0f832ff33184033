"""A little room on the disk, kept so that deleting still works when everything else is full."""

import logging
import os
from contextlib import suppress
from pathlib import Path

from edge_agent.shared.logs import event

RESERVE_BYTES = 2**20
SPARE_BYTES = 8 * RESERVE_BYTES  # the reserve is only made where so much is free
FULL_BYTES = RESERVE_BYTES // 4  # not enough for a transaction or two

log = logging.getLogger(__name__)


class Reserve:
    """The file beside the spool that occupies the room until it is needed."""

    def __init__(self, spool: Path):
        self._path = Path(f"{spool}.reserve")
        self._kept = False

    def keep(self) -> None:
        """Make the reserve if it is not there and the disk has room again."""
        if self._kept:
            return
        try:
            if not self._path.exists() and self._free_bytes() >= SPARE_BYTES:
                with self._path.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            self._kept = self._path.exists()
        except OSError:
            self._remove()  # half a reserve would look like one

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

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize

    def _remove(self) -> None:
        self._kept = False
        with suppress(OSError):
            self._path.unlink()
