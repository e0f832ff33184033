"""Keeps the spool's file usable: opens it again after a failure, replaces it when it is damaged."""

import logging
import os
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from edge_agent.shared.logs import event
from edge_agent.spool.counters import COUNTERS
from edge_agent.spool.errors import SpoolCorrupt, SpoolDenied, SpoolError, SpoolFailed, SpoolFull
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.reserve import Reserve
from edge_agent.spool.salvage import move_away, salvage
from edge_agent.spool.thinning import NEARLY_FULL, thin

WARN_AT, WARN_AGAIN_BELOW = 0.80, 0.75
REOPEN_AFTER_S = 1.0
MOST_IN_DOUBT = 1000  # more than one transaction inserts
REPLACE_AFTER_S = 60.0  # a fresh file that is damaged already: the disk is at fault, not the file

T = TypeVar("T")
log = logging.getLogger(__name__)


class Disk:
    """One spool file through all its failures; the owner holds a lock around every call."""

    def __init__(self, path: Path, max_mb: int):
        self.path = path
        self.counters: dict[str, Any] = dict(COUNTERS)  # as last seen
        self.failing_since: float | None = None  # the file can not be used at all since then
        self._max_mb = max_mb
        self._file: SpoolFile | None = None
        self._known_id: int | None = None  # the last that was surely given, once a file was closed
        self._reserve = Reserve(path)
        self._chores: Generator[list[int] | None] | None = None
        self._reopen_at = self._replace_at = float("-inf")
        self._damaged: dict[str, dict[str, Any]] = {}  # the counters of files set aside
        self._why = "closed"
        self._idle = False
        self._warned = False

    def start(self) -> None:
        """Open the file; raises SpoolError for what a person has to put right."""
        try:
            self.run(lambda file: None)
        except SpoolDenied:
            # With a disk that turned read-only readings are sent from memory; not so with a wrong
            # owner, which nobody would notice.
            if not self._is_read_only() and not self._is_ours():
                raise
        except (SpoolFull, SpoolFailed):
            pass  # the first reading says so in the log, and waits in memory

    def _is_read_only(self) -> bool:
        return bool(os.statvfs(self.path.parent).f_flag & os.ST_RDONLY)

    def _is_ours(self) -> bool:
        return all(os.access(path, os.W_OK) for path in (self.path.parent, self.path))

    def run(self, action: Callable[[SpoolFile], T]) -> T:
        """Do something with the file; raises SpoolFull or SpoolFailed if that can not be now."""
        try:
            return self._try(action)
        except SpoolCorrupt as error:
            try:
                self._replace(error)
            except SpoolFailed as failure:
                self._let_go(failure)
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
            self._let_go(error)
            raise
        self.counters = file.counters
        self.failing_since = None
        return result

    def delete(self, action: Callable[[SpoolFile], None]) -> None:
        """Do what makes room, if need be with the reserve."""
        try:
            self.run(action)
        except SpoolFull:
            self._reserve.give_up_if_needed()
            self.run(action)

    def _open(self) -> SpoolFile:
        self._reserve.give_up_if_needed()
        file = SpoolFile(self.path, self._max_mb)
        known = self._known_id
        try:
            if known is not None and file.counters["last_id"] < known:
                file.start_after(known)
            elif known is not None:
                file.in_doubt = file.from_id(known + 1, MOST_IN_DOUBT)
        except SpoolError:
            file.close()
            raise
        self._file, self._idle = file, False
        self._chores = _all_chores(file, self._damaged)
        return file

    def _let_go(self, error: SpoolFailed) -> None:
        """Close the handle for good: after a failed write its next success would prove nothing."""
        now = time.monotonic()
        if not self._reserve.is_disk_full():  # for room one can wait
            self.failing_since = self.failing_since or now
        self._reopen_at, self._why = now + REOPEN_AFTER_S, str(error)
        self.close()

    def _replace(self, error: SpoolCorrupt) -> None:
        """Set the damaged file aside; the next opening makes a fresh one and begins to salvage."""
        now = time.monotonic()
        if now < self._replace_at:
            raise SpoolFailed(f"damaged again at once: {error}") from error
        self.close()
        bad = move_away(self.path)
        event(log, logging.ERROR, "spool_corrupt", f"set aside as {bad.name}: {error}")
        self._replace_at = now + REPLACE_AFTER_S
        if self.counters["last_id"]:
            self._damaged[bad.name] = dict(self.counters)

    def chores(self, seconds: float) -> list[int]:
        """Salvage and thin for so long at most; returns the ids of the readings thinned."""
        self._reserve.keep()
        if self._idle and self._file and self._file.fill() < WARN_AGAIN_BELOW:
            return []
        until = time.monotonic() + seconds
        thinned: list[int] = []

        def work(file: SpoolFile) -> None:
            self._warn(file.fill())
            self._idle = False
            for ids in self._chores:
                self._idle = ids is None
                thinned.extend(ids or ())
                if self._idle or time.monotonic() > until:
                    break

        with suppress(SpoolError):  # the next reading tries again, and tells if it is not stored
            self.delete(work)
        if self._file and self._chores.gi_frame is None:  # ended by an error: begin again
            self._chores = _all_chores(self._file, self._damaged)
        return thinned

    def _warn(self, fill: float) -> None:
        if fill >= WARN_AT and not self._warned:
            msg = f"the spool is {fill:.0%} full; from {NEARLY_FULL:.0%} on it is thinned"
            event(log, logging.WARNING, "spool_filling", msg)
        self._warned = fill >= (WARN_AGAIN_BELOW if self._warned else WARN_AT)

    def close_for_good(self) -> None:
        """Let go of the file and never open it again."""
        self.close()
        self._reopen_at = float("inf")

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file:
            self._chores.close()
            self.counters = file.counters
            last_id = file.counters["last_id"]
            self._known_id = file.in_doubt[0].id - 1 if file.in_doubt else last_id
            try:
                file.close()
            except SpoolError as error:
                event(log, logging.ERROR, "spool_failed", f"closing: {error}")


def _all_chores(file: SpoolFile, known: dict[str, dict[str, Any]]) -> Generator[list[int] | None]:
    """The next piece of work with each step; None: nothing to do."""
    for _ in salvage(file, known):
        if file.fill() >= NEARLY_FULL:
            yield from thin(file)
        yield None if file.fill() >= NEARLY_FULL else []
    while True:
        if file.fill() >= NEARLY_FULL:
            yield from thin(file)
        yield None
