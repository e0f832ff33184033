"""Polls the device on a steady schedule, spools what it reads, and reports how the agent is."""

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event
from time import monotonic
from typing import Any

from edge_agent import __version__
from edge_agent.clock import NEVER_TAKEN, TICK, Clock
from edge_agent.health import HealthFile
from edge_agent.shared import logs
from edge_agent.shared.loops import Fatal
from edge_agent.shared.samples import format_time
from edge_agent.sources import NothingNew, Source, SourceError
from edge_agent.spool.errors import SpoolBroken
from edge_agent.spool.queue import Spool
from edge_agent.upload.uploader import Uploader

LATE = 0.1  # of the interval
REPEAT_S = 60.0  # the same failure is logged once in this time
REPORTED = (  # to the server, of what health.json says
    "uptime_s",
    "spool_count",
    "oldest_ts",
    "set_aside_count",
    "thinned",
    "dropped",
    "lost",
    "clock_warning",
    "last_error",
)

log = logging.getLogger(__name__)


class Schedule:
    """When to poll: every `interval_s`; missed times are skipped, and a late poll shifts the rest.

    So two polls are never much closer than the interval: a dongle that was slow is not pushed.
    """

    def __init__(self, interval_s: float, now: float):
        self._interval_s = interval_s
        self._next = now

    def due(self, now: float) -> bool:
        """Whether it is time."""
        return now >= self._next

    def begin(self, now: float) -> None:
        """A poll starts."""
        if now - self._next > LATE * self._interval_s:
            self._next = now

    def end(self, now: float, quiet_s: float = 0.0) -> None:
        """The poll is over; after `quiet_s`, if there is any, the device is tried again.

        That also shortens a long interval: dongles hang up on clients that are idle.
        """
        missed = math.floor((now - self._next) / self._interval_s)
        self._next += (missed + 1) * self._interval_s
        if quiet_s:
            self._next = now + quiet_s

    def wait_s(self, now: float) -> float:
        """How long nothing is to be done, at most one interval."""
        return min(max(self._next - now, 0.0), self._interval_s)


class Poller:
    """One pass: give held readings their time, poll if it is time, write the health."""

    def __init__(
        self,
        settings: Any,
        source: Source,
        spool: Spool,
        clock: Clock,
        uploader: Uploader,
        stop: Event,
        now: Callable[[], float] = monotonic,
    ):
        self.error: str | None = None
        self.status = "starting"  # for systemd
        self._source = source
        self._spool = spool
        self._clock = clock
        self._uploader = uploader
        self._stop = stop
        self._health = HealthFile(settings)
        self._now = now
        self._started = now()
        self._interval_s = settings.poll_interval_s
        self._schedule = Schedule(self._interval_s, self._started)
        self._last_poll_ts: str | None = None
        self._logged: dict[str, float] = {}  # cause -> when

    def tick(self) -> float:
        """One pass; returns how long to wait for the next."""
        try:
            place_held(self._spool, self._clock)
            if self._spool.retry_requested():
                self._retry()
            if self._schedule.due(self._now()):
                self._poll()
        except SpoolBroken as error:
            raise Fatal(str(error)) from error
        finally:
            self.report()
        return self._schedule.wait_s(self._now())

    def report(self) -> None:
        """Write the health file and the line of the status."""
        values = self._values()
        self._health.write(values)
        polled, error = values["last_poll_ts"] or "none", values["last_error"]
        said = f"{values['spool_count']} samples in the spool; last poll {polled}"
        self.status = f"{said}; {error}" if error else said

    def agent_report(self) -> dict[str, Any]:
        """What the server is told of this agent; may be called from another thread."""
        values = self._values()
        who = {"version": __version__, "poll_interval_s": self._interval_s}
        return who | {name: values[name] for name in REPORTED}

    def _values(self) -> dict[str, Any]:
        spool, uploader = self._spool.counts(), self._uploader
        troubles = (self.error, uploader.error, self._spool.trouble)
        errors = [error for error in troubles if error]
        return {
            "uptime_s": round(self._now() - self._started, 1),
            "source_ok": self._last_poll_ts is not None and self.error is None,
            "last_poll_ts": self._last_poll_ts,
            "last_upload_ts": uploader.last_upload_ts,
            "spool_count": spool["pending"],
            "set_aside_count": spool["set_aside"],
            "oldest_ts": spool["oldest_ts"],
            "backoff_s": round(uploader.backoff_s, 3),
            "thinned": spool["thinned"],
            "dropped": spool["dropped"],
            "lost": spool["lost"],
            "last_error": logs.masked("; ".join(errors)) if errors else None,
            "clock_warning": self._clock.warning,
        }

    def _poll(self) -> None:
        quiet_s = 0.0
        self._schedule.begin(self._now())
        try:
            sample, taken = self._source.read()
            durable = self._spool.enqueue(sample, taken)
            held = not taken.trusted
            self._succeed("sample stored", durable=durable, held=held, sample=sample)
        except NothingNew:
            self._succeed("nothing new")
        except SourceError as error:
            quiet_s = error.wait_s or 0.0
            self._fail(str(error))
        except SpoolBroken:
            raise
        except Exception as error:
            self.error = f"unexpected error: {error}"
            raise
        finally:
            self._schedule.end(self._now(), quiet_s)

    def _succeed(self, msg: str, **fields: Any) -> None:
        if self.error:
            logs.event(log, logging.INFO, "poll_recovered", "the device answers again")
        self.error = None
        self._logged.clear()
        self._last_poll_ts = format_time(datetime.now(UTC))
        if log.isEnabledFor(logging.DEBUG):  # with each poll
            logs.event(log, logging.DEBUG, "poll_ok", msg, **fields)

    def _fail(self, cause: str) -> None:
        if self._stop.is_set():
            return  # it was we who ended the poll
        self.error = cause
        now = self._now()
        self._logged = {old: at for old, at in self._logged.items() if now - at < REPEAT_S}
        if cause not in self._logged:
            self._logged[cause] = now
            logs.event(log, logging.WARNING, "poll_failed", f"no sample: {cause}", cause=cause)

    def _retry(self) -> None:
        count = self._spool.retry()
        if count is None:
            return
        msg = f"{count} set-aside samples are back in the queue"
        logs.event(log, logging.INFO, "set_aside_retried", msg, count=count)


def place_held(spool: Spool, clock: Clock) -> None:
    """If the time is known, give held readings theirs; those of the future are held again first."""
    if spool.is_placed and not clock.was_ahead:
        return
    clock.newest = max(filter(None, (clock.newest, spool.newest_ts())), default=None)
    now = clock.read()
    if not now.trusted:
        return
    before = now.ts - TICK
    if clock.was_ahead and (count := spool.take_back(now.ts + NEVER_TAKEN, before)) is not None:
        msg = f"the clock was ahead for a while: {count} readings are held again"
        logs.event(log, logging.WARNING, "clock_was_ahead", msg, count=count)
        clock.newest = spool.newest_ts()
        clock.was_ahead = clock.newest != before  # while more are left
    spool.place(now)
