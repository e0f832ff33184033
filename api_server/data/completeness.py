"""How complete the samples of a local day are: its gaps, found by the database."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import cache as once
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.data import periods
from api_server.data.cache import Cache
from api_server.data.closed import Closed
from api_server.data.database import Store
from api_server.data.periods import EARLIEST_YEAR, LATEST_YEAR
from api_server.devices import Device
from edge_agent.shared.samples import KINDS

GAP_INTERVALS = 3  # neighbours that are further apart have a gap between them

_FIRST = "SELECT ts FROM {kind}_samples WHERE device_id = %s ORDER BY ts LIMIT 1"
# Neighbours from the last sample before, or the day's beginning: two arrays side by side, because a
# window takes twice as long for 86,400 samples.
_GAPS = """
WITH times AS MATERIALIZED (
    SELECT %(last)s || ARRAY(
        SELECT ts FROM {kind}_samples
        WHERE device_id = %(device_id)s AND ts >= %(since)s AND ts < %(until)s ORDER BY ts
    ) AS known
)
SELECT cardinality(known) - 1, known[cardinality(known)], ARRAY(
    SELECT ARRAY[before, ts] FROM (
        SELECT unnest(known) AS before, unnest(known[2:]) AS ts
    ) AS neighbours WHERE ts > before + %(longest)s
) FROM times
"""

Gap = tuple[datetime, datetime]  # from and to


class Seen(NamedTuple):
    """What there is of a day in which samples are expected, up to the last of them."""

    begin: datetime
    last: datetime  # the beginning without any
    sample_count: int
    gaps: list[Gap]


_CLOSED = Closed("gaps", Seen | None)


class Day(NamedTuple):
    """The part of a day in which samples are expected, and what there is of them."""

    interval: timedelta
    length: timedelta = timedelta(0)
    sample_count: int = 0
    gaps: Sequence[Gap] = ()

    def numbers(self) -> dict[str, float]:
        """What is counted of it."""
        lengths = [end - start for start, end in self.gaps]
        missing = sum(lengths, timedelta(0)) - len(lengths) * self.interval
        return {
            "sample_count": self.sample_count,
            "expected_count": self.length // self.interval,
            "covered_s": _seconds(self.length - missing),
            "missing_s": _seconds(missing),
        }

    def missing(self, gap: Gap) -> timedelta:
        """How much of a gap nothing is known of."""
        return gap[1] - gap[0] - self.interval

    def tell(self, gap: Gap, zone: ZoneInfo) -> dict[str, Any]:
        """A gap as it is answered."""
        start, end = (time.astimezone(zone).isoformat() for time in gap)
        return {"from": start, "to": end, "missing_s": _seconds(self.missing(gap))}


def answer(
    store: Store,
    cache: Cache,
    agent: dict[str, Any] | None,
    device: Device,
    day: date,
    zone: ZoneInfo,
    now: datetime,
) -> dict[str, Any]:
    """The completeness of one local day, up to now; `agent` is the report of the device's, if it
    has one."""
    found = read(store, cache, agent, device, day, zone, now)
    return {
        "device_id": device.device_id,
        "date": day.isoformat(),
        "timezone": zone.key,
        "interval_s": _interval_s(agent, device),
        **found.numbers(),
        "gaps": [found.tell(gap, zone) for gap in found.gaps],
        "agent": agent,
    }


def read(
    store: Store,
    cache: Cache,
    agent: dict[str, Any] | None,
    device: Device,
    day: date,
    zone: ZoneInfo,
    now: datetime,
) -> Day:
    """What there is of one local day, up to now."""
    interval_s = _interval_s(agent, device)
    interval = timedelta(seconds=interval_s)
    if not EARLIEST_YEAR <= day.year <= LATEST_YEAR:
        return Day(interval)
    start, end = periods.midnight(day, zone), periods.midnight(day + timedelta(days=1), zone)
    longest = GAP_INTERVALS * interval

    def extend(seen: Seen | None, since: datetime, until: datetime) -> Seen | None:
        return store.run(lambda cursor: _extend(cursor, device, seen, (since, until), longest))

    if start <= now < end:
        of = [start, interval_s]
        seen, closed = _CLOSED.read(cache, device.device_id, of, now, None, extend)
    else:
        seen, closed = None, start
    end = min(end, now)
    seen = extend(seen, closed, end)
    if seen is None:
        return Day(interval)
    gaps = seen.gaps if end - seen.last <= longest else [*seen.gaps, (seen.last, end)]
    return Day(interval, end - seen.begin, seen.sample_count, gaps)


def _interval_s(agent: dict[str, Any] | None, device: Device) -> float:
    return (agent and agent["poll_interval_s"]) or KINDS[device.kind].poll_interval_s


def _extend(
    cursor: Any,
    device: Device,
    seen: Seen | None,
    span: tuple[datetime, datetime],
    longest: timedelta,
) -> Seen | None:
    """What there is with the samples of a span, which begins with the first sample ever if that
    lies in it; None before that."""
    since, until = span
    if seen is None:
        cursor.execute(_sql(_FIRST, device.kind), (device.device_id,))
        first = cursor.fetchone()
        if first is None or max(since, first[0]) >= until:
            return None
        since = max(since, first[0])
        seen = Seen(since, since, 0, [])
    times = {"last": seen.last, "since": since, "until": until, "longest": longest}
    cursor.execute(_sql(_GAPS, device.kind), {"device_id": device.device_id, **times})
    count, last, gaps = cursor.fetchone()
    return Seen(seen.begin, last, seen.sample_count + count, [*seen.gaps, *map(tuple, gaps)])


def _seconds(time: timedelta) -> float:
    """As whole seconds where they are."""
    seconds = time.total_seconds()
    return int(seconds) if seconds == int(seconds) else round(seconds, 6)


@once
def _sql(template: str, kind: str) -> str:
    return template.format(kind=kind)
