"""The quarters of a local month: power as sampled, as the register has it, as the meter says."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from api_server.data import rollups
from api_server.data.counters import Line
from api_server.data.periods import EARLIEST_YEAR, LATEST_YEAR, QUARTER, after, midnight
from edge_agent.shared.samples import P1

MINUTES = 15
TRUSTED_COVERAGE = 0.8
NEAR = timedelta(seconds=60)  # how far from an edge a reading may lie and still tell of it
FLOOR_W = 2500  # the least that a month is billed for

_QUARTERS = """
SELECT bucket, avg_import_power_w, covered_minutes
FROM p1_read_quarter_hourly(%s, %s, %s) ORDER BY bucket
"""
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
    register_w: Fraction | None = None

    @property
    def coverage(self) -> float:
        """The share of its minutes that have a sample."""
        return round(self.minutes / MINUTES, 4)

    def is_trusted(self, now: datetime) -> bool:
        """Whether it is over and was covered well."""
        return self.start + QUARTER <= now and self.minutes >= TRUSTED_COVERAGE * MINUTES


@dataclass(frozen=True, slots=True)
class Peak:
    """A month's highest quarter: watts unrounded, its time (the start; the end if the meter's)."""

    watts: Fraction
    ts: datetime | None
    source: str  # official, register, sampled or meter_history


def bounds(first: date, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """Start and end of the local month that begins on `first`; None where no sample can be."""
    if not EARLIEST_YEAR <= first.year <= LATEST_YEAR:
        return None
    return midnight(first, zone), midnight(after(first, "month"), zone)


def read(
    cursor: Any, device_id: str, start: datetime, end: datetime, zone: ZoneInfo
) -> list[Quarter]:
    """The quarters from start to end that have samples."""
    cursor.execute(_QUARTERS, (device_id, start, end))
    rows = cursor.fetchall()
    register = _Register(rollups.follow(cursor, P1, device_id, start, end, zone, "energy_import"))
    return [Quarter(*row, register.power(row[0])) for row in rows]


class _Register:
    """The import register through a range, and what it says of the power of a quarter.

    The points of its line are the first and the last reading of each quarter: of all those that
    lie near an edge between quarters one of these is the nearest.
    """

    def __init__(self, line: Line):
        self._line = line

    def power(self, start: datetime) -> Fraction | None:
        """The mean of a quarter in W; None unless both edges are known."""
        end = start + QUARTER
        if not (self._is_near(start) and self._is_near(end) and self._line.times[-1] >= end):
            return None
        return Fraction(str(self._line.energy(start, end))) * 4000

    def _is_near(self, edge: datetime) -> bool:
        later = bisect_right(self._line.times, edge)
        near = self._line.times[max(later - 1, 0) : later + 1]
        return any(abs(edge - reading) <= NEAR for reading in near)


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
    known = [one for one in quarters if one.register_w is not None and one.is_trusted(now)]
    return max(known, key=lambda quarter: quarter.register_w, default=None)


def billed(history: Peak | None, quarters: list[Quarter], now: datetime) -> Peak | None:
    """What a month is billed by without the meter's own figure of it: the register's, else what
    the meter's `history` has, else the sampled."""
    quarter = highest_by_register(quarters, now)
    if quarter:
        return Peak(quarter.register_w, quarter.start, "register")
    quarter = highest(quarters, now)
    if history or not quarter:
        return history
    return Peak(Fraction(quarter.sampled_w), quarter.start, "sampled")
