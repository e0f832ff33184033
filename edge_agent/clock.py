"""Is the time known? The times of readings.

A Raspberry Pi has no clock of its own: it boots somewhere in the past until the network tells it
the time. Readings taken before that are held in the spool with the seconds since boot, which
never jump, and get their time from them as soon as there is a good pair of both clocks.

A clock that was ahead leaves readings of the future behind, and the right time looks wrong beside
them. Then the server decides: what its clock said, and the seconds since boot, tell what time it is
by the server now, whatever became of the wall clock meanwhile.
"""

import ctypes
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from os.path import exists
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from edge_agent import RELEASED
from edge_agent.shared import logs
from edge_agent.shared.samples import format_time

TIMESYNC = Path("/run/systemd/timesync")  # there while systemd-timesyncd runs
TICK = timedelta(microseconds=2)  # times are even: odd ones are those of held readings
SMALL_STEP = timedelta(seconds=5)  # so far back NTP may correct a clock without it being distrusted
SERVER_DIFFERENCE_S = 60.0
# The server takes no sample from further ahead; what it may have taken keeps its time.
NEVER_TAKEN = timedelta(minutes=6)
UNSYNCHRONIZED = 0x40  # STA_UNSYNC of adjtimex(2)

log = logging.getLogger(__name__)


class ReadingTime(NamedTuple):
    """When a reading was taken; unless it is trusted only `boot_s` can be relied upon."""

    ts: datetime
    boot_s: float
    boot_id: str
    trusted: bool


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`, and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),  # 0: nothing is changed
        ("before_status", ctypes.c_long * 4),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 40),
    )


def is_set_by_kernel() -> bool:
    """Whether the kernel knows that something keeps its clock right; True where it cannot say."""
    timex = _Timex()
    try:
        failed = ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) < 0
    except (OSError, AttributeError):
        failed = True
    return failed or not timex.status & UNSYNCHRONIZED


def read_wall() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


def read_boot_s() -> float:
    """Seconds since boot, suspension included, of the machine whose boot id we read."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_boot_id() -> str:
    """The id of this boot; where it cannot be read, one that fits no other process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(uuid4())


class Clock:
    """Gives readings their time; `newest` is the latest that any trusted one has.

    `was_set` says that the time was trusted in this boot before. `on_server_time` may be called
    from another thread, everything else from that of the polls.
    """

    def __init__(
        self,
        newest: datetime | None = None,
        *,
        was_set: Callable[[str], bool] = lambda boot_id: False,
        wall: Callable[[], datetime] = read_wall,
        boot_s: Callable[[], float] = read_boot_s,
        boot_id: str | None = None,
        timesync: Path = TIMESYNC,
        kernel: Callable[[], bool] = is_set_by_kernel,
    ):
        self.newest = newest
        self.was_ahead = False  # the newest reading is of the future, as the server shows
        self._wall, self._boot_s = wall, boot_s
        self._boot_id = boot_id or read_boot_id()
        self._timesyncd, self._set_by_timesyncd = str(timesync), str(timesync / "synchronized")
        self._kernel = kernel
        self._was_set = was_set(self._boot_id)
        self._doubt: str | None = None
        self._server_at_boot: datetime | None = None  # its clock when ours began to count
        self._differed = False

    def reading_time(self) -> ReadingTime:
        """The time of a reading that is taken now; those of trusted ones rise."""
        now = self.read()
        if not now.trusted:
            return now
        ts = now.ts.replace(microsecond=now.ts.microsecond & ~1)
        if self.newest and not self._disproves(self.newest, now):
            ts = max(ts, self.newest + TICK)
        self.newest = ts
        return now._replace(ts=ts)

    def read(self) -> ReadingTime:
        """Both clocks as they stand now; whether they can be trusted is logged when it changes."""
        now = self._both()
        doubt = self._why_doubtful(now)
        if doubt and not self._doubt:
            logs.event(log, logging.WARNING, "clock_distrusted", f"readings are held: {doubt}")
        elif self._doubt and not doubt:
            logs.event(log, logging.INFO, "clock_trusted", "the clock can be trusted again")
        self._doubt = doubt
        return now if doubt is None else now._replace(trusted=False)

    def _disproves(self, ts: datetime, now: ReadingTime) -> bool:
        """Whether a time lies ahead both of our clock and of the server's, which confirms ours."""
        ahead_s = self._server_ahead_s(now)
        if ahead_s is None or abs(ahead_s) > SERVER_DIFFERENCE_S:
            return False
        return ts > now.ts + timedelta(seconds=max(ahead_s, 0.0)) + SMALL_STEP

    def on_server_time(self, server: datetime) -> None:
        """Note what the server's clock says, and log it when the two part."""
        self._server_at_boot = server - timedelta(seconds=self._boot_s())
        difference = self._difference()
        if difference and not self._differed:
            logs.event(log, logging.WARNING, "clock_differs", difference)
        self._differed = difference is not None

    @property
    def warning(self) -> str | None:
        """What is wrong with the clock, for people."""
        return f"readings are held: {self._doubt}" if self._doubt else self._difference()

    def _why_doubtful(self, now: ReadingTime) -> str | None:
        """Why the wall clock is not to be trusted; where nothing can be asked, it is."""
        if now.ts < RELEASED:
            return "the clock stands before the day this program was released"
        if doubt := self._why_unset(now):
            return doubt
        if self.newest and now.ts < self.newest - SMALL_STEP:
            if not self._disproves(self.newest, now):
                return f"the clock stands before the newest reading, {format_time(self.newest)}"
            self.was_ahead = True
        return None

    def _why_unset(self, now: ReadingTime) -> str | None:
        """Whether anything has set the clock in this boot.

        The kernel says so for any NTP client but chrony without rtcsync; then the server does.
        """
        if exists(self._timesyncd):
            if not exists(self._set_by_timesyncd):
                return "systemd-timesyncd has not set the clock yet"
        elif not self._was_set and not self._kernel():
            ahead_s = self._server_ahead_s(now)
            if ahead_s is None or abs(ahead_s) > SERVER_DIFFERENCE_S:
                return "nothing has set the clock yet, and the server has not confirmed it"
        self._was_set = True
        return None

    def _difference(self) -> str | None:
        ahead_s = self._server_ahead_s(self._both()) if self._server_at_boot else None
        if ahead_s is None or abs(ahead_s) <= SERVER_DIFFERENCE_S:
            return None
        side = "behind" if ahead_s > 0 else "ahead of"
        return f"the clock is {abs(ahead_s):.0f} s {side} the server's"

    def _both(self) -> ReadingTime:
        return ReadingTime(self._wall(), self._boot_s(), self._boot_id, trusted=True)

    def _server_ahead_s(self, now: ReadingTime) -> float | None:
        at_boot = self._server_at_boot
        if at_boot is None:
            return None
        return (at_boot + timedelta(seconds=now.boot_s) - now.ts).total_seconds()
