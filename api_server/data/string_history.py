"""What an inverter's strings gave, as the rollups tell it: days, hours and quarters of an hour."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.data.periods import after, midnight
from api_server.data.verdicts import DEAD_PCT, QUARTER, USUAL_DAYS, Day, Quarter, Values
from edge_agent.shared.samples import EARLIEST

COUNTS_S = 300.0  # how long a sample speaks for the time after it
FITTED_W = 10.0  # an input that never gave so much has no panels
WS_PER_KWH = 3.6e6
HOUR = timedelta(hours=1)

_DAYS = """
SELECT bucket, avg_pv_power_w * covered_s,
    ARRAY[avg_string1_power_w * string1_weight, avg_string2_power_w * string2_weight],
    sample_count, covered_s, ARRAY[max_string1_power_w, max_string2_power_w]
FROM sungrow_daily WHERE device_id = %s AND bucket >= %s AND bucket < %s ORDER BY bucket
"""
_QUARTERS = """
SELECT bucket, first_ts, last_ts, covered_s, avg_pv_power_w * sample_count, sample_count,
    ARRAY[avg_string1_power_w * string1_weight, avg_string2_power_w * string2_weight],
    ARRAY[string1_weight, string2_weight]
FROM sungrow_quarter_hourly WHERE device_id = %s AND bucket >= %s AND bucket < %s ORDER BY bucket
"""
# The first sample after the last one in which a string gave anything.
_SILENCED = """
SELECT min(ts) FROM sungrow_samples WHERE device_id = %(device)s AND ts <= %(until)s AND ts > (
    SELECT max(ts) FROM sungrow_samples
    WHERE device_id = %(device)s AND ts >= %(since)s AND ts < %(until)s
    AND 100 * mppt{number}_voltage_v * mppt{number}_current_a >= %(least_pct)s * (
        coalesce(mppt1_voltage_v * mppt1_current_a, 0)
        + coalesce(mppt2_voltage_v * mppt2_current_a, 0)
    ) AND mppt{number}_voltage_v * mppt{number}_current_a > 0
)
"""


class _Row(NamedTuple):
    """A quarter of an hour; `sums` of powers over `weights` samples are means."""

    start: datetime
    first_ts: datetime
    last_ts: datetime
    covered_s: float  # from its first sample to its last
    pv_sum: float
    weight: int
    sums: list[float | None]  # of each string
    weights: list[int | None]


@dataclass(frozen=True, slots=True)
class Hour:
    """The mean powers of the strings in an hour of the local clock."""

    start: datetime
    date: date
    hour: int
    covered_s: float
    pv_kwh: float
    power_w: Values

    @property
    def kwh(self) -> Values:
        """The energies of the strings."""
        hours = self.covered_s / WS_PER_KWH
        return tuple(None if power is None else power * hours for power in self.power_w)


class History:
    """The strings of an inverter until the end of a local day.

    `fitted` are those it has, by their index; `days` those with samples, `hours` those of the
    last 31 days.
    """

    def __init__(self, cursor: Any, device_id: str, last: date, zone: ZoneInfo, now: datetime):
        self._cursor, self._device_id = cursor, device_id
        self._zone, self._now = zone, now
        rows = self._ask(_DAYS, EARLIEST.date(), last)
        tops = [max((row[5][one] or 0.0 for row in rows), default=0.0) for one in range(2)]
        self.fitted = tuple(one for one, top in enumerate(tops) if top >= FITTED_W)
        self.first = last - USUAL_DAYS
        self._rows = self._ask_quarters(self.first, last)
        self.hours = list(self._hours(self._rows))
        self.days = self._days(rows)

    def hours_before(self, day: date) -> list[Hour]:
        """The hours of the 30 days before a day, which may lie far back."""
        since = day - USUAL_DAYS
        if since >= self.first:
            return self.hours
        return list(self._hours(self._ask_quarters(since, day)))

    def quarters(self, first: date, last: date) -> list[Quarter]:
        """The quarters of some days, which may lie far back."""
        rows = self._rows if first >= self.first else self._ask_quarters(first, last)
        quarters = map(self._quarter, rows)
        return [quarter for quarter in quarters if first <= quarter.date <= last]

    def silenced(self, string: int, quarter: datetime) -> datetime:
        """When a string fell silent that gives nothing from a quarter on."""
        values = {
            "device": self._device_id,
            "since": quarter - QUARTER,
            "until": quarter + QUARTER,
            "least_pct": DEAD_PCT,
        }
        self._cursor.execute(_SILENCED.format(number=self.fitted[string] + 1), values)
        return self._cursor.fetchone()[0] or quarter

    def _ask(self, query: str, first: date, last: date) -> list[tuple]:
        bounds = midnight(first, self._zone), midnight(after(last, "day"), self._zone)
        self._cursor.execute(query, (self._device_id, *bounds))
        return self._cursor.fetchall()

    def _ask_quarters(self, first: date, last: date) -> list[_Row]:
        return [_Row(*row) for row in self._ask(_QUARTERS, first, last)]

    def _means(self, sums: list[float | None], weights: list[int | None]) -> Values:
        return tuple(sums[one] / weights[one] if weights[one] else None for one in self.fitted)

    def _days(self, rows: list[tuple]) -> list[Day]:
        """The days; of those whose hours are known exactly what these add up to."""
        days = []
        for start, pv_ws, sums, weight, covered_s, tops in rows:
            day = start.astimezone(self._zone).date()
            end = midnight(after(day, "day"), self._zone)
            kwh = tuple(
                None if sums[one] is None else sums[one] / weight * max(covered_s, 1) / WS_PER_KWH
                for one in self.fitted
            )
            top_w = tuple(tops[one] for one in self.fitted)
            days.append(Day(day, end <= self._now, pv_ws / WS_PER_KWH, kwh, top_w))
        exact: dict[date, list[Hour]] = defaultdict(list)
        for hour in self.hours:
            exact[hour.date].append(hour)
        return [_made_exact(day, exact.get(day.date, [])) for day in days]

    def _hours(self, rows: list[_Row]) -> Iterator[Hour]:
        following = [row.first_ts for row in rows[1:]]
        pairs = zip(rows, [*following, self._now], strict=False)
        for (day, number, _), group in groupby(pairs, lambda pair: self._hour_of(pair[0].start)):
            quarters = list(group)
            first = quarters[0][0].start
            start = first - timedelta(minutes=first.astimezone(self._zone).minute)
            covered_s = sum(
                row.covered_s + _speaks_for(row.last_ts, min(next_ts, start + HOUR, self._now))
                for row, next_ts in quarters
            )
            columns = [row for row, _ in quarters]
            sums = [sum(row.sums[one] or 0.0 for row in columns) for one in range(2)]
            weights = [sum(row.weights[one] or 0 for row in columns) for one in range(2)]
            pv_w = sum(row.pv_sum for row in columns) / sum(row.weight for row in columns)
            pv_kwh = pv_w * covered_s / WS_PER_KWH
            yield Hour(start, day, number, covered_s, pv_kwh, self._means(sums, weights))

    def _hour_of(self, start: datetime) -> tuple[date, int, timedelta | None]:
        local = start.astimezone(self._zone)
        return local.date(), local.hour, local.utcoffset()

    def _quarter(self, row: _Row) -> Quarter:
        day, hour, _ = self._hour_of(row.start)
        end = row.start + QUARTER
        end = end if end <= self._now else row.last_ts
        return Quarter(row.start, end, day, hour, self._means(row.sums, row.weights))


def _speaks_for(ts: datetime, until: datetime) -> float:
    """For how many seconds a sample counts that is followed by another, or by the end."""
    return min(max((until - ts).total_seconds(), 0.0), COUNTS_S)


def _made_exact(day: Day, hours: list[Hour]) -> Day:
    """A day with the energies of its hours in which every string is known."""
    known = [hour for hour in hours if None not in hour.power_w]
    if not known:
        return day
    kwh = tuple(map(sum, zip(*(hour.kwh for hour in known), strict=True)))
    return replace(day, pv_kwh=sum(hour.pv_kwh for hour in hours), kwh=kwh)
