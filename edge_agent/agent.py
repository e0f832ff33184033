"""Builds the parts of the agent, starts its two threads, supervises them, stops them in order."""

import logging
import signal
from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Any

from edge_agent import __version__
from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.health import Systemd
from edge_agent.poller import Poller
from edge_agent.shared import logs, loops
from edge_agent.shared.loops import Loop
from edge_agent.sources import open_source
from edge_agent.spool.queue import Spool
from edge_agent.upload.uploader import Uploader

GRACE_S = 10.0  # for the last upload
POLL_END_S = 2.0  # for a reading that is being taken when we stop
CHECK_S = 5.0
SIGNALS = {signal.SIGTERM, signal.SIGINT}

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; raises SpoolError if there is no spool, LoopFailed."""
    logs.event(log, logging.INFO, "start", f"sunspool {__version__}", settings=settings.shown())
    spool = Spool(settings.spool_path, settings.spool_max_mb, device_id=settings.device_id)
    # From here on the signals wait until they are asked for: a handler that sets the event could
    # interrupt the very thread that holds the event's lock.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    Agent(settings, spool, Systemd()).run(_interrupted)


def _interrupted(within_s: float) -> bool:
    """Wait for SIGTERM or SIGINT; whether one came."""
    return signal.sigtimedwait(SIGNALS, within_s) is not None


class Agent:
    """Two threads around one spool; no pass of theirs takes longer than `pass_s`."""

    def __init__(
        self, settings: Settings, spool: Spool, systemd: Systemd, pass_s: float = loops.PASS_S
    ):
        self.stop = Event()
        self._ends = 0.0
        self._spool = spool
        self._systemd = systemd
        clock = Clock(spool.newest_ts(), was_set=spool.knows_boot)
        self._source = open_source(settings, clock.reading_time, self.stop)
        self._uploader = Uploader(
            settings, spool, report=self._report, on_server_time=clock.on_server_time
        )
        self._poller = Poller(settings, self._source, spool, clock, self._uploader, self.stop)
        self._poll = Loop("poll", self._poller.tick, self.stop, pass_s=pass_s)
        self._upload = Loop("upload", self._uploader.tick, self.stop, self._upload_rest, pass_s)

    def run(self, interrupted: Callable[[float], bool]) -> None:
        """Start, supervise until `interrupted`, stop; raises LoopFailed when a thread fails."""
        threads = (self._poll, self._upload)
        for thread in threads:
            thread.start()
        self._systemd.ready()
        try:
            while not interrupted(CHECK_S):
                loops.check(threads)
                self._systemd.alive()
                self._systemd.status(self._poller.status)
        finally:
            self._shut_down()

    def _shut_down(self) -> None:
        """End both threads within the grace; what then still runs is left behind."""
        self._systemd.stopping()
        self._ends = monotonic() + GRACE_S
        self.stop.set()
        self._upload.join(GRACE_S + 0.5)
        self._poll.join(0.5)
        in_order = not (self._upload.is_alive() or self._poll.is_alive())
        if in_order:
            self._poller.report()
        if not self._poll.is_alive():
            self._source.close()
        if not self._upload.is_alive():
            self._uploader.close()
        if in_order:
            self._spool.close()
        logs.event(log, logging.INFO, "stop", "stopped", in_order=in_order)

    def _report(self) -> dict[str, Any]:
        return self._poller.agent_report() | {"peaks": self._source.month_peaks}

    def _upload_rest(self) -> None:
        """The last pass of the upload thread: also what the last poll still brings."""
        self._poll.join(POLL_END_S)
        self._uploader.finish(self._ends - monotonic())
