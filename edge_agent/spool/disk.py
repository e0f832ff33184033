"""Keeps the spool's file usable: opens it again after a failure, replaces it when it is damaged."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from edge_agent.shared.logs import event
from edge_agent.spool.errors import (
    SpoolCorrupt,
    SpoolError,
    SpoolFailed,
    SpoolFull,
    named_errors,
)
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.folder import Reserve, move_away, require_writable
from edge_agent.spool.salvage import salvage
from edge_agent.spool.tables import COUNTERS
from edge_agent.spool.thinning import NEARLY_FULL, thin

WARN_AT, WARN_AGAIN_BELOW = 0.80, 0.75
REOPEN_AFTER_S = 1.0
REPLACE_AFTER_S = 60.0  # a fresh file that is damaged already: the disk is at fault, not the file

log = logging.getLogger(__name__)


class Disk:
    """One spool file through all its failures; the owner holds a lock around every call.

    Raises SpoolError for what a person has to put right before the agent can start.
    """

    def __init__(self, path: Path, max_mb: int):
        self.counters: dict[str, Any] = dict(COUNTERS)  # as last seen
        self.boots: dict[str, int] = {}  # as last seen
        self.failing_since: float | None = None  # the file cannot be used at all since then
        self._path = path
        self._max_mb = max_mb
        self._file: SpoolFile | None = None
        self._reserve = Reserve(path)
        self._work: Iterator[bool] | None = None
        self._idle = self._warned = False
        self._reopen_at = self._replace_at = float("-inf")
        self._why = "closed"
        require_writable(path)
        with suppress(SpoolFull, SpoolCorrupt, SpoolFailed):  # the first reading waits in memory
            self.run(SpoolFile.measure)

    def run(self, action: Callable[..., Any], *values: Any, urgent: bool = False) -> Any:
        """Do something with the file, if it is urgent with the reserve; raises SpoolError."""
        if self._file is None and monotonic() < self._reopen_at:
            raise SpoolFailed(self._why)
        try:
            result = self._try(action, *values)
        except SpoolError as error:
            if not self._mend(error, urgent):
                raise
            result = self._try(action, *values)
        self.failing_since = None
        if urgent and not self._reserve.kept:
            self._checkpoint()  # the log must not take the room that the file needs
        return result

    def _try(self, action: Callable[..., Any], *values: Any) -> Any:
        with named_errors(self._path):
            return action(self._file or self._open(), *values)

    def _open(self) -> SpoolFile:
        self._reserve.give_up_if_needed()
        file = SpoolFile(self._path, self._max_mb, self.counters["last_id"], self.boots)
        self._file, self.counters, self.boots = file, file.counters, file.boots
        self._work, self._idle = None, False
        return file

    def _mend(self, error: SpoolError, urgent: bool) -> bool:
        """Do about an error what can be done; whether to try again at once."""
        now = monotonic()
        if isinstance(error, SpoolFull):
            self._checkpoint()  # the next try needs less room
            if urgent:
                self._reserve.give_up_if_needed()
            return urgent
        self.close()
        if isinstance(error, SpoolCorrupt) and now >= self._replace_at:
            self._replace_at = now + REPLACE_AFTER_S
            with suppress(OSError):
                bad = move_away(self._path)
                event(log, logging.ERROR, "spool_corrupt", f"set aside as {bad.name}: {error}")
                return True
        # After a failed write the next success of this handle would prove nothing.
        if not self._reserve.is_disk_full():  # for room one can wait
            self.failing_since = self.failing_since or now
        self._reopen_at, self._why = now + REOPEN_AFTER_S, str(error)
        return False

    def _checkpoint(self) -> None:
        with suppress(SpoolError), named_errors(self._path):
            if self._file:
                self._file.checkpoint()

    def maintain(self, seconds: float) -> bool:
        """Salvage and thin for so long at most; whether there is more to do."""
        if not self._reserve.kept:
            self._reserve.keep()
        if self._idle and self._file and self._file.fill < WARN_AGAIN_BELOW:
            return False
        with suppress(SpoolError):  # the next reading tries again, and tells if it is not stored
            self.run(self._maintain, monotonic() + seconds, urgent=True)
        return not self._idle

    def _maintain(self, file: SpoolFile, until: float) -> None:
        self._warn(file.measure())
        work, self._work = self._work or _work(file), None  # after an error it begins again
        for goes_on in work:
            if not goes_on or monotonic() > until:
                self._work, self._idle = work, False
                return
        self._idle = True

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
            file.close()


def _work(file: SpoolFile) -> Iterator[bool]:
    """A piece of maintenance with each step, until none is left; False: only with more room."""
    salvaging = salvage(file)
    while True:
        if file.fill >= NEARLY_FULL:
            yield from thin(file)
        if file.fill >= NEARLY_FULL:
            yield False
        elif next(salvaging, None) is None:
            return
        else:
            yield True
