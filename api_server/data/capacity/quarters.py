"""The quarters of a local month: power as sampled, as the register has it, as the meter says."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from operator import attrgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from api_server.data import rollups
from api_server.data.counters import Line
from api_server.data.periods import (
    EARLIEST_YEAR,
    LATEST_YEAR,
    QUARTER,
    after,
    midnight,
    quarter_start,
)
from edge_agent.shared.samples import P1

MINUTES = 15
TRUSTED_MINUTES = 12  # a coverage of 0.8
_COVERAGE = [round(minutes / MINUTES, 4) for minutes in range(MINUTES + 1)]
FAR = datetime(9999, 12, 31, tzinfo=UTC)  # so that an end can be told of any time
AHEAD = timedelta(days=1)  # more than any clock that samples were checked with was ahead
NEAR = timedelta(seconds=60)  # how far from an edge a reading may lie and still tell of it
FLOOR_W = 2500  # the least that a month is billed for

_GAUGES = (
    "avg_import_power_w",
    "covered_minutes",
    "(energy_import).first_ts IS NOT NULL",
    "official_peak_w",
    "official_peak_ts",
)
# What the meter tells after a month, and of every sample around its end; two statements, for one
# can not join a function and a table that is distributed.
_TOLD_LATE = """
SELECT bucket, official_peak_w, official_peak_ts
FROM p1_read_quarter_hourly(%(device_id)s, %(end)s, %(end)s + interval '1 day')
WHERE official_peak_w > 0
"""
_TOLD_AROUND = """
SELECT ts, monthly_power_peak_w, monthly_power_peak_ts FROM p1_samples
WHERE device_id = %(device_id)s AND ts >= %(ending)s AND ts < %(ended)s
    AND monthly_power_peak_w > 0
"""

# When the meter told its month peak, or in which quarter; the peak in W, and its time.
Told = tuple[datetime, float, datetime | None]


class Quarter(NamedTuple):
    """One quarter of an hour with samples; watts unrounded."""

    start_s: float  # seconds since 1970: of thousands few are needed as times
    sampled_w: float
    minutes: int  # with at least one sample
    register_kwh: float | None = None  # what the import register has risen by

    @property
    def start(self) -> datetime:
        """When it began."""
        return datetime.fromtimestamp(self.start_s, UTC)

    @property
    def coverage(self) -> float:
        """The share of its minutes that have a sample."""
        return _COVERAGE[self.minutes]

    @property
    def register_w(self) -> float | None:
        """The mean power by the register, whose kWh have six digits; exact to round."""
        return None if self.register_kwh is None else round(self.register_kwh * 1e6) / 250


_KEPT = msgspec.json.Decoder(list[Quarter])


@dataclass(frozen=True, slots=True)
class Peak:
    """A month's highest quarter: watts unrounded, its time (the start; the end if the meter's)."""

    watts: Fraction
    ts: datetime | None
    source: str  # official, register, sampled or meter_history


class Peaks(NamedTuple):
    """The highest of a month: by the meter, by the register, as sampled."""

    official: Peak | None
    register: Peak | None
    sampled: Peak | None

    def billed(self, history: Peak | None = None) -> Peak | None:
        """What the month is billed by; what the meter's `history` has is better than samples."""
        return self.official or self.register or history or self.sampled


class Read(NamedTuple):
    """Quarters, what the meter told in them, and the time after which no sample changes them; None
    if any may."""

    quarters: list[Quarter]
    told: list[Told]
    until: datetime | None


def quarter_end(peak_ts: datetime) -> datetime:
    """The end of a peak's quarter, by the time that the meter gives it, whatever that is."""
    return quarter_start(min(peak_ts, FAR) + QUARTER / 2)


def bounds(first: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """Start and end of the local month that begins on `first`; None where no sample can be."""
    if not EARLIEST_YEAR <= first.year <= LATEST_YEAR:
        return None
    return midnight(first, zone), midnight(after(first, "month"), zone)


def read(cursor: Any, device_id: str, start: datetime, end: datetime, zone: ZoneInfo) -> Read:
    """The quarters between two local midnights that have samples."""
    rows, line = rollups.follow(cursor, P1, device_id, start, end, zone, "energy_import", _GAUGES)
    register = _Register(line)
    listed = [
        Quarter(start.timestamp(), watts, minutes, register.kwh(start))
        for start, watts, minutes, *_ in rows
    ]
    told = [(row[0], *row[4:]) for row in rows if row[4] is not None]
    without = not any(row[3] for row in rows)
    return Read(listed, told, line.settled(end) or (end if without else None))


class _Register:
    """The import register through a range, asked for one quarter after the other.

    The points of its line are the first and the last reading of each quarter: of all those that
    lie near an edge between quarters one of these is the nearest.
    """

    def __init__(self, line: Line):
        self._line = line
        self._edge: tuple[datetime | None, float | None] = (None, None)

    def kwh(self, start: datetime) -> float | None:
        """What it rises by in a quarter; None unless both edges are known."""
        end = start + QUARTER
        edge, before = self._edge
        if edge != start:
            before = self._line.near(start, NEAR)
        after = self._line.near(end, NEAR)
        self._edge = end, after
        if before is None or after is None or self._line.times[-1] < end:
            return None
        return max(0.0, round(after - before, 6))


def last_told(told: list[Told], start: datetime, end: datetime) -> list[Told]:
    """The last that was told of a month before its last quarter, if anything was."""
    before = (one for one in reversed(told) if one[0] < end - QUARTER)
    return next(([one] for one in before if _is_of(one, start, end)), [])


def read_official(
    cursor: Any, device_id: str, start: datetime, end: datetime, told: list[Told], now: datetime
) -> Peak | None:
    """What the meter itself says of a month, in whose quarters it `told` what it did.

    The last one of a month is told after its end, maybe for seconds only: a meter that begins its
    next month may tell 0 W for that same moment, or a little for a quarter of the old one. A meter
    may be replaced, so the last one told counts; but around the end, where every reading that is
    kept is looked at, only what is higher than that.
    """
    around = {"ending": end - QUARTER, "ended": end + 2 * QUARTER}
    late = [one for one in told if one[0] >= end - QUARTER and one[1] > 0]
    # Of an end that is far ahead there are no samples yet.
    for query in (_TOLD_LATE, _TOLD_AROUND) if end - AHEAD <= now else ():
        cursor.execute(query, {"device_id": device_id, "end": end, **around})
        late += cursor.fetchall()
    found = last_told(told, start, end) + [one for one in late if _is_of(one, start, end)]
    if not found:
        return None
    _, watts, peak_ts = min(found, key=lambda one: (-one[1], one[0]))
    return Peak(Fraction(watts), peak_ts, "official")


def _is_of(told: Told, start: datetime, end: datetime) -> bool:
    """Whether a peak is of a month: its time is its quarter's end, give or take some seconds."""
    at, _, peak_ts = told
    return start < (quarter_end(peak_ts) if peak_ts else quarter_start(at + QUARTER)) <= end


def peaks(official: Peak | None, listed: list[Quarter], now: datetime) -> Peaks:
    """The highest of a month's quarters, the earliest of equals, beside the meter's own.

    They must be closed and covered well; if none is, it is the highest of all as sampled.
    """
    ended_s = (now - QUARTER).timestamp()
    trusted = [one for one in listed if one.minutes >= TRUSTED_MINUTES and one.start_s <= ended_s]
    known = [one for one in trusted if one.register_kwh is not None]
    register = max(known, key=attrgetter("register_kwh"), default=None)
    sampled = max(trusted or listed, key=attrgetter("sampled_w"), default=None)
    return Peaks(
        official,
        register and by_register(register.register_kwh, register.start),
        sampled and as_sampled(sampled.sampled_w, sampled.start),
    )


def by_register(kwh: float, start: datetime) -> Peak:
    """A peak by what the register has risen in its quarter."""
    return Peak(Fraction(str(kwh)) * 4000, start, "register")


def as_sampled(watts: float, start: datetime) -> Peak:
    """A peak by the mean of its quarter's samples."""
    return Peak(Fraction(watts), start, "sampled")


def unpack(text: str) -> list[Quarter]:
    """Quarters that were kept."""
    return _KEPT.decode(text)
