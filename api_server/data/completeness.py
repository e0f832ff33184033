"""How complete the samples of a local day are: its gaps, found by the database."""

from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from api_server.config import Settings
from api_server.data import periods
from api_server.data.database import Store
from api_server.data.periods import EARLIEST_YEAR, LATEST_YEAR
from api_server.devices import Device
from edge_agent.shared.samples import KINDS

GAP_INTERVALS = 3  # neighbours that are further apart have a gap between them

_FIRST = "SELECT ts FROM {kind}_samples WHERE device_id = %s ORDER BY ts LIMIT 1"
# Neighbours from the day's beginning to its end: two arrays side by side, because a window takes
# twice as long for 86,400 samples.
_GAPS = """
WITH times AS MATERIALIZED (
    SELECT %(start)s || ARRAY(
        SELECT ts FROM {kind}_samples
        WHERE device_id = %(device_id)s AND ts >= %(start)s AND ts < %(end)s ORDER BY ts
    ) || %(end)s AS known
)
SELECT cardinality(known) - 2, ARRAY(
    SELECT ARRAY[before, ts] FROM (
        SELECT unnest(known) AS before, unnest(known[2:]) AS ts
    ) AS neighbours WHERE ts > before + %(longest)s
) FROM times
"""


class Day(NamedTuple):
    """The part of a day in which samples are expected, and what there is of them."""

    length: timedelta
    sample_count: int
    gaps: list[list[datetime]]  # from and to


def answer(
    store: Store,
    agent: dict[str, Any] | None,
    device: Device,
    day: date,
    settings: Settings,
    now: datetime,
) -> dict[str, Any]:
    """The completeness of one local day, up to now; `agent` is the report of the device's, if it
    has one."""
    zone = settings.site_timezone
    interval_s = (agent and agent["poll_interval_s"]) or KINDS[device.kind].poll_interval_s
    interval = timedelta(seconds=interval_s)
    found = Day(timedelta(0), 0, [])
    if EARLIEST_YEAR <= day.year <= LATEST_YEAR:
        start, end = periods.midnight(day, zone), periods.midnight(day + timedelta(days=1), zone)
        span = start, min(end, now)
        found = store.run(lambda cursor: _read(cursor, device, span, interval))
    missing = [(end - start - interval).total_seconds() for start, end in found.gaps]
    return {
        "device_id": device.device_id,
        "date": day.isoformat(),
        "timezone": zone.key,
        "interval_s": interval_s,
        "sample_count": found.sample_count,
        "expected_count": found.length // interval,
        "covered_s": _seconds(found.length.total_seconds() - sum(missing)),
        "missing_s": _seconds(sum(missing)),
        "gaps": [
            {
                "from": start.astimezone(zone).isoformat(),
                "to": end.astimezone(zone).isoformat(),
                "missing_s": _seconds(seconds),
            }
            for (start, end), seconds in zip(found.gaps, missing, strict=True)
        ],
        "agent": agent,
    }


def _read(cursor: Any, device: Device, span: tuple[datetime, datetime], interval: timedelta) -> Day:
    """What there is in a span, which begins with the first sample ever if that lies in it."""
    cursor.execute(_sql(_FIRST, device.kind), (device.device_id,))
    first = cursor.fetchone()
    start, end = span
    if first is None or max(start, first[0]) >= end:
        return Day(timedelta(0), 0, [])
    start, longest = max(start, first[0]), GAP_INTERVALS * interval
    values = {"device_id": device.device_id, "start": start, "end": end, "longest": longest}
    cursor.execute(_sql(_GAPS, device.kind), values)
    count, gaps = cursor.fetchone()
    return Day(end - start, count, gaps)


def _seconds(seconds: float) -> float:
    """As whole seconds where they are."""
    return int(seconds) if seconds == int(seconds) else round(seconds, 6)


@cache
def _sql(template: str, kind: str) -> str:
    return template.format(kind=kind)
