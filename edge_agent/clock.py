"""Is the time trustworthy? The timestamps of readings, and a time for those that had none.

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
from typing import Any
from uuid import uuid4

from edge_agent import RELEASED, logs
from edge_agent.samples import format_time

TIMESYNC = Path("/run/systemd/timesync")  # there while systemd-timesyncd runs
TICK = timedelta(microseconds=1)  # the least the database can tell apart
GAP = timedelta(seconds=1)  # between the last known reading and a boot that never saw the time
# The server takes no sample from further ahead; what it may have taken keeps its time.
FUTURE = timedelta(minutes=6)
# So far back the clock may step (NTP corrects it) without being distrusted.
SMALL_STEP = timedelta(seconds=5)
SERVER_DIFFERENCE_S = 60.0
ROWS = 1000  # given a time in one pass, so that polling goes on beside a long backlog
FEW_ROWS = 50  # after a failure: a smaller transaction finds room where a larger one does not
UNREADABLE_S = 60.0  # so long a disk that can not be read keeps back the readings in memory
LOOK_AGAIN_S = 600.0  # salvage brings back held readings when no new one is held any more

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
        self.placing = Placing()

    def stamp(self) -> Stamp:
        """The time of a reading that is taken now, later than any the server has not disproved."""
        now = self.read()
        if doubt := self.doubt(now):
            if self.latest is None or self.latest.synced:
                logs.event(log, logging.WARNING, "clock_distrusted", f"readings are held: {doubt}")
            self._holding = doubt
        elif self.is_disproved(self._newest, now):
            self.hold()
        if self._holding:
            ts = self._held_newest = _after(self._held_newest, now.ts)
        else:
            ts = self._newest = _after(self._newest, now.ts)
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


class Placing:
    """How far the giving of times to held readings has come, from pass to pass."""

    def __init__(self):
        self._previous: tuple[Any, datetime] | None = None  # the reading placed last, and its time
        self._rows = ROWS
        self._unreadable_since: float | None = None
        self._look_at = float("-inf")

    def is_due(self, clock: Clock, now: Stamp) -> bool:
        """Whether readings may be waiting, by a clock that can give them their time."""
        return (clock.holds or now.boot_s >= self._look_at) and clock.doubt(now) is None

    def step(self, spool: Any, clock: Clock, now: Stamp) -> None:
        """Give the next of them their time; when none is left, release the clock."""
        held = self._held(spool, self._rows, now)
        if held and self._place(held, spool, clock, now):
            held = self._held(spool, 1, now)
        if held == []:
            clock.release()
            self._previous, self._look_at = None, now.boot_s + LOOK_AGAIN_S

    def _held(self, spool: Any, limit: int, now: Stamp) -> list[Any] | None:
        """Those that wait, None while it is not known; a dead disk does not stop the others."""
        held = spool.held(limit)
        if held is not None:
            self._unreadable_since = None
            return held
        if self._unreadable_since is None:
            self._unreadable_since = now.boot_s
        dead = now.boot_s - self._unreadable_since >= UNREADABLE_S
        return spool.held(limit, memory_only=True) if dead else None

    def _place(self, held: list[Any], spool: Any, clock: Clock, now: Stamp) -> bool:
        newest = spool.newest_ts()
        if newest and not clock.is_disproved(newest, now):
            clock.note([newest], now)  # it knows of a piece that was placed and seemed not to be
        times = _times(held, now, clock, spool, self._previous)
        placed = [
            (row.id, format_time(ts), COMPUTED if row.boot_id == now.boot_id else GUESSED)
            for row, ts in zip(held, times, strict=True)
        ]
        if not spool.place(placed):
            self._rows = FEW_ROWS
            return False
        guessed = sum(note == GUESSED for _, _, note in placed)
        msg = f"{len(placed)} held readings have a time now, {guessed} of them a guessed one"
        logs.event(log, logging.WARNING, "held_placed", msg, placed=len(placed), guessed=guessed)
        clock.note(times, now)
        self._previous, self._rows = (held[-1], times[-1]), ROWS
        return True


def place_held(spool: Any, clock: Clock) -> None:
    """If the time is trusted, give some of the readings held in the spool theirs.

    When none is left, in the file or in memory, the clock is released.
    """
    now = clock.read()
    if not clock.placing.is_due(clock, now):
        return
    if clock.is_disproved(spool.newest_ts(), now):
        # The next process begins with it, and might have nothing to send: no answer, no proof.
        count = spool.take_back(format_time(now.ts + FUTURE), format_time(_began(now)))
        if count is not None:
            msg = f"the clock was ahead for a while: {count} readings are held again"
            logs.event(log, logging.WARNING, "clock_was_ahead", msg, count=count)
        if count:
            clock.hold()
            if clock.is_disproved(spool.newest_ts(), now):
                return  # there are more of them
    clock.placing.step(spool, clock, now)


def _times(
    held: list[Any], now: Stamp, clock: Clock, spool: Any, previous: tuple[Any, datetime] | None
) -> list[datetime]:
    """A time for each reading; `previous` is the one placed before them, and its time.

    Those of this boot are computed back from `now`, but come after the newest reading that was
    taken before them. A boot that never saw the time comes after the last known reading, or ends
    where this boot begins, with its readings as far apart as they were.
    """
    newest = clock.newest(now)
    times: list[datetime] = []
    for row in held:
        before, last = previous or (None, None)
        follows = before and before.boot_id == row.boot_id and before.boot_s <= row.boot_s
        if row.boot_id == now.boot_id:
            ts = now.ts - timedelta(seconds=now.boot_s - row.boot_s)
            if not clock.precedes_newest(replace(now, ts=ts, boot_s=row.boot_s)):
                ts = _after(newest, ts)
            if follows:
                ts = _after(last, ts)
        else:
            if follows:
                ts = last + timedelta(seconds=row.boot_s - before.boot_s)
            else:
                ts = (last or _last_known(newest, spool, now)) + GAP
            ts = _after(last, min(ts, now.ts - GAP))
        previous = row, ts
        times.append(ts)
    return times


def _last_known(newest: datetime | None, spool: Any, now: Stamp) -> datetime:
    """What the readings of earlier boots are placed after: the newest, if it is older than this
    boot, else a time by which they end where this boot begins."""
    began = _began(now)
    if newest is not None and newest < began:
        return newest
    held_s = spool.held_before(now.boot_id, GAP.total_seconds())
    return max(RELEASED, began - timedelta(seconds=held_s) - GAP)


def _began(now: Stamp) -> datetime:
    """When this boot began."""
    return now.ts - timedelta(seconds=now.boot_s)


def _after(earlier: datetime | None, ts: datetime) -> datetime:
    return ts if earlier is None else max(ts, earlier + TICK)
