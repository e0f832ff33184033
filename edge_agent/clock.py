"""Is the time trustworthy? Strictly rising timestamps, and a time for readings that had none.

A Raspberry Pi has no clock of its own: it boots somewhere in the past until the network tells it
the time. Readings taken before that are held in the spool with the seconds since boot, which
never jump, and get their time from them as soon as there is a good pair of both clocks.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from os.path import exists
from pathlib import Path
from typing import Any
from uuid import uuid4

from edge_agent import RELEASED, logs
from edge_agent.samples import format_time

TIMESYNC = Path("/run/systemd/timesync")  # there while systemd-timesyncd runs
TICK = timedelta(microseconds=1)  # the least the database can tell apart
GAP = timedelta(seconds=1)  # between the last known reading and a boot that never saw the time
# So far back the clock may step (NTP corrects it) without being distrusted.
SMALL_STEP = timedelta(seconds=5)
SERVER_DIFFERENCE_S = 60.0

COMPUTED = "time computed from the seconds since boot"
GUESSED = "time unknown: placed after the last known reading"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stamp:
    """The time of one reading; with `synced` False only `boot_s` can be relied upon."""

    ts: datetime
    boot_s: float
    boot_id: str
    synced: bool


def read_wall() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


def read_boot_s() -> float:
    """Seconds since boot, suspension included."""
    try:
        with open("/proc/uptime") as uptime:
            return float(uptime.read().split()[0])
    except (OSError, ValueError):
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_boot_id() -> str:
    """The id of this boot; where it can not be read, one that fits no other process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(uuid4())


class Clock:
    """Stamps readings; `newest` is the time of the newest that was ever taken.

    Once the time is in doubt, readings are held until `release` says that those before have
    their time: so a reading never gets its time before an older one.
    """

    def __init__(
        self,
        newest: datetime | None = None,
        *,
        wall: Callable[[], datetime] = read_wall,
        boot_s: Callable[[], float] = read_boot_s,
        boot_id: str | None = None,
        timesync: Path = TIMESYNC,
    ):
        self.latest: Stamp | None = None
        self._newest = newest
        self._held_newest: datetime | None = None
        self._holding: str | None = "the clock was not looked at yet"
        self._wall = wall
        self._boot_s = boot_s
        self._boot_id = boot_id or read_boot_id()
        self._timesyncd, self._set_by_timesyncd = str(timesync), str(timesync / "synchronized")
        self._server_ahead_s = 0.0

    def stamp(self) -> Stamp:
        """The time of a reading that is taken now, later than that of any before it."""
        now = self.read()
        if doubt := self._doubt(now.ts):
            if self.latest is None or self.latest.synced:
                logs.event(log, logging.WARNING, "clock_distrusted", f"readings are held: {doubt}")
            self._holding = doubt
        if self._holding:
            ts = self._held_newest = _after(self._held_newest, now.ts)
        else:
            ts = self._newest = _after(self._newest, now.ts)
        self.latest = replace(now, ts=ts, synced=not self._holding)
        return self.latest

    @property
    def trusted(self) -> bool:
        """Whether the wall clock is beyond doubt now."""
        return self._doubt(self._wall()) is None

    def read(self) -> Stamp:
        """Both clocks as they stand now."""
        return Stamp(self._wall(), self._boot_s(), self._boot_id, synced=True)

    def release(self, newest: datetime | None) -> None:
        """Hold no longer: what was held has its time now, `newest` being the latest."""
        if newest:
            self._newest = max(newest, self._newest or newest)
        if self.latest and not self.latest.synced and self._holding:
            logs.event(log, logging.INFO, "clock_trusted", "the clock can be trusted again")
        self._holding = None

    def compare(self, server: datetime) -> None:
        """Note what the server's clock says, and log it when the two part."""
        before = self._difference()
        self._server_ahead_s = (server - self._wall()).total_seconds()
        if self._difference() and not before:
            logs.event(log, logging.WARNING, "clock_differs", self._difference())

    @property
    def warning(self) -> str | None:
        """What is wrong with the clock, for people."""
        return f"readings are held: {self._holding}" if self._holding else self._difference()

    def _doubt(self, wall: datetime) -> str | None:
        """Why the wall clock is not to be trusted; where nothing can be asked, it is."""
        if wall < RELEASED:
            return "the clock stands before the day this program was released"
        if exists(self._timesyncd) and not exists(self._set_by_timesyncd):
            return "systemd-timesyncd has not set the clock yet"
        if self._newest and wall < self._newest - SMALL_STEP:
            return f"the clock stands before the newest reading, {format_time(self._newest)}"
        return None

    def _difference(self) -> str | None:
        ahead_s = self._server_ahead_s
        if abs(ahead_s) <= SERVER_DIFFERENCE_S:
            return None
        side = "behind" if ahead_s > 0 else "ahead of"
        return f"the clock is {abs(ahead_s):.0f} s {side} the server's"


def place_held(spool: Any, clock: Clock) -> datetime | None:
    """Give the readings held in the spool their time, by a clock that is trusted now.

    Returns the latest time that was given, None if nothing was held.
    """
    previous, given = None, None
    while held := spool.held():
        now, newest = clock.read(), given or spool.newest_ts() or RELEASED
        times = _times(held, now, newest, previous)
        placed = [
            (row.id, format_time(ts), COMPUTED if row.boot_id == now.boot_id else GUESSED)
            for row, ts in zip(held, times, strict=True)
        ]
        if not spool.place(placed):
            break  # the disk has no room for it now
        guessed = sum(note == GUESSED for _, _, note in placed)
        msg = f"{len(placed)} held readings have a time now, {guessed} of them a guessed one"
        logs.event(log, logging.WARNING, "held_placed", msg, placed=len(placed), guessed=guessed)
        previous, given = held[-1], times[-1]
    return given


def _times(held: list[Any], now: Stamp, newest: datetime, previous: Any) -> list[datetime]:
    """A time for each reading, later than `newest`; `previous` is the one held before them.

    Those of this boot are computed back from `now`. A boot that never saw the time comes after
    the last known reading, with its readings as far apart as they were.
    """
    times = []
    for row in held:
        if row.boot_id == now.boot_id:
            ts = now.ts - timedelta(seconds=now.boot_s - row.boot_s)
        elif previous and previous.boot_id == row.boot_id:
            ts = newest + timedelta(seconds=row.boot_s - previous.boot_s)
        else:
            ts = newest + GAP
        newest, previous = _after(newest, ts), row
        times.append(newest)
    return times


def _after(earlier: datetime | None, ts: datetime) -> datetime:
    return ts if earlier is None else max(ts, earlier + TICK)
