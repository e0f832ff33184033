"""Buckets of history: what the rollups say between the edges of a range, and energy across them.

The rollups between two edges are joined to one bucket. For its energies a counter is followed from
its first reading ever, in the widest rollups that there are, to the first one after the range.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.data.counters import Fold, Line, Rule, Span
from api_server.data.periods import QUARTER, after, floor, midnight
from api_server.data.rollup_query import fields_of, query_of
from api_server.data.running_rows import FOR_EVER, Row, Running
from edge_agent.shared.samples import Kind

RESOLUTION = timedelta(microseconds=1)
EVER = datetime.min.replace(tzinfo=UTC)
LEVELS = {
    "quarter": "quarter_hourly",
    "hour": "quarter_hourly",
    "day": "daily",
    "week": "daily",
    "month": "monthly",
}
FINER = {"monthly": "daily", "daily": "quarter_hourly", "quarter_hourly": "samples"}


@dataclass(frozen=True)
class Bucket:
    """What is known of the time between two edges."""

    start: datetime
    end: datetime
    sample_count: int
    gauges: dict[str, float | None]
    energies: dict[str, float | None]


class Stretch(NamedTuple):
    """The rows of a level, or the samples, of some time."""

    level: str
    start: datetime
    end: datetime


# Mostly it is among those that are kept, and no younger ones need be computed.
_FIRST = """
SELECT coalesce((
    SELECT min(bucket) FROM {kind}_read_{level}(%(device)s, %(since)s, least(%(until)s, greatest(
        %(since)s, rollup_start('{unit}', rollup_kept('{kind}', %(device)s, '{unit}'))
    )))
), (SELECT min(bucket) FROM {kind}_read_{level}(%(device)s, %(since)s, %(until)s)))
"""


def read(
    cursor: Any,
    kind: Kind,
    device_id: str,
    edges: list[datetime],
    width: str,
    zone: ZoneInfo,
    still: bool = False,
    energies: Mapping[str, str] | None = None,
    running: Running | None = None,
) -> list[Bucket]:
    """The buckets between the edges (in UTC), oldest first, but not those nothing is known of.

    They are read from rollups of the width, and each edge must be one of theirs. Without samples
    a bucket is there if energy passed in it; `still` adds those of which it is known that none
    did. `energies` names the counters, else they are those of the kind. While it is `running` a
    range is told without gauges, of which less is read then.
    """
    order = kind.rollup.order
    energies = kind.rollup.energies if energies is None else energies
    history = _History(cursor, kind, device_id, zone, tuple(energies.values()))
    if running and edges[0] <= running.now < edges[-1]:
        rows = running.read(history, edges, LEVELS[width])
    else:
        rows = history.read(edges, LEVELS[width])
    lines = [line.energies(edges) for line in history.lines([row.spans for row in rows], edges[-1])]
    found = {row.number: row.told for row in rows}
    buckets = []
    for number, (start, end) in enumerate(pairwise(edges), 1):
        count, *known = found.get(number, (0,))
        gauges = dict(zip(order, known or [None] * len(order), strict=True))
        risen = {name: line[number - 1] for name, line in zip(energies, lines, strict=True)}
        if count or any(risen.values()) or (still and set(risen.values()) != {None}):
            buckets.append(Bucket(start, end, count, gauges, risen))
    return buckets


def follow(
    cursor: Any,
    kind: Kind,
    device_id: str,
    start: datetime,
    end: datetime,
    zone: ZoneInfo,
    counter: str,
    gauges: tuple[str, ...] = (),
) -> tuple[list[tuple], Line]:
    """The quarters between two local midnights, as their start and gauges, and a counter through
    them; of the time before and after, only what is next to it.

    Points of the line are the first and the last reading of each quarter.
    """
    history = _History(cursor, kind, device_id, zone, (counter,))
    quarters, parts = history.quarters(start, end, gauges)
    around = history.read([start, end], "quarter_hourly", inside=False)
    before, after = (
        [row.spans for row in around if (row.number < 0) == early] for early in (True, False)
    )
    [line] = history.lines(before + parts + after, end)
    return quarters, line


def find_needed(cursor: Any, kind: Kind, device_id: str, zone: ZoneInfo) -> list[datetime]:
    """The quarters whose single readings are needed to follow any of the counters."""
    history = _History(
        cursor, kind, device_id, zone, tuple(name.removesuffix("_kwh") for name in kind.counters)
    )
    return history.find_needed()


def find_first(cursor: Any, kind: Kind, device_id: str, width: str) -> datetime | None:
    """A time in the same bucket as a device's first sample; None if there is none."""
    since, until = EVER, FOR_EVER
    for unit in ("month", *(("day",) if width != "month" else ())):
        query = _FIRST.format(kind=kind.name, level=LEVELS[unit], unit=unit)
        cursor.execute(query, {"device": device_id, "since": since, "until": until})
        since = cursor.fetchone()[0]
        if since is None:
            return None
        until = since + timedelta(days=32)
    return since


def energy(
    cursor: Any, kind: Kind, device_id: str, day: date, zone: ZoneInfo
) -> dict[str, float | int | None]:
    """The energies of a local day, by their names in a series, and its sample_count."""
    edges = [midnight(day, zone), midnight(after(day, "day"), zone)]
    for bucket in read(cursor, kind, device_id, edges, "day", zone):
        return {"sample_count": bucket.sample_count, **bucket.energies}
    return {"sample_count": 0, **dict.fromkeys(kind.rollup.energies)}


class _History:
    """What one device tells of some counters; each counter is a column of the rollups."""

    def __init__(
        self, cursor: Any, kind: Kind, device_id: str, zone: ZoneInfo, counters: tuple[str, ...]
    ) -> None:
        self.cursor, self.kind, self.device_id, self.zone = cursor, kind, device_id, zone
        self.counters = counters
        self.rule = Rule(kind.max_power_w, kind.counter_step_kwh)
        self._parts: dict[Stretch, list[list[Span | None]]] = {}

    def read(
        self, edges: list[datetime], level: str, inside: bool = True, until: datetime = FOR_EVER
    ) -> list[Row]:
        """The joined rows of a range and of all that is around it, or these, in order; only with
        what there is `until` a time where quarters meet."""
        around = {n: one for n, one in self._around(edges, level).items() if one.start < until}
        values = {"device": self.device_id, "edges": edges, "since": edges[0]}
        values["until"] = min(edges[-1] if inside else edges[0], until)
        for number, stretch in around.items():
            end = min(stretch.end, until)
            values |= {f"start{number}": stretch.start, f"end{number}": end}
        levels = tuple((number, stretch.level) for number, stretch in around.items())
        return self._rows(edges, level, level, levels, values)

    def read_between(
        self, edges: list[datetime], level: str, since: datetime, until: datetime
    ) -> list[Row]:
        """The same of what there is between such times, of which the first is in the range."""
        values = {"device": self.device_id, "edges": edges, "since": since, "until": until}
        return self._rows(edges, level, "quarter_hourly", (), values)

    def _rows(
        self,
        edges: list[datetime],
        level: str,
        read_level: str,
        around: tuple[tuple[int, str], ...],
        values: dict[str, Any],
    ) -> list[Row]:
        query = query_of(self.kind.name, read_level, self.counters, around)
        self.cursor.execute(query, values)
        stretches, own = self.stretches(edges, level), 1 + len(self.kind.rollup.order)
        return [
            Row(number, tuple(row[:own]), _spans(row[own:], stretches[number]))
            for number, *row in self.cursor.fetchall()
        ]

    def stretches(self, edges: list[datetime], level: str) -> dict[int, Stretch]:
        """What the rows of a range and around it are made of, by number."""
        after = {len(edges): Stretch("daily", edges[-1], FOR_EVER)}
        inside = dict(enumerate((Stretch(level, *span) for span in pairwise(edges)), 1))
        return after | inside | self._around(edges, level)

    def _around(self, edges: list[datetime], level: str) -> dict[int, Stretch]:
        """The other days of the months of a range, and all other months, by number."""
        first, last = (at.astimezone(self.zone).date() for at in (edges[0], edges[-1] - RESOLUTION))
        begin = midnight(floor(first, "month"), self.zone)
        end = midnight(after(floor(last, "month"), "month"), self.zone)
        parts = {
            -2: Stretch("monthly", EVER, begin),
            -1: Stretch("daily", begin, edges[0]),
            len(edges): Stretch("daily", edges[-1], end),
            len(edges) + 1: Stretch("monthly", end, FOR_EVER),
        }
        return {number: part for number, part in parts.items() if part.start < part.end}

    def quarters(
        self, start: datetime, end: datetime, gauges: tuple[str, ...]
    ) -> tuple[list[tuple], list[list[Span | None]]]:
        """The quarters of a range: start and gauges of each, and the spans of its counters."""
        names = ", ".join(("bucket", *gauges, *map(fields_of, self.counters)))
        table = f"{self.kind.name}_read_quarter_hourly(%s, %s, %s)"
        query = f"SELECT {names} FROM {table} ORDER BY bucket"  # noqa: S608
        self.cursor.execute(query, (self.device_id, start, end))
        rows, own = self.cursor.fetchall(), 1 + len(gauges)
        spans = [_spans(row[own:], self._part("quarter_hourly", row[0])) for row in rows]
        return [row[:own] for row in rows], spans

    def lines(self, spans: list[list[Span | None]], until: datetime) -> Iterator[Line]:
        """Each counter followed through the spans, to its first reading that is not before."""
        for index in range(len(self.counters)):
            fold = Fold(self.rule, partial(self._parts_of, index))
            for row in spans:
                if row[index] and not (fold.line.times and fold.line.times[-1] >= until):
                    fold.feed(row[index])
            yield fold.line

    def find_needed(self) -> list[datetime]:
        """The quarters whose samples are read when all counters are followed to their ends."""
        months = self.parts(Stretch("monthly", EVER, FOR_EVER))
        for index in range(len(self.counters)):
            fold = Fold(self.rule, partial(self._parts_of, index))
            for row in months:
                if row[index]:
                    fold.feed(row[index])
            fold.settle()
        return [stretch.start for stretch in self._parts if stretch.level == "samples"]

    def _parts_of(self, index: int, stretch: Stretch) -> Iterator[Span]:
        """The spans of one counter in a stretch."""
        return (row[index] for row in self.parts(stretch) if row[index])

    def parts(self, stretch: Stretch) -> list[list[Span | None]]:
        """The rows of a stretch one by one, as a span of each counter."""
        if stretch not in self._parts:
            table = f"{self.kind.name}_read_{stretch.level}(%(device)s, %(start)s, %(end)s)"
            columns = ", ".join(map(fields_of, self.counters))
            query = f"SELECT bucket, {columns} FROM {table} ORDER BY bucket"  # noqa: S608
            if stretch.level == "samples":
                query = self._samples_query()
            span = {"start": stretch.start, "end": stretch.end}
            self.cursor.execute(query, {"device": self.device_id, **span})
            self._parts[stretch] = [
                _spans(row, self._part(stretch.level, at)) for at, *row in self.cursor.fetchall()
            ]
        return self._parts[stretch]

    def _part(self, level: str, start: datetime) -> Stretch | None:
        """What a row is made of."""
        if level == "samples":
            return None
        if level == "quarter_hourly":
            return Stretch("samples", start, start + QUARTER)
        day = start.astimezone(self.zone).date()
        end = midnight(after(day, "day" if level == "daily" else "month"), self.zone)
        return Stretch(FINER[level], start, end)

    def _samples_query(self) -> str:
        columns = ", ".join(f"{one}_kwh" for one in self.counters)
        spans = ", ".join(f"{one}_kwh, ts, {one}_kwh, ts, 0" for one in self.counters)
        both = " UNION ".join(
            f"SELECT ts, {columns} FROM {self.kind.name}_{table}"  # noqa: S608
            " WHERE device_id = %(device)s AND ts >= %(start)s AND ts < %(end)s"
            for table in ("samples", "kept_readings")
        )
        return f"SELECT ts, {spans} FROM ({both}) AS reading ORDER BY ts"  # noqa: S608


def _spans(values: Iterable[Any], parts: Stretch | None) -> list[Span | None]:
    """Columns of spans, each of five values, None where a counter is not known."""
    values = list(values)
    groups = (values[at : at + 5] for at in range(0, len(values), 5))
    return [Span(*group, parts) if group[0] is not None else None for group in groups]
