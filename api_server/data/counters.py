"""The energy of a lifetime counter: a fold over its readings in order of time.

Kept are spans of time, each with its first reading and the last one that is accepted if the first
is. While the first reading of a span follows the base, nothing more is needed. Where it does not,
the parts of the span are read, down to its single readings.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

# A counter that is seen to go on for so long from where it fell or jumped to is believed there.
PATIENCE = timedelta(minutes=15)
LEAST_STEP_S = 60  # a counter may be read more often than its registers move
DIP = 0.9  # whoever falls to less of the base has begun anew
STEADY, SETTLED, LOOSE, BROKEN = range(4)  # counter_span.state in SQL


class Span(NamedTuple):
    """A stretch of readings; `parts` tells where to find what it is made of."""

    first_kwh: float
    first_ts: datetime
    last_kwh: float
    last_ts: datetime
    state: int
    parts: Hashable = None


@dataclass(frozen=True)
class Rule:
    """What a counter can do: no more than this power, but a tick may come at once."""

    max_power_w: float
    tick_kwh: float

    def limit(self, since: datetime, at: datetime) -> float:
        """The kWh that may come in a time; a billionth more is for the digits of a difference."""
        seconds = max((at - since).total_seconds(), LEAST_STEP_S)
        return self.max_power_w * seconds / 3.6e6 + self.tick_kwh + 1e-9

    def follows(self, kwh: float, since: datetime, next_kwh: float, at: datetime) -> bool:
        """Whether a counter can go from one reading to the other."""
        return 0 <= next_kwh - kwh <= self.limit(since, at)

    def join(self, one: Span, later: Span) -> Span:
        """Two stretches as one; like counter_add in SQL."""
        state = max(later.state, SETTLED) if one.state else later.state
        since, kwh, at, next_kwh = one.last_ts, one.last_kwh, later.first_ts, later.first_kwh
        if BROKEN in (one.state, later.state) or not self.follows(kwh, since, next_kwh, at):
            state = BROKEN
        return Span(one.first_kwh, one.first_ts, later.last_kwh, later.last_ts, state, one.parts)


@dataclass
class Candidate:
    """Readings beside the base that follow one another."""

    points: list[tuple[datetime, float]] = field(default_factory=list)

    @property
    def first(self) -> tuple[datetime, float]:
        """The one that did not follow the base."""
        return self.points[0]

    @property
    def last(self) -> tuple[datetime, float]:
        """The newest."""
        return self.points[-1]


class Line:
    """A counter as it would read if it had never fallen or jumped, starting from 0."""

    def __init__(self) -> None:
        self.times: list[datetime] = []
        self.kwh: list[float] = []
        self.believed_at: datetime | None = None  # the reading that last made it go on elsewhere

    def add(self, time: datetime, kwh: float) -> None:
        """Go on to a point."""
        self.times.append(time)
        self.kwh.append(kwh)

    def energies(self, edges: Iterable[datetime]) -> list[float | None]:
        """What it rises from each edge to the next, None where it is not known."""
        if not self.times:
            return [None for _ in pairwise(edges)]
        first, last = self.times[0], self.times[-1]
        return [
            None if end <= first or start > last else max(0.0, round(after - before, 6))
            for (start, before), (end, after) in pairwise([(at, self._at(at)) for at in edges])
        ]

    def energy(self, start: datetime, end: datetime) -> float | None:
        """What it rises from start to end, None where it is not known."""
        return self.energies((start, end))[0]

    def settled(self, end: datetime) -> datetime | None:
        """The reading after which no other changes it up to `end`; None if one still may."""
        after = bisect_left(self.times, end)
        if after == len(self.times):
            return None
        return max(self.times[after], self.believed_at or self.times[after])

    def near(self, time: datetime, within: timedelta) -> float | None:
        """What it reads at a time; None unless one of its points lies within so long of it."""
        after = bisect_right(self.times, time)
        for point in self.times[max(after - 1, 0) : after + 1]:
            if -within <= point - time <= within:
                return self._at(time)
        return None

    def _at(self, time: datetime) -> float:
        after = bisect_right(self.times, time)
        if after in (0, len(self.times)):
            return self.kwh[0 if after == 0 else -1]
        earlier, later = self.times[after - 1], self.times[after]
        share = (time - earlier) / (later - earlier)
        return self.kwh[after - 1] + share * (self.kwh[after] - self.kwh[after - 1])


class Fold:
    """Takes spans in order of time and draws the line; `find_parts` gives the spans within one."""

    def __init__(self, rule: Rule, find_parts: Callable[[Hashable], Iterable[Span]]) -> None:
        self.line = Line()
        self._rule = rule
        self._find_parts = find_parts
        self._base: tuple[datetime, float] | None = None
        self._candidate: Candidate | None = None
        # A span that was accepted and ends with a candidate, with the base before it: whether
        # its candidate matters is known when the next reading does not follow the base.
        self._loose: tuple[Span, tuple[datetime, float] | None, int] | None = None

    def feed(self, span: Span) -> None:
        """Take the next span."""
        if span.state != BROKEN and self._follows(span.first_ts, span.first_kwh):
            before = (span, self._base, len(self.line.times))
            self._accept(span.first_ts, span.first_kwh)
            self._accept(span.last_ts, span.last_kwh)
            self._candidate = None
            self._loose = before if span.state == LOOSE else None
        elif self._loose and span.state != BROKEN:
            self.settle()
            self.feed(span)
        elif span.state == STEADY and not self._may_follow(span):
            self._doubt(span)
        else:
            for part in self._find_parts(span.parts):
                self.feed(part)

    def _follows(self, at: datetime, kwh: float) -> bool:
        if self._base is None:
            return True
        since, base = self._base
        return self._rule.follows(base, since, kwh, at)

    def _may_follow(self, span: Span) -> bool:
        """Whether any reading of a steady span may follow the base."""
        since, base = self._base
        limit = self._rule.limit(since, span.last_ts)
        return span.last_kwh >= base and span.first_kwh - base <= limit and span.parts is not None

    def _accept(self, at: datetime, kwh: float) -> None:
        risen = self.line.kwh[-1] + kwh - self._base[1] if self._base else 0.0
        self.line.add(at, risen)
        self._base = at, kwh

    def settle(self) -> None:
        """Take the last span again by its parts, if it ends with a candidate, to have that."""
        while self._loose:
            span, self._base, count = self._loose
            self._loose = None
            del self.line.times[count:], self.line.kwh[count:]
            for part in self._find_parts(span.parts):
                self.feed(part)

    def _doubt(self, span: Span) -> None:
        """Take readings of which none follows the base."""
        points = [(span.first_ts, span.first_kwh), (span.last_ts, span.last_kwh)]
        known = self._candidate
        if known and self._rule.follows(known.last[1], known.last[0], points[0][1], points[0][0]):
            known.points += points
        else:
            self._candidate = Candidate(points)
        if self._is_proven(self._candidate):
            self._believe(self._candidate)

    def _is_proven(self, candidate: Candidate) -> bool:
        (since, first), (at, last) = candidate.first, candidate.last
        return at - since >= PATIENCE and (last > first or first < DIP * self._base[1])

    def _believe(self, candidate: Candidate) -> None:
        """Make a candidate the base: all its readings count where they stand."""
        since, base = self._base
        at, first = candidate.first
        begun_anew = first < DIP * base and first <= self._rule.limit(since, at)
        risen = self.line.kwh[-1] + (first if begun_anew else 0.0)
        for time, kwh in candidate.points:
            self.line.add(time, risen + kwh - first)
        self.line.believed_at = candidate.last[0]
        self._base = candidate.last
        self._candidate = None
