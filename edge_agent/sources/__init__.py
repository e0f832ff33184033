"""The devices an agent can read. A new one is a folder here and one line in `open_source`."""

from collections.abc import Callable
from threading import Event
from typing import Any, Protocol

from edge_agent.clock import ReadingTime

Sample = dict[str, Any]


class Source(Protocol):
    """One device: `read` asks it once and returns a normalised sample, as JSON values.

    `month_peaks` are those of past months that the device itself remembers, None: it has none.
    """

    month_peaks: list[dict[str, Any]] | None

    def read(self) -> tuple[Sample, ReadingTime]:
        """Return a new sample and when it was taken; raises NothingNew or SourceError."""

    def close(self) -> None:
        """Let go of the device; may be called twice."""


class NothingNew(Exception):
    """The device answered, with a reading that was already taken: nothing to store, no fault."""


class SourceError(Exception):
    """No sample this time; leave the device alone for `wait_s`, None: until the next poll."""

    def __init__(self, cause: str, wait_s: float | None = None):
        super().__init__(cause)
        self.wait_s = wait_s


def retry_wait_s(failures: int) -> float:
    """How long to leave a device alone after so many failures in a row.

    A dongle that hangs needs up to 90 s of silence.
    """
    return {1: 5.0, 2: 20.0, 3: 45.0}.get(failures, 90.0)


def open_source(settings: Any, now: Callable[[], ReadingTime], stop: Event) -> Source:
    """Build the source that the settings ask for; it connects on its first read.

    `now` gives the time of a reading; `stop` ends its waits early.
    """
    if settings.sungrow_host:
        from edge_agent.sources.sungrow.reader import SungrowSource

        return SungrowSource(settings, now, stop)
    from edge_agent.sources.p1.meter import P1Source

    return P1Source(settings, now)
