"""The quarter that runs: what it has come to, and what it will."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.config import Settings
from api_server.data.cache import Cache
from api_server.data.capacity import quarters
from api_server.data.capacity.meter import KEPT_S, LATE, Meter, month_key
from api_server.data.capacity.months import local
from api_server.data.capacity.quarters import FLOOR_W, NEAR, TRUSTED_MINUTES
from api_server.data.counters import LEAST_STEP_S, STEADY, Fold, Rule, Span
from api_server.data.database import Store
from api_server.data.periods import QUARTER, floor, midnight, quarter_start
from edge_agent.shared.samples import P1, format_time

Reading = tuple[datetime, float]  # of the import register, in kWh

RULE = Rule(P1.max_power_w, P1.counter_step_kwh)
LEAST_STEP_KWH = RULE.max_power_w * LEAST_STEP_S / 3.6e6  # what may come at once
QUARTER_S = QUARTER.total_seconds()
BEFORE = timedelta(seconds=120)  # where the last reading before the quarter mostly lies
FAR_BEFORE = timedelta(days=1)  # where it is looked for after a gap

# The newest sample, and of the quarter and what lies just before it no more than its sums: to
# hand each sample over takes longer than to read them. The register's readings around the start
# are its extremes as long as it rises, which `steady` says.
_QUARTER = """
WITH newest AS MATERIALIZED (
    SELECT ts, energy_import_kwh, monthly_power_peak_w, monthly_power_peak_ts FROM p1_samples
    WHERE device_id = %(device_id)s AND ts >= %(start)s AND ts < %(end)s ORDER BY ts DESC LIMIT 1
)
SELECT newest.*, part.* FROM newest, LATERAL (
    SELECT avg(watts) FILTER (WHERE ts >= %(start)s)::double precision,
        avg(watts) FILTER (WHERE ts > newest.ts - interval '60 seconds')::double precision,
        count(kwh) = count(*)
        AND coalesce(bool_and(kwh - before BETWEEN 0 AND %(most_kwh)s), true) AS steady,
        max(ts) FILTER (WHERE ts <= %(start)s), max(kwh) FILTER (WHERE ts <= %(start)s),
        min(ts) FILTER (WHERE ts > %(start)s), min(kwh) FILTER (WHERE ts > %(start)s)
    FROM (
        SELECT ts, import_power_w AS watts, energy_import_kwh AS kwh,
            lag(energy_import_kwh) OVER (ORDER BY ts) AS before
        FROM p1_samples
        WHERE device_id = %(device_id)s AND ts >= %(since)s AND ts < %(end)s
    ) AS sample
) AS part
"""
_READINGS = """
SELECT ts, energy_import_kwh FROM p1_samples
WHERE device_id = %(device_id)s AND ts >= %(since)s AND ts < %(end)s
    AND energy_import_kwh IS NOT NULL ORDER BY ts
"""
# Some rows, for the newest may not know the register.
_EARLIER = """
SELECT ts, energy_import_kwh FROM p1_samples
WHERE device_id = %(device_id)s AND ts >= %(far)s AND ts < %(since)s ORDER BY ts DESC LIMIT 60
"""


class Quarter(NamedTuple):
    """What a look at the running quarter gives; watts unrounded."""

    ts: datetime  # of the newest sample
    own_peak_w: int | None
    own_peak_ts: datetime | None
    sampled_w: float
    power_w: float
    by_register_w: float | None


def now(
    store: Store, cache: Cache, settings: Settings, device_id: str, at: datetime
) -> dict[str, Any] | None:
    """The running quarter with its projection, limit and headroom; None without a sample in it."""
    start = quarter_start(at)
    zone = settings.site_timezone
    quarter = store.run(lambda cursor: _look(cursor, device_id, start))
    if quarter is None:
        return None
    average_w = quarter.sampled_w if quarter.by_register_w is None else quarter.by_register_w
    elapsed_s = (quarter.ts - start).total_seconds()
    peak = _month_peak(store, cache, settings, device_id, start, quarter)
    return {
        "device_id": device_id,
        "ts": format_time(quarter.ts),
        "quarter_start": local(start, zone),
        "quarter_end": local(start + QUARTER, zone),
        **foresee(elapsed_s, average_w, quarter.power_w, peak),
    }


def _look(cursor: Any, device_id: str, start: datetime) -> Quarter | None:
    """Read the newest sample of a quarter and what leads up to it, in one statement mostly."""
    values = {
        "device_id": device_id,
        "start": start,
        "end": start + QUARTER,
        "since": start - BEFORE,
        "far": start - FAR_BEFORE,
        "most_kwh": LEAST_STEP_KWH,
    }
    cursor.execute(_QUARTER, values)
    row = cursor.fetchone()
    if row is None:
        return None
    ts, kwh, own_peak_w, own_peak_ts, sampled_w, power_w, steady, *around = row
    by_register_w = None
    if kwh is not None:
        readings = [(around[0], around[1]), (around[2], around[3]), (ts, kwh)]
        if not steady:
            cursor.execute(_READINGS, values)
            readings = cursor.fetchall()
        readings = list(dict.fromkeys(one for one in readings if one[0] is not None))
        if readings[0][0] > start:
            cursor.execute(_EARLIER, values)
            readings = [one for one in cursor.fetchall() if one[1] is not None][:1] + readings
        by_register_w = register_w(readings, start)
    return Quarter(ts, own_peak_w, own_peak_ts, sampled_w, power_w, by_register_w)


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


def register_w(readings: Sequence[Reading], start: datetime) -> float | None:
    """The mean power from a quarter's start to the newest of the readings, by the register.

    None if the start is not known, if the newest reading is not yet believed (a swap of the
    meter, a glitch), or if it is less than a second old.
    """
    fold = Fold(RULE, lambda _: ())
    for ts, kwh in readings:
        fold.feed(Span(kwh, ts, kwh, ts, STEADY))
    times = fold.line.times
    if not times or times[-1] != readings[-1][0]:
        return None
    elapsed_s, begun_kwh = (times[-1] - start).total_seconds(), fold.line.near(start, NEAR)
    if elapsed_s < 1 or begun_kwh is None:
        return None
    return (fold.line.kwh[-1] - begun_kwh) * 3_600_000 / elapsed_s


def _month_peak(
    store: Store,
    cache: Cache,
    settings: Settings,
    device_id: str,
    start: datetime,
    quarter: Quarter,
) -> tuple[float, str] | None:
    """The peak of the month before the quarter that begins at `start`, and its source.

    A meter that tells its own in the newest sample needs no look at the month.
    """
    first = floor(start.astimezone(settings.site_timezone).date(), "month")
    bounds = quarters.bounds(first, settings.site_timezone)
    if bounds is None:
        return None
    own_w = own_peak_w(quarter.own_peak_w, quarter.own_peak_ts, start, settings.site_timezone)
    if own_w is not None:
        return own_w, "official"
    if bounds[0] == start:
        return None

    def ask() -> tuple[tuple[float, str] | None]:
        listed, peaks = Meter(store, cache, settings, device_id, start).month(first)
        closed = [one for one in listed if one.start_s < start.timestamp()]
        peak = quarters.peaks(peaks.official, closed, start).billed()
        return ((float(peak.watts), peak.source) if peak else None,)

    def write(told: tuple[tuple[float, str] | None]) -> str:
        return json.dumps([start.isoformat(), *told])

    [told] = cache.remember(
        f"peak:{device_id}", lambda text: _recall(text, start), ask, write, KEPT_S
    )
    return told


def own_peak_w(
    watts: int | None, ts: datetime | None, start: datetime, zone: ZoneInfo
) -> int | None:
    """A meter's own peak, if it is of the month of the quarter that begins at `start`."""
    bounds = quarters.bounds(floor(start.astimezone(zone).date(), "month"), zone)
    # Its time is its quarter's end, give or take; without a time it is of the running one.
    ended = start + QUARTER if ts is None else quarters.quarter_end(ts.astimezone(UTC))
    return watts if bounds and bounds[0] < ended <= bounds[1] else None


def became_w(store: Store, settings: Settings, device_id: str, start: datetime) -> int | None:
    """What the quarter that began at `start` became: by the register, else as it was sampled.

    None while its samples tell neither, or not of enough of it.
    """
    zone = settings.site_timezone
    day = start.astimezone(zone).date()
    edges = midnight(day, zone), midnight(day + timedelta(days=1), zone)
    found = store.run(lambda cursor: quarters.read(cursor, device_id, *edges, zone).quarters)
    for quarter in found:
        if quarter.start == start and quarter.register_w is not None:
            return round(quarter.register_w)
        if quarter.start == start and quarter.minutes >= TRUSTED_MINUTES:
            return round(quarter.sampled_w)
    return None


def _recall(text: bytes | None, start: datetime) -> list[tuple[float, str] | None] | None:
    """A list of what was kept for the quarter that begins at `start`; None if nothing was."""
    try:
        kept_start, told = json.loads(text or "")
        if kept_start != start.isoformat():
            return None
        return [None if told is None else (float(told[0]), str(told[1]))]
    except (ValueError, TypeError, LookupError):
        return None


def outdated(device_id: str, oldest: datetime, at: datetime) -> list[str]:
    """The keys of what is closed of a month, if samples have come that may belong to it.

    The first of a quarter count too: they end the one before.
    """
    late = oldest < quarter_start(at) + LATE
    return [f"peak:{device_id}", month_key(device_id)] if late else []
