"""Is the time trustworthy? The timestamps of readings.

A Raspberry Pi has no clock of its own: it boots somewhere in the past until the network tells it
the time. Readings taken before that are held in the spool with the seconds since boot, which
never jump, and get their time from them as soon as there is a good pair of both clocks.

A clock that was ahead leaves readings of the future behind, and the right time looks wrong beside
them. Then the server decides: what its clock said, and the seconds since boot, tell what time it is
by the server now, whatever became of the wall clock meanwhile. Readings that it can not have taken
are held again, for the time that the seconds since boot give them.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from os.path import exists
from pathlib import Path
from uuid import uuid4

from edge_agent import RELEASED
from edge_agent.shared import logs
from edge_agent.shared.samples import format_time

TIMESYNC = Path("/run/systemd/timesync")  # there while systemd-timesyncd runs
TICK = timedelta(microseconds=1)  # the least the database can tell apart
# So far back the clock may step (NTP corrects it) without being distrusted.
SMALL_STEP = timedelta(seconds=5)
SERVER_DIFFERENCE_S = 60.0

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
    """Seconds since boot, suspension included, of the machine whose boot id we read."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_boot_id() -> str:
    """The id of this boot; where it can not be read, one that fits no other process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(uuid4())


class Clock:
    """Stamps readings; `newest` is the latest time that any of them has.

    Once the time is in doubt, readings are held until `release` says that those before have
    their time: so a reading never gets its time before an older one. `compare` may be called from
    another thread, everything else from that of the polls.
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
        self._stamped_s = float("-inf")  # seconds since boot of the latest trusted reading
        self._held_newest: datetime | None = None
        self._holding: str | None = "the clock was not looked at yet"
        self._wall = wall
        self._boot_s = boot_s
        self._boot_id = boot_id or read_boot_id()
        self._timesyncd, self._set_by_timesyncd = str(timesync), str(timesync / "synchronized")
        self._server_at_boot: datetime | None = None  # its clock when ours began to count
        self._differed = False

    def stamp(self) -> Stamp:
        """The time of a reading that is taken now; those of trusted readings rise."""
        now = self.read()
        if doubt := self.doubt(now):
            if self.latest is None or self.latest.synced:
                logs.event(log, logging.WARNING, "clock_distrusted", f"readings are held: {doubt}")
            self._holding = doubt
        elif self.is_disproved(self._newest, now):
            self.hold()
        if self._holding:
            ts = self._held_newest = after(self._held_newest, now.ts)
        else:
            ts = self._newest = after(self._newest, now.ts)
            self._stamped_s = now.boot_s
        self.latest = replace(now, ts=ts, synced=not self._holding)
        return self.latest

    @property
    def holds(self) -> bool:
        """Whether readings are held, or may have been when this process began."""
        return self._holding is not None

    def read(self) -> Stamp:
        """Both clocks as they stand now."""
        return Stamp(self._wall(), self._boot_s(), self._boot_id, synced=True)

    def newest(self, now: Stamp) -> datetime | None:
        """The time of the newest reading, None if the server shows that it is in the future."""
        return None if self.is_disproved(self._newest, now) else self._newest

    def is_disproved(self, ts: datetime | None, now: Stamp) -> bool:
        """Whether a time lies ahead both of our clock and of the server's, which confirms ours."""
        ahead_s = self._server_ahead_s(now)
        if ts is None or ahead_s is None or abs(ahead_s) > SERVER_DIFFERENCE_S:
            return False
        return ts > now.ts + timedelta(seconds=max(ahead_s, 0.0)) + SMALL_STEP

    def precedes_newest(self, reading: Stamp) -> bool:
        """Whether a reading of this boot is known to be older than the one with the newest time."""
        return reading.boot_s < self._stamped_s or self.is_disproved(self._newest, reading)

    def note(self, times: list[datetime], now: Stamp) -> None:
        """Learn what times readings have."""
        self._newest = max(filter(None, [self.newest(now), *times]), default=None)

    def hold(self) -> None:
        """Hold readings until those that a clock ahead left in the future have their time."""
        self._holding = self._holding or "readings of the future get their time first"

    def release(self) -> None:
        """Hold no longer: what was held has its time now."""
        if self.latest and not self.latest.synced and self._holding:
            logs.event(log, logging.INFO, "clock_trusted", "the clock can be trusted again")
        self._holding = None

    def compare(self, server: datetime) -> None:
        """Note what the server's clock says, and log it when the two part."""
        self._server_at_boot = server - timedelta(seconds=self._boot_s())
        difference = self._difference()
        if difference and not self._differed:
            logs.event(log, logging.WARNING, "clock_differs", difference)
        self._differed = difference is not None

    @property
    def warning(self) -> str | None:
        """What is wrong with the clock, for people."""
        return f"readings are held: {self._holding}" if self._holding else self._difference()

    def doubt(self, now: Stamp) -> str | None:
        """Why the wall clock is not to be trusted; where nothing can be asked, it is."""
        if now.ts < RELEASED:
            return "the clock stands before the day this program was released"
        if exists(self._timesyncd) and not exists(self._set_by_timesyncd):
            return "systemd-timesyncd has not set the clock yet"
        newest = self.newest(now)
        if newest and now.ts < newest - SMALL_STEP:
            return f"the clock stands before the newest reading, {format_time(newest)}"
        return None

    def _difference(self) -> str | None:
        ahead_s = self._server_ahead_s(self.read())
        if ahead_s is None or abs(ahead_s) <= SERVER_DIFFERENCE_S:
            return None
        side = "behind" if ahead_s > 0 else "ahead of"
        return f"the clock is {abs(ahead_s):.0f} s {side} the server's"

    def _server_ahead_s(self, now: Stamp) -> float | None:
        at_boot = self._server_at_boot
        if at_boot is None:
            return None
        return (at_boot + timedelta(seconds=now.boot_s) - now.ts).total_seconds()


def after(earlier: datetime | None, ts: datetime) -> datetime:
    """The time, or the least one that is later than the earlier."""
    return ts if earlier is None else max(ts, earlier + TICK)
