"""Keeps the spool's file usable: opens it again after a failure, replaces it when it is damaged."""

import logging
import os
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from edge_agent.shared.logs import event
from edge_agent.spool.errors import SpoolCorrupt, SpoolDenied, SpoolError, SpoolFailed, SpoolFull
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.folder import Reserve
from edge_agent.spool.salvage import move_away, salvage
from edge_agent.spool.tables import COUNTERS
from edge_agent.spool.thinning import NEARLY_FULL, thin

WARN_AT, WARN_AGAIN_BELOW = 0.80, 0.75
REOPEN_AFTER_S = 1.0
REPLACE_AFTER_S = 60.0  # a fresh file that is damaged already: the disk is at fault, not the file

T = TypeVar("T")
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
        self._work: Generator[bool | None] | None = None
        self._reopen_at = self._replace_at = float("-inf")
        self._damaged: dict[str, dict[str, Any]] = {}  # the counters of files moved away
        self._why = "closed"
        self._idle = self._warned = False

    def start(self) -> None:
        """Open the file; raises SpoolError for what a person has to put right."""
        try:
            self.run(lambda file: None)
        except SpoolDenied:
            # With a disk that turned read-only readings are sent from memory; not so with a wrong
            # owner, which nobody would notice.
            read_only = os.statvfs(self.path.parent).f_flag & os.ST_RDONLY
            ours = all(os.access(path, os.W_OK) for path in (self.path.parent, self.path))
            if not read_only and not ours:
                raise
        except (SpoolFull, SpoolFailed):
            pass  # the first reading says so in the log, and waits in memory

    def run(self, action: Callable[[SpoolFile], T]) -> T:
        """Do something with the file; raises SpoolFull or SpoolFailed if that cannot be now."""
        try:
            return self._try(action)
        except SpoolCorrupt as error:
            try:
                self._replace(error)
            except SpoolFailed as failure:
                self._give_up(failure)
                raise
            return self._try(action)

    def _try(self, action: Callable[[SpoolFile], T]) -> T:
        if self._file is None and time.monotonic() < self._reopen_at:
            raise SpoolFailed(self._why)
        try:
            file = self._file or self._open()
            result = action(file)
        except SpoolFull:
            if self._file:
                with suppress(SpoolError):
                    self._file.checkpoint()  # the next try needs less room
            raise
        except SpoolFailed as error:
            self._give_up(error)
            raise
        self.counters, self.boots = file.counters, file.boots
        self.failing_since = None
        return result

    def make_room(self, action: Callable[[SpoolFile], None]) -> None:
        """Do what frees room or must not wait for it, if need be with the reserve."""
        try:
            self.run(action)
        except SpoolFull:
            self._reserve.give_up_if_needed()
            self.run(action)
        if not self._reserve.kept and self._file:
            with suppress(SpoolError):  # the log must not take the room that the file needs
                self._file.checkpoint()

    def _open(self) -> SpoolFile:
        self._reserve.give_up_if_needed()
        file = SpoolFile(self.path, self._max_mb)
        try:
            if file.counters["last_id"] < self.counters["last_id"]:
                file.start_after(self.counters["last_id"])
        except SpoolError:
            file.close()
            raise
        self._file, self._idle = file, False
        self._work = _all_work(file, self._damaged)
        return file

    def _give_up(self, error: SpoolFailed) -> None:
        """Close the handle for good: after a failed write its next success would prove nothing."""
        now = time.monotonic()
        if not self._reserve.is_disk_full():  # for room one can wait
            self.failing_since = self.failing_since or now
        self._reopen_at, self._why = now + REOPEN_AFTER_S, str(error)
        self.close()

    def _replace(self, error: SpoolCorrupt) -> None:
        """Move the damaged file away; the next opening makes a fresh one and begins to salvage."""
        now = time.monotonic()
        if now < self._replace_at:
            raise SpoolFailed(f"damaged again at once: {error}") from error
        self.close()
        bad = move_away(self.path)
        event(log, logging.ERROR, "spool_corrupt", f"set aside as {bad.name}: {error}")
        self._replace_at = now + REPLACE_AFTER_S
        if self.counters["last_id"]:
            self._damaged[bad.name] = dict(self.counters)

    def maintain(self, seconds: float) -> bool:
        """Salvage and thin for so long at most; whether there was anything to do."""
        self._reserve.keep()
        if self._idle and self._file and self._file.fill() < WARN_AGAIN_BELOW:
            return False
        until = time.monotonic() + seconds

        def work(file: SpoolFile) -> None:
            self._warn(file.fill())
            for more in self._work:
                self._idle = more is False
                if not more or time.monotonic() > until:
                    break

        with suppress(SpoolError):  # the next reading tries again, and tells if it is not stored
            self.make_room(work)
        if self._file and self._work.gi_frame is None:  # ended by an error: begin again
            self._work, self._idle = _all_work(self._file, self._damaged), False
        return not self._idle

    def _warn(self, fill: float) -> None:
        if fill >= WARN_AT and not self._warned:
            msg = f"the spool is {fill:.0%} full; from {NEARLY_FULL:.0%} on it is thinned"
            event(log, logging.WARNING, "spool_filling", msg)
        self._warned = fill >= (WARN_AGAIN_BELOW if self._warned else WARN_AT)

    def close_for_good(self) -> None:
        """Close the file and never open it again."""
        self.close()
        self._reopen_at = float("inf")

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        file, self._file = self._file, None
        if file:
            self._work.close()
            try:
                file.close()
            except SpoolError as error:
                event(log, logging.ERROR, "spool_failed", f"closing: {error}")


def _all_work(file: SpoolFile, known: dict[str, dict[str, Any]]) -> Generator[bool | None]:
    """A piece of maintenance with each step; False: nothing is left, None: not now."""
    salvaging = salvage(file, known)
    while True:
        if file.fill() >= NEARLY_FULL:
            yield from thin(file)
        more = next(salvaging, False)
        yield None if more and file.fill() >= NEARLY_FULL else more
