"""The quarters of a local month: power as sampled, as the register has it, as the meter says."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from api_server.data.periods import QUARTER, after, midnight
from edge_agent.shared.samples import P1

MINUTES = 15
TRUSTED_COVERAGE = 0.8
NEAR = timedelta(seconds=60)  # how far from an edge a reading may lie and still tell of it
EARLIEST_YEAR, LATEST_YEAR = 2020, 2200  # no sample lies outside
FLOOR_W = 2500  # the least that a month is billed for

# With a quarter on either side, which have the readings next to the edges of the month.
_QUARTERS = """
SELECT bucket, avg_import_power_w, covered_minutes, (energy_import).first_ts,
    (energy_import).last_ts, (energy_import).kwh,
    (counter_sum(energy_import, %(most_w)s, %(tick_kwh)s)
        OVER (ORDER BY bucket)).kwh
FROM p1_quarter_hourly
WHERE device_id = %(device_id)s AND bucket >= %(since)s AND bucket < %(until)s ORDER BY bucket
"""
_LATER = """
SELECT ts FROM p1_samples
WHERE device_id = %(device_id)s AND ts >= %(until)s AND energy_import_kwh IS NOT NULL
ORDER BY ts LIMIT 1
"""
# The meter's time of a peak is its quarter's end, give or take some seconds. The last one of a
# month is told after its end, maybe for seconds only: a meter that begins its next month may tell
# 0 W for that same moment, or a little for a quarter of the old one. A meter may be replaced, so
# the last one told counts; but around the end, where every reading is looked at, only what is
# higher than that.
_OFFICIAL = """
WITH told AS (
    SELECT bucket AS ts, bucket, official_peak_w AS watts, official_peak_ts AS peak_ts
    FROM p1_quarter_hourly
    WHERE device_id = %(device_id)s AND bucket >= %(start)s AND bucket < %(end)s + interval '1 day'
        AND NOT (bucket >= %(ending)s AND bucket < %(ended)s)
    UNION ALL
    SELECT ts, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z'),
        monthly_power_peak_w, monthly_power_peak_ts
    FROM p1_samples WHERE device_id = %(device_id)s AND ts >= %(ending)s AND ts < %(ended)s
), of_month AS (
    SELECT ts, watts, peak_ts FROM told, LATERAL (SELECT date_bin('15 minutes',
        coalesce(peak_ts, bucket + interval '15 minutes') + interval '7.5 minutes',
        '2020-01-01T00:00:00Z') AS quarter_end) AS peak
    WHERE watts IS NOT NULL AND quarter_end > %(start)s AND quarter_end <= %(end)s
)
SELECT watts, peak_ts FROM (
    (SELECT * FROM of_month WHERE ts < %(ending)s ORDER BY ts DESC LIMIT 1)
    UNION ALL
    SELECT * FROM of_month WHERE ts >= %(ending)s AND watts > 0
) AS candidate ORDER BY watts DESC, ts LIMIT 1
"""


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


def read(cursor: Any, device_id: str, start: datetime, end: datetime) -> list[Quarter]:
    """The quarters from start to end that have samples."""
    values = {
        "device_id": device_id,
        "since": start - QUARTER,
        "until": end + QUARTER,
        "most_w": P1.max_power_w,
        "tick_kwh": P1.counter_step_kwh,
    }
    cursor.execute(_QUARTERS, values)
    rows = cursor.fetchall()
    line = _Line(rows)
    if line.ends_before(end):
        cursor.execute(_LATER, values)
        line.goes_on = cursor.fetchone() is not None
    return [
        Quarter(row[0], row[1], row[2], line.power(row[0])) for row in rows if start <= row[0] < end
    ]


class _Line:
    """The import register through a range, and what it says of the power of a quarter.

    Its readings are the first and the last of each quarter: of all those that lie near an edge
    between quarters one of these is the nearest.
    """

    def __init__(self, rows: list[tuple]):
        self._times: list[datetime] = []
        self._kwh: list[float] = []
        self.goes_on = False  # there is a reading after the range
        for _, _, _, first_ts, last_ts, inside, so_far in rows:
            if first_ts is not None:
                self._times += [first_ts, last_ts]
                self._kwh += [so_far - inside, so_far]

    def ends_before(self, end: datetime) -> bool:
        """Whether the last reading lies near before an end, so that a later one decides."""
        return bool(self._times) and end - NEAR <= self._times[-1] < end

    def power(self, start: datetime) -> Fraction | None:
        """The mean of a quarter in W; None unless both edges are known."""
        end = start + QUARTER
        at_start, at_end = self._at(start), self._at(end)
        if at_start is None or at_end is None:
            return None
        if self._times[-1] < end and not self.goes_on:
            return None
        return max(Fraction(0), Fraction(str(round(at_end - at_start, 6))) * 4000)

    def _at(self, edge: datetime) -> float | None:
        """The register at an edge; None unless a reading lies near."""
        later = bisect_right(self._times, edge)
        near = self._times[max(later - 1, 0) : later + 1]
        if not any(abs(edge - reading) <= NEAR for reading in near):
            return None
        if later in (0, len(self._times)):
            return self._kwh[0 if later == 0 else -1]
        before, after_ = self._times[later - 1], self._times[later]
        share = (edge - before) / (after_ - before)
        return self._kwh[later - 1] + share * (self._kwh[later] - self._kwh[later - 1])


def read_official(cursor: Any, device_id: str, start: datetime, end: datetime) -> Peak | None:
    """What the meter itself says of a month."""
    around = {"ending": end - QUARTER, "ended": end + 2 * QUARTER}
    cursor.execute(_OFFICIAL, {"device_id": device_id, "start": start, "end": end, **around})
    row = cursor.fetchone()
    return Peak(Fraction(row[0]), row[1], "official") if row else None


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
