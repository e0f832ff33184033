"""The quarter that runs: what it has come to, and what it will."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.config import Settings
from api_server.data.cache import Cache
from api_server.data.capacity import quarters
from api_server.data.capacity.months import local
from api_server.data.capacity.quarters import FLOOR_W, NEAR, Peak
from api_server.data.capacity.register import Reading, follow
from api_server.data.database import Store
from api_server.data.periods import QUARTER, floor
from edge_agent.shared.samples import format_time

QUARTER_S = QUARTER.total_seconds()
BEFORE = timedelta(seconds=120)  # where the last reading before the quarter mostly lies
FAR_BEFORE = timedelta(days=1)  # where it is looked for after a gap
POWER_S = 60.0  # what counts as the power of now
KEPT_S = 300  # how long a month's peak is remembered, if nothing late comes in
LATE = timedelta(seconds=60)

_WINDOW = """
SELECT extract(epoch FROM ts)::double precision, import_power_w, energy_import_kwh,
    monthly_power_peak_w, extract(epoch FROM monthly_power_peak_ts)::double precision
FROM p1_samples WHERE device_id = %s AND ts >= %s AND ts < %s ORDER BY ts
"""
# Some rows, for the newest may not know the register.
_EARLIER = """
SELECT extract(epoch FROM ts)::double precision, energy_import_kwh
FROM p1_samples WHERE device_id = %s AND ts >= %s AND ts < %s ORDER BY ts DESC LIMIT 60
"""


class Sample(NamedTuple):
    """What is read of a sample; times in seconds since 1970."""

    s: float
    import_w: int
    import_kwh: float | None
    peak_w: int | None
    peak_s: float | None


def now(
    store: Store, cache: Cache, settings: Settings, device_id: str, at: datetime
) -> dict[str, Any] | None:
    """The running quarter with its projection, limit and headroom; None without a sample in it."""
    start = at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)
    zone = settings.site_timezone

    def work(cursor: Any) -> tuple[list[Sample], float | None]:
        cursor.execute(_WINDOW, (device_id, start - BEFORE, start + QUARTER))
        samples = [Sample(*row) for row in cursor.fetchall()]
        readings = [(one.s, one.import_kwh) for one in samples if one.import_kwh is not None]
        if readings and readings[0][0] > start.timestamp():
            cursor.execute(_EARLIER, (device_id, start - FAR_BEFORE, start - BEFORE))
            earlier = [row for row in cursor.fetchall() if row[1] is not None]
            readings = earlier[:1] + readings
        return samples, register_w(readings, start.timestamp())

    samples, by_register_w = store.run(work)
    inside = [one for one in samples if one.s >= start.timestamp()]
    if not inside:
        return None
    newest = inside[-1]
    average_w = sum(one.import_w for one in inside) / len(inside)
    if newest.import_kwh is not None and by_register_w is not None:
        average_w = by_register_w
    latest = [one.import_w for one in samples if one.s > newest.s - POWER_S]
    peak = _month_peak(store, cache, device_id, start, zone, samples)
    ts = datetime.fromtimestamp(newest.s, UTC)
    return {
        "device_id": device_id,
        "ts": format_time(ts),
        "quarter_start": local(start, zone),
        "quarter_end": local(start + QUARTER, zone),
        **foresee(newest.s - start.timestamp(), average_w, sum(latest) / len(latest), peak),
    }


def foresee(
    elapsed_s: float, average_w: float, power_w: float, peak: tuple[float, str] | None
) -> dict[str, Any]:
    """What a quarter becomes if the power stays, and what it may take to stay under its limit."""
    left_s = QUARTER_S - elapsed_s
    so_far_ws = average_w * elapsed_s
    projected_w = (so_far_ws + power_w * left_s) / QUARTER_S
    limit_w = max(peak[0] if peak else 0, FLOOR_W)
    return {
        "elapsed_s": round(elapsed_s, 3),
        "average_w": round(average_w),
        "power_w": round(power_w),
        "projected_w": round(projected_w),
        "month_peak_w": round(peak[0]) if peak else None,
        "month_peak_source": peak[1] if peak else None,
        "limit_w": round(limit_w),
        "headroom_w": round(max(0.0, (limit_w * QUARTER_S - so_far_ws) / left_s)),
        "new_peak": projected_w > limit_w,
    }


def register_w(readings: Sequence[Reading], start_s: float) -> float | None:
    """The mean power from a quarter's start to the newest of the readings, by the register.

    None if the start is not known, if the newest reading is not yet believed (a swap of the
    meter, a glitch), or if it is less than a second old.
    """
    line = follow(readings)
    if not line or line[-1][0] != readings[-1][0]:
        return None
    elapsed_s = line[-1][0] - start_s
    if elapsed_s < 1 or not any(abs(s - start_s) <= NEAR.total_seconds() for s, _ in line):
        return None
    return (line[-1][1] - _at(line, start_s)) * 3_600_000 / elapsed_s


def _at(line: list[Reading], s: float) -> float:
    """The line at a time, interpolated; its first reading before that."""
    later = next(number for number, reading in enumerate(line) if reading[0] > s)
    if later == 0:
        return line[0][1]
    (before_s, before_kwh), (after_s, after_kwh) = line[later - 1], line[later]
    return before_kwh + (after_kwh - before_kwh) * (s - before_s) / (after_s - before_s)


def _month_peak(
    store: Store,
    cache: Cache,
    device_id: str,
    start: datetime,
    zone: ZoneInfo,
    samples: Sequence[Sample],
) -> tuple[float, str] | None:
    """The peak of the month before the quarter that begins at `start`, and its source.

    A meter that tells its own in the newest samples needs no look at the month.
    """
    first = floor(start.astimezone(zone).date(), "month")
    bounds = quarters.bounds(first, zone)
    if bounds is None:
        return None
    for one in reversed(samples):
        if one.peak_w is not None:
            ended_s = _quarter_end(one)
            if bounds[0].timestamp() < ended_s <= bounds[1].timestamp():
                return one.peak_w, "official"
            break
    if bounds[0] == start:
        return None
    key = f"peak:{device_id}"
    kept = _recall(cache.recall(key), start)
    if kept is not None:
        return kept[0]

    def work(cursor: Any) -> Peak | None:
        official = quarters.read_official(cursor, device_id, *bounds)
        if official:
            return official
        return quarters.billed(None, quarters.read(cursor, device_id, bounds[0], start), start)

    peak = store.run(work)
    told = (float(peak.watts), peak.source) if peak else None
    cache.keep(key, json.dumps([start.isoformat(), told]), KEPT_S)
    return told


def _quarter_end(sample: Sample) -> float:
    """When the peak's quarter ended; without a time it is the quarter of the sample."""
    if sample.peak_s is None:
        return (sample.s // QUARTER_S + 1) * QUARTER_S
    return (sample.peak_s + QUARTER_S / 2) // QUARTER_S * QUARTER_S


def _recall(text: bytes | None, start: datetime) -> list[tuple[float, str] | None] | None:
    """A list of what was kept for the quarter that begins at `start`; None if nothing was."""
    try:
        kept_start, told = json.loads(text or "")
        if kept_start != start.isoformat():
            return None
        return [None if told is None else (float(told[0]), str(told[1]))]
    except (ValueError, TypeError, LookupError):
        return None


def outdate(cache: Cache, device_id: str, oldest: datetime, at: datetime) -> None:
    """Forget a month's peak: samples have come that may belong to a closed quarter.

    The first of a quarter count too: they end the one before.
    """
    start = at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)
    if oldest < start + LATE:
        cache.drop(f"peak:{device_id}")
