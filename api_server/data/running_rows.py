"""The joined rows of a range that runs: what its closed quarters say is read only once."""

from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from api_server.data.cache import Cache
from api_server.data.closed import ROWS, Closed
from api_server.data.counters import Rule, Span
from api_server.data.periods import QUARTER

FOR_EVER = datetime.max.replace(tzinfo=UTC)


class Row(NamedTuple):
    """What is joined of a bucket by number, or of some time around: sample_count and gauges, and
    a span of each counter."""

    number: int
    told: tuple
    spans: list[Span | None]


class History(Protocol):
    """Reads the rows of a device; all of those until a time, or what there is of them between two
    times."""

    device_id: str
    counters: tuple[str, ...]
    rule: Rule

    def read(
        self, edges: list[datetime], level: str, inside: bool = True, until: datetime = FOR_EVER
    ) -> list[Row]: ...

    def read_between(
        self, edges: list[datetime], level: str, since: datetime, until: datetime
    ) -> list[Row]: ...

    def stretches(self, edges: list[datetime], level: str) -> dict[int, Any]: ...


# The five of each span, without its parts.
_Kept = tuple[int, int, list[tuple[float, datetime, float, datetime, int] | None]]
_CLOSED = {name: Closed(f"rows:{name}", list[_Kept], QUARTER) for name in ROWS}


class Running(NamedTuple):
    """Where the rows of a frame are kept, and the moment in which they are asked for."""

    cache: Cache
    frame: str  # one of ROWS
    now: datetime

    def read(self, history: History, edges: list[datetime], level: str) -> list[Row]:
        """The rows of a range, and of all that is around it; gauges are unknown."""

        def extend(known: list[_Kept], since: datetime, until: datetime) -> list[_Kept]:
            if since == edges[0]:
                return _kept(history.read(edges, level, until=until))
            more = _kept(history.read_between(edges, level, since, until))
            return _join(history.rule, known, more)

        of = [edges[0], edges[-1], level, *history.counters]
        closed = _CLOSED[self.frame]
        known, until = closed.read(self.cache, history.device_id, of, self.now, [], extend)
        stretches = history.stretches(edges, level)
        return [
            Row(number, (count,), [one and Span(*one, stretches[number]) for one in spans])
            for number, count, spans in extend(known, until, FOR_EVER)
        ]


def _kept(rows: list[Row]) -> list[_Kept]:
    return [(row.number, row.told[0], [one and one[:5] for one in row.spans]) for row in rows]


def _join(rule: Rule, known: list[_Kept], more: list[_Kept]) -> list[_Kept]:
    """The same with rows of later times."""
    rows = {row[0]: row for row in known}
    for number, count, spans in more:
        _, so_far, before = rows.get(number, (number, 0, [None] * len(spans)))
        joined = [
            rule.join(Span(*one), Span(*later))[:5] if one and later else one or later
            for one, later in zip(before, spans, strict=True)
        ]
        rows[number] = number, so_far + count, joined
    return [rows[number] for number in sorted(rows)]
