"""A little room on the disk, kept so that deleting still works when everything else is full."""

import logging
import os
from contextlib import suppress
from pathlib import Path

from edge_agent.logs import event

RESERVE_BYTES = 2**20
SPARE_BYTES = 8 * RESERVE_BYTES  # the reserve is only made where so much more is free

log = logging.getLogger(__name__)


class Reserve:
    """The file beside the spool that occupies the room until it is needed."""

    def __init__(self, spool: Path):
        self._path = spool.with_name(spool.name + ".reserve")
        self._kept = False

    def keep(self) -> None:
        """Make the reserve if it is not there and the disk has room again."""
        if self._kept:
            return
        try:
            if self._path.exists():
                self._kept = True
                return
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < SPARE_BYTES:
                return
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            self._kept = True
        except OSError:
            self.give_up()  # half a reserve would look like one

    def give_up(self) -> None:
        """Free the room."""
        self._kept = False
        with suppress(OSError):
            self._path.unlink()
            event(log, logging.WARNING, "spool_reserve", "no room on the disk: reserve given up")

    def give_up_if_needed(self) -> None:
        """Free the room if the disk has none."""
        with suppress(OSError):
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < RESERVE_BYTES // 4:
                self.give_up()
