"""The process: one that works by an advisory lock, its looks, its channels and its heartbeat."""

import logging
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event
from time import monotonic

import requests

from api_server.alerts.facts import STEADY
from api_server.alerts.look import Look
from api_server.alerts.sending import Channel, Sender
from api_server.config import Settings
from api_server.data import alerts
from api_server.data.database import DatabaseUnavailable, Store
from edge_agent.shared import logs
from edge_agent.shared.loops import Loop, check

STANDBY_S = 5.0  # how often a second process asks whether it is needed
HEARTBEAT_S = 60.0
HEARTBEAT_TIMEOUT_S = 10.0
SUPERVISE_S = 5.0
PASS_S = 600.0  # a channel may take long over one message

log = logging.getLogger(__name__)


class Watch:
    """Looks while this process has the lock; `well` says whether the last look went well."""

    def __init__(
        self, store: Store, look: Look, interval_s: float, now: Callable[[], float] = monotonic
    ):
        self.working = False
        self.looked_at: float | None = None  # monotonic, of the last look that went well
        self._store = store
        self._look = look
        self._interval_s = interval_s
        self._now = now
        self._steady_since: float | None = None

    def tick(self) -> float:
        """One look, if it is ours to look; returns how long to wait."""
        began = self._now()
        try:
            if not self._store.run(alerts.take_lock):
                self._stand_by()
                return STANDBY_S
            if not self.working:
                logs.event(log, logging.INFO, "alerts_working", "this process looks from now on")
            self.working = True
            if self._steady_since is None:
                self._steady_since = began
            steady = began - self._steady_since >= STEADY.total_seconds()
            for text in self._look.run(datetime.now(UTC), judge_silence=steady):
                logs.event(log, logging.INFO, "alert", text)
            self.looked_at = self._now()
        except DatabaseUnavailable as error:
            self._stand_by()
            logs.event(log, logging.WARNING, "database_unavailable", f"database: {error}")
        return max(0.0, self._interval_s - (self._now() - began))

    def is_well(self) -> bool:
        """Whether this process works and looked well lately."""
        lately_s = max(3 * self._interval_s, 60.0)
        looked = self.looked_at
        return self.working and looked is not None and self._now() - looked < lately_s

    def _stand_by(self) -> None:
        self.working = False
        self.looked_at = self._steady_since = None


class Heartbeat:
    """Tells another service every minute that this one works."""

    def __init__(self, url: str, watch: Watch):
        self._url = url
        self._watch = watch
        self._failed = False

    def tick(self) -> float:
        """One beat, if all is well; returns how long to wait."""
        if not self._watch.is_well():
            return 1.0
        try:
            with requests.get(
                self._url, timeout=HEARTBEAT_TIMEOUT_S, allow_redirects=False, stream=True
            ) as answer:
                taken = 200 <= answer.status_code < 300
                cause = None if taken else f"it answers {answer.status_code}"
        except requests.RequestException as error:
            cause = type(error).__name__
        if cause and not self._failed:
            logs.event(log, logging.WARNING, "heartbeat_failed", f"heartbeat: {cause}")
        self._failed = cause is not None
        return HEARTBEAT_S


def run(settings: Settings, store: Store, look: Look, channels: list[Channel]) -> None:
    """Work until SIGTERM or SIGINT. Raises LoopFailed when a thread ends or hangs."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch = Watch(store, look, settings.alert_interval_s)
    loops = [Loop("looks", watch.tick, stop)]
    for number, channel in enumerate(channels, 1):
        sender = Sender(store, channel, lambda: watch.working)
        loops.append(Loop(f"channel {number}", sender.tick, stop, pass_s=PASS_S))
    if settings.alert_heartbeat_url:
        loops.append(Loop("heartbeat", Heartbeat(settings.alert_heartbeat_url, watch).tick, stop))
    logs.event(log, logging.INFO, "start", "alerts", channels=[one.name for one in channels])
    for loop in loops:
        loop.start()
    while not stop.wait(SUPERVISE_S):
        check(loops)
    for loop in loops:
        loop.join(timeout=2)
    logs.event(log, logging.INFO, "stop", "stopped")
