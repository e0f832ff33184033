"""The SQL of buckets and energies, on every kind of database, and how gaps are bridged.

A range is given by its edges. The rollups between two edges are joined to one bucket; what they
know of a counter becomes a line of readings, from the one before the range to the one after it,
and a bucket's energy is what the line rises between its edges.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from api_server.data.periods import after, floor, midnight
from edge_agent.shared.samples import Kind

RESOLUTION = timedelta(microseconds=1)
LEVELS = {"hour": "quarter_hourly", "day": "daily", "week": "daily", "month": "monthly"}


@dataclass(frozen=True)
class Bucket:
    """What is known of the time between two edges."""

    start: datetime
    end: datetime
    sample_count: int
    gauges: dict[str, float | None]
    energies: dict[str, float | None]


# The rows of a range, and around it the few that hold the readings next to it.
_RANGE = """
    SELECT bucket, sample_count, {weighed_columns}, {counters} FROM {kind}_{level}
    WHERE device_id = %(device)s AND bucket >= %(since)s AND bucket < %(until)s
"""
_AROUND = {
    # The nearest quarters that know a counter.
    "views": "SELECT * FROM {kind}_around(%(device)s, %(since)s, %(until)s)",
    # The other days of the range's months, and all other months.
    "continuous aggregates": """
        SELECT bucket, {counters} FROM {kind}_monthly
        WHERE device_id = %(device)s AND NOT (bucket >= %(month)s AND bucket < %(month_end)s)
        UNION ALL
        SELECT bucket, {counters} FROM {kind}_daily
        WHERE device_id = %(device)s AND bucket >= %(month)s AND bucket < %(month_end)s
            AND NOT (bucket >= %(since)s AND bucket < %(until)s)
    """,
}
_WITH_AROUND = """
    {range} UNION ALL
    SELECT bucket, 0, {no_weighed_columns}, {counters} FROM ({around}) AS around
"""
_QUERY = """
WITH part AS ({part}), joined AS (
    SELECT width_bucket(bucket, %(edges)s::timestamptz[]) AS number,
        sum(sample_count)::bigint AS sample_count, {averages}, {sums}
    FROM part GROUP BY 1
)
SELECT number, sample_count, {order}, {lines}
FROM joined WINDOW so_far AS (ORDER BY number) ORDER BY number
"""
# How far the readings next to a range are looked for in the same rollup, before all are asked.
_MARGIN = {"quarter_hourly": timedelta(days=1), "daily": timedelta(days=31)}
_FIRST = "SELECT min(ts) FROM {kind}_samples WHERE device_id = %(device)s"
_FIRST_MONTH = "SELECT min(bucket) FROM {kind}_monthly WHERE device_id = %(device)s"
_FIRST_DAY = f"""
SELECT min(bucket) FROM {{kind}}_daily WHERE device_id = %(device)s
    AND bucket < ({_FIRST_MONTH}) + interval '32 days'
"""  # noqa: S608


def read(
    cursor: Any,
    kind: Kind,
    device_id: str,
    edges: list[datetime],
    width: str,
    zone: ZoneInfo,
    still: bool = False,
) -> list[Bucket]:
    """The buckets between the edges (in UTC), oldest first, but not those nothing is known of.

    They are read from rollups of the width, and each edge must be one of theirs. Without samples
    a bucket is there if energy passed in it; `still` adds those of which it is known that none did.
    """
    made = _made_of(cursor)
    # Views compute every width from the quarters, which alone are found by an index.
    level = LEVELS["hour" if made == "views" else width]
    if made == "views":
        rows = _read_with_around(cursor, kind, device_id, edges, level, made, zone)
    else:
        values = {"device": device_id, "edges": edges, **_widened(edges, level)}
        rows = _fetch(cursor, _query(kind, level), values)
        cut_off = _find_cut_off(kind, rows, edges) if level in _MARGIN else []
        if cut_off and _is_known(cursor, kind, device_id, cut_off):
            rows = _read_with_around(cursor, kind, device_id, edges, level, made, zone)
    rollup = kind.rollup
    split = 2 + len(rollup.order)
    found = {row[0]: row for row in rows}
    lines = {
        name: _Line([row[split + 3 * index : split + 3 * index + 3] for row in rows])
        for index, name in enumerate(rollup.energies)
    }
    buckets = []
    for number, (start, end) in enumerate(pairwise(edges), 1):
        row = found.get(number, (number, 0, *(None for _ in rollup.order)))
        energies = {name: line.energy(start, end) for name, line in lines.items()}
        if row[1] or any(energies.values()) or (still and set(energies.values()) != {None}):
            gauges = dict(zip(rollup.order, row[2:split], strict=True))
            buckets.append(Bucket(start, end, row[1], gauges, energies))
    return buckets


def find_first(cursor: Any, kind: Kind, device_id: str, width: str) -> datetime | None:
    """A time in the same bucket as a device's first sample; None if there is none."""
    query = _FIRST
    if _made_of(cursor) != "views":
        query = _FIRST_MONTH if width == "month" else _FIRST_DAY
    cursor.execute(query.format(kind=kind.name), {"device": device_id})
    return cursor.fetchone()[0]


def energy(
    cursor: Any, kind: Kind, device_id: str, day: date, zone: ZoneInfo
) -> dict[str, float | int | None]:
    """The energies of a local day, by their names in a series, and its sample_count."""
    edges = [midnight(day, zone), midnight(after(day, "day"), zone)]
    for bucket in read(cursor, kind, device_id, edges, "day", zone):
        return {"sample_count": bucket.sample_count, **bucket.energies}
    return {"sample_count": 0, **dict.fromkeys(kind.rollup.energies)}


def _made_of(cursor: Any) -> str:
    """What the rollups of this database are: views or continuous aggregates."""
    cursor.execute("SELECT value FROM schema_settings WHERE name = 'rollups'")
    return cursor.fetchone()[0]


def _fetch(cursor: Any, query: str, values: dict[str, Any]) -> list[tuple]:
    cursor.execute(query, values)
    return cursor.fetchall()


def _widened(edges: list[datetime], level: str) -> dict[str, Any]:
    """A range with a margin; months are few enough to be read all."""
    if level not in _MARGIN:
        return {"since": "-infinity", "until": "infinity"}
    return {"since": edges[0] - _MARGIN[level], "until": edges[-1] + _MARGIN[level]}


def _read_with_around(
    cursor: Any,
    kind: Kind,
    device_id: str,
    edges: list[datetime],
    level: str,
    made: str,
    zone: ZoneInfo,
) -> list[tuple]:
    first, last = (edge.astimezone(zone).date() for edge in (edges[0], edges[-1] - RESOLUTION))
    values = {
        "device": device_id,
        "edges": edges,
        "since": edges[0],
        "until": edges[-1],
        "month": midnight(floor(first, "month"), zone),
        "month_end": midnight(after(floor(last, "month"), "month"), zone),
    }
    return _fetch(cursor, _query(kind, level, made), values)


def _find_cut_off(kind: Kind, rows: list[tuple], edges: list[datetime]) -> list[str]:
    """Counters without a reading before the range, or after it if it is over."""
    needed = [0, len(edges)] if edges[-1] <= datetime.now(UTC) else [0]
    found = {row[0]: row for row in rows}
    rollup = kind.rollup
    split = 2 + len(rollup.order)
    return [
        counter
        for index, counter in enumerate(rollup.energies.values())
        if any(number not in found or not found[number][split + 3 * index] for number in needed)
    ]


def _is_known(cursor: Any, kind: Kind, device_id: str, counters: list[str]) -> bool:
    """Whether a device has ever told one of the counters."""
    known = " OR ".join(f"{counter} IS NOT NULL" for counter in counters)
    query = f"SELECT bool_or({known}) FROM {kind.name}_monthly WHERE device_id = %s"  # noqa: S608
    cursor.execute(query, (device_id,))
    return bool(cursor.fetchone()[0])


def _query(kind: Kind, level: str, around: str | None = None) -> str:
    """The SQL of a range, with the rows around it as they are found in such a database."""
    rollup = kind.rollup
    weights = sorted(set(rollup.averages.values()) - {"sample_count"})
    weighed = [*rollup.order, *weights]
    averages = [
        f"sum({name} * {weight}) / nullif(sum({weight}), 0) AS {name}"
        for name, weight in rollup.averages.items()
    ]
    rule = f"{kind.max_power_w}, {kind.counter_step_kwh}"
    counters = rollup.energies.values()
    names = {
        "kind": kind.name,
        "level": level,
        "weighed_columns": ", ".join(weighed),
        "no_weighed_columns": ", ".join("NULL" for _ in weighed),
        "counters": ", ".join(counters),
    }
    part = _RANGE.format(**names)
    if around:
        part = _WITH_AROUND.format(range=part, around=_AROUND[around].format(**names), **names)
    return _QUERY.format(
        part=part,
        averages=", ".join([*averages, *(f"max({name}) AS {name}" for name in rollup.maxima)]),
        sums=", ".join(f"counter_sum({one}, {rule} ORDER BY bucket) AS {one}" for one in counters),
        order=", ".join(rollup.order),
        lines=", ".join(
            f"({one}).first_ts, ({one}).last_ts, "
            f"ARRAY[({one}).kwh, (counter_sum({one}, {rule}) OVER so_far).kwh]"
            for one in counters
        ),
    )


class _Line:
    """A counter as it would read if it had never fallen or jumped, starting from 0.

    `spans` are, for each bucket in order, the times of the first and the last reading in it, and
    a pair of the energy between these and that since the first reading of all.
    """

    def __init__(self, spans: list[tuple[datetime, datetime, list[float]]]):
        self.times: list[datetime] = []
        self.kwh: list[float] = []
        for first_ts, last_ts, (inside, so_far) in spans:
            if first_ts is not None:
                self.times += [first_ts, last_ts]
                self.kwh += [so_far - inside, so_far]

    def energy(self, start: datetime, end: datetime) -> float | None:
        """What it rises from start to end, None where it is not known."""
        if not self.times or end <= self.times[0] or start > self.times[-1]:
            return None
        return max(0.0, round(self._at(end) - self._at(start), 6))

    def _at(self, time: datetime) -> float:
        after = bisect_right(self.times, time)
        if after in (0, len(self.times)):
            return self.kwh[0 if after == 0 else -1]
        earlier, later = self.times[after - 1], self.times[after]
        share = (time - earlier) / (later - earlier)
        return self.kwh[after - 1] + share * (self.kwh[after] - self.kwh[after - 1])
