"""What an inverter's strings gave, as the rollups tell it: days, hours and quarters of an hour."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.data.periods import after, midnight
from api_server.data.verdicts import DEAD_PCT, QUARTER, USUAL_DAYS, Day, Quarter, Values, shares
from edge_agent.shared.samples import EARLIEST

COUNTS_S = 300.0  # how long a sample speaks for the time after it
FITTED_W = 10.0  # an input that never gave so much has no panels
WS_PER_KWH = 3.6e6

_DAYS = """
SELECT (bucket AT TIME ZONE %(zone)s)::date, avg_pv_power_w * covered_s / 3.6e6,
    avg_string1_power_w * string1_weight / sample_count * greatest(covered_s, 1) / 3.6e6,
    avg_string2_power_w * string2_weight / sample_count * greatest(covered_s, 1) / 3.6e6,
    max_string1_power_w, max_string2_power_w
FROM sungrow_read_daily(%(device)s, %(since)s, %(until)s) ORDER BY bucket
"""
# Each sample counts until the next, but not for long, and in its own hour.
_HOURS = """
SELECT hour, avg_pv, string1, string2, covered_s + speaks_s FROM (
    SELECT hour, sum(avg_pv_power_w * sample_count) / sum(sample_count) AS avg_pv,
        sum(avg_string1_power_w * string1_weight) / sum(string1_weight) AS string1,
        sum(avg_string2_power_w * string2_weight) / sum(string2_weight) AS string2,
        sum(covered_s::double precision) AS covered_s,
        sum(least(%(counts_s)s, extract(epoch FROM
            least(next_ts, hour + interval '1 hour', greatest(%(now)s, last_ts)) - last_ts
        ))) AS speaks_s
    FROM (
        SELECT *, date_trunc('hour', bucket, %(zone)s) AS hour,
            lead(first_ts) OVER (ORDER BY bucket) AS next_ts
        FROM sungrow_read_quarter_hourly(%(device)s, %(since)s, %(until)s)
    ) AS quarter GROUP BY hour
) AS hours ORDER BY hour
"""
_QUARTERS = """
SELECT bucket, last_ts, avg_string1_power_w, avg_string2_power_w
FROM sungrow_read_quarter_hourly(%(device)s, %(since)s, %(until)s) ORDER BY bucket
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


class Hour(NamedTuple):
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
        tops = [max((row[4 + one] or 0.0 for row in rows), default=0.0) for one in range(2)]
        self.fitted = tuple(one for one, top in enumerate(tops) if top >= FITTED_W)
        self.first = last - USUAL_DAYS
        self.hours = self._read_hours(self.first, last)
        self.days = self._days(rows)

    def hours_before(self, day: date) -> list[Hour]:
        """The hours of the 30 days before a day, which may lie far back."""
        since = day - USUAL_DAYS
        return self.hours if since >= self.first else self._read_hours(since, day)

    def quarters(self, first: date, last: date) -> Iterator[Quarter]:
        """The quarters of some days."""
        for start, last_ts, *powers in self._ask(_QUARTERS, first, last):
            local, end = start.astimezone(self._zone), start + QUARTER
            end = end if end <= self._now else last_ts
            yield Quarter(start, end, local.date(), local.hour, self._of_fitted(powers))

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
        values = {
            "device": self._device_id,
            "since": midnight(first, self._zone),
            "until": midnight(after(last, "day"), self._zone),
            "zone": self._zone.key,
            "now": self._now,
            "counts_s": COUNTS_S,
        }
        self._cursor.execute(query, values)
        return self._cursor.fetchall()

    def _of_fitted(self, values: Sequence[float | None]) -> Values:
        if len(self.fitted) == len(values):  # as usual
            return tuple(values)
        return tuple(values[one] for one in self.fitted)

    def _read_hours(self, first: date, last: date) -> list[Hour]:
        hours = []
        for start, pv_w, *powers, covered_s in self._ask(_HOURS, first, last):
            local, covered_s = start.astimezone(self._zone), float(covered_s)
            pv_kwh = pv_w * covered_s / WS_PER_KWH
            both = self._of_fitted(powers)
            hours.append(Hour(start, local.date(), local.hour, covered_s, pv_kwh, both))
        return hours

    def _days(self, rows: list[tuple]) -> list[Day]:
        """The days; of those whose hours are known exactly what these add up to."""
        exact: dict[date, list[Hour]] = defaultdict(list)
        for hour in self.hours:
            exact[hour.date].append(hour)
        running = self._now.astimezone(self._zone).date()
        days = []
        for day, pv_kwh, *values in rows:
            kwh, top_w = self._of_fitted(values[:2]), self._of_fitted(values[2:])
            if known := [hour.kwh for hour in exact.get(day, ()) if None not in hour.power_w]:
                pv_kwh = sum(hour.pv_kwh for hour in exact[day])
                kwh = tuple(map(sum, zip(*known, strict=True)))
            days.append(Day(day, day < running, pv_kwh, kwh, top_w, shares(kwh)))
        return days
