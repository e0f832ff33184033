"""How complete the samples of a local day are: its gaps, found by the database."""

from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from api_server.config import Settings
from api_server.data import periods
from api_server.data.agents import Agents
from api_server.data.database import Store
from api_server.data.periods import EARLIEST_YEAR, LATEST_YEAR
from api_server.devices import Device
from edge_agent.shared.samples import KINDS

GAP_INTERVALS = 3  # neighbours that are further apart have a gap between them

_FIRST = "SELECT ts FROM {kind}_samples WHERE device_id = %s ORDER BY ts LIMIT 1"
# Each sample with the one before; before the first comes the day's beginning.
_GAPS = """
SELECT count(*), max(ts), array_agg(ARRAY[before, ts]) FILTER (WHERE ts - before > %(longest)s)
FROM (
    SELECT ts, lag(ts, 1, %(start)s) OVER (ORDER BY ts) AS before FROM {kind}_samples
    WHERE device_id = %(device_id)s AND ts >= %(start)s AND ts < %(end)s
) AS neighbours
"""


class Day(NamedTuple):
    """The part of a day in which samples are expected, and what there is of them."""

    length: timedelta
    sample_count: int
    gaps: list[tuple[datetime, datetime]]


def answer(
    store: Store, agents: Agents, device: Device, day: date, settings: Settings, now: datetime
) -> dict[str, Any]:
    """The completeness of one local day, up to now."""
    zone = settings.site_timezone
    agent = agents.read([device.device_id]).get(device.device_id)
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
    count, last, found = cursor.fetchone()
    gaps = [(before, after) for before, after in found or ()]
    if end - (last or start) > longest:
        gaps.append((last or start, end))
    return Day(end - start, count, gaps)


def _seconds(seconds: float) -> float:
    """As whole seconds where they are."""
    return int(seconds) if seconds == int(seconds) else round(seconds, 6)


@cache
def _sql(template: str, kind: str) -> str:
    return template.format(kind=kind)
