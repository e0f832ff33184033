"""Threads that call a `tick()` until they are stopped, and the supervision of them."""

import logging
from collections.abc import Callable, Iterable
from threading import Event, Thread
from time import monotonic

from edge_agent.shared import logs

PASS_S = 180.0  # no pass takes longer, with every timeout on its way; then it hangs
PAUSE_S = 5.0  # after an unexpected error

log = logging.getLogger(__name__)


class Fatal(Exception):
    """The loop can not go on, and neither can the process."""


class Loop(Thread):
    """Calls `tick`, which says how long to wait, until `stop` is set; then `last` once.

    An unexpected error is logged with its trace and the loop goes on.
    """

    def __init__(
        self,
        name: str,
        tick: Callable[[], float],
        stop: Event,
        last: Callable[[], None] = lambda: None,
        pass_s: float = PASS_S,
        pause_s: float = PAUSE_S,
    ):
        super().__init__(name=name, daemon=True)  # a hung one must not keep the process
        self._tick = tick
        self._stop_event = stop
        self._last = last
        self._pass_s = pass_s
        self._pause_s = pause_s
        self._due = monotonic() + pass_s

    @property
    def hangs(self) -> bool:
        """Whether the next pass is overdue."""
        return monotonic() > self._due

    def run(self) -> None:
        """The thread itself."""
        try:
            while not self._stop_event.is_set():
                wait_s = self._pass()
                self._due = monotonic() + wait_s + self._pass_s
                self._stop_event.wait(wait_s)
            self._last()
        except Fatal as error:
            logs.event(log, logging.ERROR, "thread_failed", f"{self.name} ends: {error}")

    def _pass(self) -> float:
        try:
            return self._tick()
        except Fatal:
            raise
        except Exception as error:
            log.error(
                "unexpected error, going on: %s",
                error,
                exc_info=True,
                extra={"event": "unexpected_error"},
            )
            return self._pause_s


class LoopFailed(Exception):
    """A thread ended or hangs: the process must be started anew."""


def check(loops: Iterable[Loop]) -> None:
    """Raise LoopFailed unless every loop makes progress."""
    for loop in loops:
        if not loop.is_alive():
            raise LoopFailed(f"the thread {loop.name} has ended")
        if loop.hangs:
            raise LoopFailed(f"the thread {loop.name} hangs")
