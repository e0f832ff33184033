"""Whether a string of panels gives its usual share: rules over days and quarters of an hour.

The other strings see the same sky, so a string is judged by its part of what all give together.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

USUAL_DAYS = timedelta(days=30)
KNOWN_DAYS = 7  # fewer say nothing
LEAST_PV_KWH = 2.0  # of a day that can prove a string weak, or well
WEAK_SHARE = 0.7  # of the usual one
WEAK_DAYS = 3
DEAD_PCT = 1.0
ONCE_PCT = 10.0  # what a string gave before it died
BRIGHT_W = 200.0
BRIGHT = timedelta(minutes=30)
BRIGHT_KWH = BRIGHT_W / 1000 * (BRIGHT / timedelta(hours=1))
QUARTER = timedelta(minutes=15)

Values = tuple[float | None, ...]  # of each string


class Verdict(NamedTuple):
    """`ok`, `unknown`, `weak` since a day, or `dead` since a moment."""

    word: str
    since: date | datetime | None = None


class Day(NamedTuple):
    """What the strings gave in a local day."""

    date: date
    complete: bool  # else it is still running
    pv_kwh: float
    kwh: Values
    max_w: Values
    shares: Values  # of the energy

    def alive(self, string: int) -> bool | None:
        """Whether a string gave anything while another one did; None if that can not be said."""
        bright = any(
            (kwh or 0) >= BRIGHT_KWH and (watts or 0) > BRIGHT_W
            for other, (kwh, watts) in enumerate(zip(self.kwh, self.max_w, strict=True))
            if other != string
        )
        part = self.shares[string]
        return part >= DEAD_PCT if bright and part is not None else None


class Quarter(NamedTuple):
    """The mean powers of the strings in a quarter of an hour, by the local clock."""

    start: datetime
    end: datetime  # its last sample while it is running
    date: date
    hour: int
    power_w: Values

    def alive(self, string: int) -> bool | None:
        """Whether a string gives anything while another one does; None if none does."""
        bright = any(
            (watts or 0) > BRIGHT_W for other, watts in enumerate(self.power_w) if other != string
        )
        part = share(self.power_w, string)
        return part >= DEAD_PCT if bright and part is not None else None


def shares(values: Values) -> Values:
    """Each string's part of all, in percent; None where one is not known, or none gives."""
    if None in values or (total := sum(values)) <= 0:
        return (None,) * len(values)
    return tuple([100 * value / total for value in values])


def share(values: Values, string: int) -> float | None:
    """One string's part of all, in percent."""
    return shares(values)[string]


def judge(days: Sequence[Day], asked: date, string: int, died: datetime | None) -> Verdict:
    """The verdict on a string after some days, of which the one asked for is the last."""
    known = [day.date for day in days if day.shares[string] is not None and day.date < asked]
    if len(known) < KNOWN_DAYS:
        return Verdict("unknown")
    if died:
        return Verdict("dead", died)
    if weak := find_weakness(days, string):
        return Verdict("weak", weak)
    return Verdict("ok" if known[-KNOWN_DAYS] >= asked - USUAL_DAYS else "unknown")


def find_weakness(days: Sequence[Day], string: int) -> date | None:
    """When the run of weak days began in which a string is after some days, oldest first."""
    days = [day for day in days if day.complete and day.shares[string] is not None]
    start = _last_well(days, string)
    usual, run = _Usual(), None
    for day in days[bisect_left(days, days[start].date - USUAL_DAYS, key=_date) if days else 0 :]:
        part = day.shares[string]
        usual.forget_before(day.date - USUAL_DAYS)
        if day.pv_kwh >= LEAST_PV_KWH and day.date >= days[start].date:
            before = run.usual_pct if run else usual.median()
            if before is None or part >= WEAK_SHARE * before:
                run = None
            else:
                run = _Run(run.since, run.days + 1, before) if run else _Run(day.date, 1, before)
        # What a string gives beside a dead one is no usual share.
        if min(day.shares) >= DEAD_PCT:
            usual.add(day.date, part)
    return run.since if run and run.days >= WEAK_DAYS else None


def _last_well(days: Sequence[Day], string: int) -> int:
    """The place of the last day that no run of weak days can hold, whatever was usual before."""
    most = max((day.shares[string] for day in days), default=0.0)
    for place in range(len(days) - 1, 0, -1):
        day = days[place]
        if day.pv_kwh >= LEAST_PV_KWH and day.shares[string] >= WEAK_SHARE * most:
            return place
    return 0


def _date(day: Day) -> date:
    return day.date


class _Run(NamedTuple):
    since: date
    days: int
    usual_pct: float  # before it began


class _Usual:
    """The shares of some days, and their median."""

    def __init__(self) -> None:
        self._by_date: deque[tuple[date, float]] = deque()
        self._sorted: list[float] = []

    def add(self, day: date, part: float) -> None:
        self._by_date.append((day, part))
        insort(self._sorted, part)

    def forget_before(self, day: date) -> None:
        while self._by_date and self._by_date[0][0] < day:
            _, part = self._by_date.popleft()
            del self._sorted[bisect_left(self._sorted, part)]

    def median(self) -> float | None:
        count = len(self._sorted)
        if count < KNOWN_DAYS:
            return None
        return (self._sorted[(count - 1) // 2] + self._sorted[count // 2]) / 2


def find_turn(days: Sequence[Day], string: int) -> tuple[date | None, date | None]:
    """The last complete day on which a string gave anything, and where to look for its death.

    That is until the second day: a string of which nothing is seen in the 30 days after was only
    in its shade whenever another one gave something.
    """
    dead = None
    for day in reversed(days):
        alive = day.alive(string) if day.complete else None
        if alive:
            return day.date, min(dead + USUAL_DAYS, days[-1].date) if dead else day.date
        if alive is False:
            dead = day.date
    return None, None


def find_death(
    days: Sequence[Day],
    string: int,
    alive: date,
    quarters: Iterable[Quarter],
    in_sun: Callable[[Quarter], bool],
) -> datetime | None:
    """When a string that once gave its part died, None if it is alive at the end.

    `quarters` begin with the last day on which it was `alive`, in order; `in_sun` says whether
    the string usually gives a good part at that hour of the clock. Only stretches of quarters
    count, of silence as of life.
    """
    died = since = state = before = None
    for quarter in quarters:
        lives = quarter.alive(string)
        if lives is False and not in_sun(quarter):
            lives = None
        if lives is None or lives != state or before + QUARTER != quarter.start:
            since, state = quarter.start, lives
        before = quarter.start
        if state is not None and quarter.end - since >= BRIGHT:
            died = None if state else died or since
    return died if died and _once_gave(days, string, alive) else None


def _once_gave(days: Sequence[Day], string: int, last: date) -> bool:
    """Whether a string gave more than a little of the energy of 30 days."""
    first = last - USUAL_DAYS
    known = [day.kwh for day in days if first < day.date <= last and None not in day.kwh]
    total = sum(map(sum, known))
    return total > 0 and 100 * sum(kwh[string] for kwh in known) > ONCE_PCT * total
