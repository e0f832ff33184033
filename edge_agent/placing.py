"""A time for the readings that had none: those held in the spool until the clock can be trusted."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from edge_agent import RELEASED
from edge_agent.clock import Clock, Stamp, after
from edge_agent.shared import logs
from edge_agent.shared.samples import format_time
from edge_agent.spool.row import Held

GAP = timedelta(seconds=1)  # between the last known reading and a boot that never saw the time
# The server takes no sample from further ahead; what it may have taken keeps its time.
NEVER_TAKEN = timedelta(minutes=6)
ROWS = 1000  # given a time in one pass, so that polling goes on beside a long backlog
FEW_ROWS = 50  # after a failure: a smaller transaction finds room where a larger one does not
UNREADABLE_S = 60.0  # so long a disk that can not be read keeps back the readings in memory
LOOK_AGAIN_S = 600.0  # salvage brings back held readings when no new one is held any more

COMPUTED = "time computed from the seconds since boot"
GUESSED = "time unknown: placed after the last known reading"

log = logging.getLogger(__name__)


class Placing:
    """Gives held readings their time, pass by pass, and releases the clock when none is left."""

    def __init__(self, spool: Any, clock: Clock):
        self._spool = spool
        self._clock = clock
        self._previous: tuple[Held, datetime] | None = None  # the reading placed last, its time
        self._rows = ROWS
        self._unreadable_since: float | None = None
        self._look_at = float("-inf")

    def step(self) -> None:
        """If the time is trusted, give some of the held readings theirs, in file or memory."""
        now = self._clock.read()
        waiting = self._clock.holds or now.boot_s >= self._look_at
        if not waiting or self._clock.doubt(now) or self._take_back(now):
            return
        held = self._held(self._rows, now)
        if held and self._place(held, now):
            held = self._held(1, now)
        if held == []:
            self._clock.release()
            self._previous, self._look_at = None, now.boot_s + LOOK_AGAIN_S

    def _take_back(self, now: Stamp) -> bool:
        """Hold again what a clock that was ahead left in the future; True while more is left."""
        if not self._clock.is_disproved(self._spool.newest_ts(), now):
            return False
        # The next process begins with it, and might have nothing to send: no answer, no proof.
        count = self._spool.take_back(format_time(now.ts + NEVER_TAKEN), format_time(_began(now)))
        if count is not None:
            msg = f"the clock was ahead for a while: {count} readings are held again"
            logs.event(log, logging.WARNING, "clock_was_ahead", msg, count=count)
        if count:
            self._clock.hold()
        return bool(count) and self._clock.is_disproved(self._spool.newest_ts(), now)

    def _held(self, limit: int, now: Stamp) -> list[Held] | None:
        """Those that wait, None while it is not known; a dead disk does not stop the others."""
        held = self._spool.held(limit)
        if held is not None:
            self._unreadable_since = None
            return held
        if self._unreadable_since is None:
            self._unreadable_since = now.boot_s
        dead = now.boot_s - self._unreadable_since >= UNREADABLE_S
        return self._spool.held(limit, memory_only=True) if dead else None

    def _place(self, held: list[Held], now: Stamp) -> bool:
        newest = self._spool.newest_ts()
        if newest and not self._clock.is_disproved(newest, now):
            self._clock.note([newest], now)  # of a piece that was placed and seemed not to be
        times = self._times(held, now)
        placed = [
            (row.id, format_time(ts), COMPUTED if row.boot_id == now.boot_id else GUESSED)
            for row, ts in zip(held, times, strict=True)
        ]
        if not self._spool.place(placed):
            self._rows = FEW_ROWS
            return False
        guessed = sum(note == GUESSED for _, _, note in placed)
        msg = f"{len(placed)} held readings have a time now, {guessed} of them a guessed one"
        logs.event(log, logging.WARNING, "held_placed", msg, placed=len(placed), guessed=guessed)
        self._clock.note(times, now)
        self._previous, self._rows = (held[-1], times[-1]), ROWS
        return True

    def _times(self, held: list[Held], now: Stamp) -> list[datetime]:
        """A time for each reading.

        Those of this boot are computed back from `now`, but come after the newest reading that
        was taken before them. A boot that never saw the time comes after the last known reading,
        or ends where this boot begins, with its readings as far apart as they were.
        """
        newest = self._clock.newest(now)
        previous = self._previous
        times: list[datetime] = []
        for row in held:
            before, last = previous or (None, None)
            follows = before and before.boot_id == row.boot_id and before.boot_s <= row.boot_s
            if row.boot_id == now.boot_id:
                ts = now.ts - timedelta(seconds=now.boot_s - row.boot_s)
                if not self._clock.precedes_newest(replace(now, ts=ts, boot_s=row.boot_s)):
                    ts = after(newest, ts)
                if follows:
                    ts = after(last, ts)
            else:
                if follows:
                    ts = last + timedelta(seconds=row.boot_s - before.boot_s)
                else:
                    ts = (last or self._last_known(newest, now)) + GAP
                ts = after(last, min(ts, now.ts - GAP))
            previous = row, ts
            times.append(ts)
        return times

    def _last_known(self, newest: datetime | None, now: Stamp) -> datetime:
        """What the readings of earlier boots are placed after: the newest, if it is older than
        this boot, else a time by which they end where this boot begins."""
        began = _began(now)
        if newest is not None and newest < began:
            return newest
        span_s = self._spool.other_boots_s(now.boot_id, GAP.total_seconds())
        return max(RELEASED, began - timedelta(seconds=span_s) - GAP)


def _began(now: Stamp) -> datetime:
    """When this boot began."""
    return now.ts - timedelta(seconds=now.boot_s)
