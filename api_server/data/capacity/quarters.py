"""The quarters of a local month: power as sampled, as the register has it, as the meter says."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.data import rollups
from api_server.data.counters import Line
from api_server.data.periods import EARLIEST_YEAR, LATEST_YEAR, QUARTER, after, midnight
from edge_agent.shared.samples import P1

MINUTES = 15
TRUSTED_COVERAGE = 0.8
NEAR = timedelta(seconds=60)  # how far from an edge a reading may lie and still tell of it
FLOOR_W = 2500  # the least that a month is billed for

_GAUGES = ("avg_import_power_w", "covered_minutes", "(energy_import).first_ts IS NOT NULL")
# The meter's time of a peak is its quarter's end, give or take some seconds. The last one of a
# month is told after its end, maybe for seconds only: a meter that begins its next month may tell
# 0 W for that same moment, or a little for a quarter of the old one. A meter may be replaced, so
# the last one told counts; but around the end, where every reading that is kept is looked at,
# only what is higher than that.
_OFFICIAL = """
WITH of_month AS (
    SELECT ts, watts, peak_ts FROM ({told}) AS told, LATERAL (SELECT date_bin('15 minutes',
        coalesce(peak_ts, bucket + interval '15 minutes') + interval '7.5 minutes',
        '2020-01-01T00:00:00Z') AS quarter_end) AS peak
    WHERE watts IS NOT NULL AND quarter_end > %(start)s AND quarter_end <= %(end)s
)
SELECT watts, ts, peak_ts FROM (
    (SELECT * FROM of_month WHERE ts < %(ending)s ORDER BY ts DESC LIMIT 1)
    UNION ALL
    SELECT * FROM of_month WHERE ts >= %(ending)s AND watts > 0
) AS candidate ORDER BY watts DESC, ts LIMIT 1
"""
# Of each the highest: one statement can not join a function and a table that is distributed.
_TOLD = (
    """
    SELECT bucket AS ts, bucket, official_peak_w AS watts, official_peak_ts AS peak_ts
    FROM p1_read_quarter_hourly(%(device_id)s, %(start)s, %(end)s + interval '1 day')
    """,
    """
    SELECT ts, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') AS bucket,
        monthly_power_peak_w AS watts, monthly_power_peak_ts AS peak_ts
    FROM p1_samples WHERE device_id = %(device_id)s AND ts >= %(ending)s AND ts < %(ended)s
    """,
)


@dataclass(frozen=True, slots=True)
class Quarter:
    """One quarter of an hour with samples; watts unrounded."""

    start: datetime
    sampled_w: float
    minutes: int  # with at least one sample
    register_kwh: float | None = None  # what the import register has risen by

    @property
    def coverage(self) -> float:
        """The share of its minutes that have a sample."""
        return round(self.minutes / MINUTES, 4)

    @property
    def register_w(self) -> float | None:
        """The mean power by the register, whose kWh have six digits; exact to round."""
        return None if self.register_kwh is None else round(self.register_kwh * 1e6) / 250

    def is_trusted(self, now: datetime) -> bool:
        """Whether it is over and was covered well."""
        return self.start + QUARTER <= now and self.minutes >= TRUSTED_COVERAGE * MINUTES


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
    """Quarters, and the time after which no sample changes them; None if any may."""

    quarters: list[Quarter]
    until: datetime | None


def bounds(first: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """Start and end of the local month that begins on `first`; None where no sample can be."""
    if not EARLIEST_YEAR <= first.year <= LATEST_YEAR:
        return None
    return midnight(first, zone), midnight(after(first, "month"), zone)


def read(cursor: Any, device_id: str, start: datetime, end: datetime, zone: ZoneInfo) -> Read:
    """The quarters between two local midnights that have samples."""
    rows, line = rollups.follow(cursor, P1, device_id, start, end, zone, "energy_import", _GAUGES)
    register = _Register(line)
    listed = [Quarter(*row[:3], register.kwh(row[0])) for row in rows]
    without = not any(row[3] for row in rows)
    return Read(listed, line.settled(end) or (end if without else None))


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


def read_official(cursor: Any, device_id: str, start: datetime, end: datetime) -> Peak | None:
    """What the meter itself says of a month."""
    around = {"ending": end - QUARTER, "ended": end + 2 * QUARTER}
    values = {"device_id": device_id, "start": start, "end": end, **around}
    found: list[tuple] = []
    for told in _TOLD:
        cursor.execute(_OFFICIAL.format(told=told), values)
        found += cursor.fetchall()
    if not found:
        return None
    watts, _, peak_ts = min(found, key=lambda row: (-row[0], row[1]))
    return Peak(Fraction(watts), peak_ts, "official")


def highest(quarters: Iterable[Quarter], now: datetime) -> Quarter | None:
    """The highest closed quarter that was covered well as sampled, the earliest of equals; else
    the highest of all."""
    listed = list(quarters)
    trusted = [quarter for quarter in listed if quarter.is_trusted(now)]
    return max(trusted or listed, key=lambda quarter: quarter.sampled_w, default=None)


def highest_by_register(quarters: Iterable[Quarter], now: datetime) -> Quarter | None:
    """The highest closed quarter that was covered well by its register, the earliest of equals."""
    known = [one for one in quarters if one.register_kwh is not None and one.is_trusted(now)]
    return max(known, key=lambda quarter: quarter.register_kwh, default=None)


def peaks(official: Peak | None, listed: list[Quarter], now: datetime) -> Peaks:
    """The highest of a month's quarters, beside the meter's own."""
    register, sampled = highest_by_register(listed, now), highest(listed, now)
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
