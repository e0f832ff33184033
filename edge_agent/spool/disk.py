"""Keeps the spool's file usable: opens it again after a failure, replaces it when it is damaged."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent.shared.logs import event
from edge_agent.spool.errors import SpoolCorrupt, SpoolDenied, SpoolError, SpoolFailed, SpoolFull
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.folder import Reserve, move_away
from edge_agent.spool.salvage import salvage
from edge_agent.spool.tables import COUNTERS
from edge_agent.spool.thinning import NEARLY_FULL, thin

WARN_AT, WARN_AGAIN_BELOW = 0.80, 0.75
REOPEN_AFTER_S = 1.0
REPLACE_AFTER_S = 60.0  # a fresh file that is damaged already: the disk is at fault, not the file

log = logging.getLogger(__name__)


class Disk:
    """One spool file through all its failures; the owner holds a lock around every call."""

    def __init__(self, path: Path, max_mb: int):
        self.path = path
        self.counters: dict[str, Any] = dict(COUNTERS)  # as last seen
        self.boots: dict[str, int] = {}  # as last seen
        self.failing_since: float | None = None  # the file cannot be used at all since then
        self._max_mb = max_mb
        self._file: SpoolFile | None = None
        self._reserve = Reserve(path)
        self._work: Iterator[bool | None] = iter(())
        self._idle = self._warned = False
        self._reopen_at = self._replace_at = float("-inf")
        self._damaged: dict[str, dict[str, Any]] = {}  # the counters of files moved away
        self._why = "closed"

    def start(self) -> None:
        """Open the file; raises SpoolError for what a person has to put right."""
        try:
            self.run(SpoolFile.measure)
        except SpoolDenied:
            # With a disk that turned read-only readings are sent from memory; not so with a wrong
            # owner, which nobody would notice.
            read_only = os.statvfs(self.path.parent).f_flag & os.ST_RDONLY
            ours = all(os.access(path, os.W_OK) for path in (self.path.parent, self.path))
            if not read_only and not ours:
                raise
        except (SpoolFull, SpoolCorrupt, SpoolFailed):
            pass  # the first reading says so in the log, and waits in memory

    def run(self, action: Callable[..., Any], *values: Any, urgent: bool = False) -> Any:
        """Do something with the file, if it is urgent with the reserve; raises SpoolError."""
        if self._file is None and time.monotonic() < self._reopen_at:
            raise SpoolFailed(self._why)
        for last in (False, True):
            try:
                result = action(self._file or self._open(), *values)
            except SpoolError as error:
                if last or not self._mend(error, urgent):
                    raise
            else:
                self.failing_since = None
                if urgent and not self._reserve.kept:
                    self._checkpoint()  # the log must not take the room that the file needs
                return result

    def _open(self) -> SpoolFile:
        self._reserve.give_up_if_needed()
        file = SpoolFile(self.path, self._max_mb, self.counters["last_id"])
        self._file, self.counters, self.boots = file, file.counters, file.boots
        self._work, self._idle = _all_work(file, self._damaged), False
        return file

    def _mend(self, error: SpoolError, urgent: bool) -> bool:
        """Do about an error what can be done; whether to try again at once."""
        now = time.monotonic()
        if isinstance(error, SpoolFull):
            self._checkpoint()  # the next try needs less room
            if urgent:
                self._reserve.give_up_if_needed()
            return urgent
        self.close()
        if isinstance(error, SpoolCorrupt) and now >= self._replace_at:
            self._replace_at = now + REPLACE_AFTER_S
            with suppress(SpoolFailed):
                bad = move_away(self.path)
                event(log, logging.ERROR, "spool_corrupt", f"set aside as {bad.name}: {error}")
                if self.counters["last_id"]:
                    self._damaged[bad.name] = dict(self.counters)
                return True
        # After a failed write the next success of this handle would prove nothing.
        if not self._reserve.is_disk_full():  # for room one can wait
            self.failing_since = self.failing_since or now
        self._reopen_at, self._why = now + REOPEN_AFTER_S, str(error)
        return False

    def _checkpoint(self) -> None:
        with suppress(SpoolError):
            if self._file:
                self._file.checkpoint()

    def maintain(self, seconds: float) -> bool:
        """Salvage and thin for so long at most; whether there was anything to do."""
        if not self._reserve.kept:
            self._reserve.keep()
        if self._idle and self._file and self._file.fill < WARN_AGAIN_BELOW:
            return False
        with suppress(SpoolError):  # the next reading tries again, and tells if it is not stored
            self.run(self._maintain, time.monotonic() + seconds, urgent=True)
        return not self._idle

    def _maintain(self, file: SpoolFile, until: float) -> None:
        self._warn(file.measure())
        try:
            for more in self._work:
                self._idle = more is False
                if not more or time.monotonic() > until:
                    break
        except SpoolError:
            self._work, self._idle = _all_work(file, self._damaged), False
            raise

    def _warn(self, fill: float) -> None:
        if fill >= WARN_AT and not self._warned:
            msg = f"the spool is {fill:.0%} full; from {NEARLY_FULL:.0%} on it is thinned"
            event(log, logging.WARNING, "spool_filling", msg)
        self._warned = fill >= (WARN_AGAIN_BELOW if self._warned else WARN_AT)

    def close(self, for_good: bool = False) -> None:
        """Close the file; the next use opens it again, unless it is closed for good."""
        if for_good:
            self._reopen_at = float("inf")
        file, self._file = self._file, None
        if file:
            self._work = iter(())
            try:
                file.close()
            except SpoolError as error:
                event(log, logging.ERROR, "spool_failed", f"closing: {error}")


def _all_work(file: SpoolFile, known: dict[str, dict[str, Any]]) -> Iterator[bool | None]:
    """A piece of maintenance with each step; False: nothing is left, None: not now."""
    salvaging = salvage(file, known)
    while True:
        if file.fill >= NEARLY_FULL:
            yield from thin(file)
        more = next(salvaging, False)
        yield None if more and file.fill >= NEARLY_FULL else more
