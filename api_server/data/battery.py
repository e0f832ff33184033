"""What an inverter's battery took and gave in a year, and how well it keeps."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from api_server.data import rollups
from api_server.data.cache import Cache
from api_server.data.database import HISTORY_S, Store
from api_server.data.frames import Frame
from api_server.data.periods import midnight
from edge_agent.shared.samples import SUNGROW

FLOWS = ("charge_kwh", "discharge_kwh")
HALF_A_DAY = timedelta(hours=12)
LEAST_CHARGE_KWH = 5.0  # an efficiency of less says nothing
KEPT_S = 300
_KEPT = {b"told": True, b"none": False}

_TOLD = """
SELECT EXISTS (
    SELECT FROM sungrow_read_monthly(%s, '-infinity', 'infinity')
    WHERE (charge_total IS NOT NULL OR discharge_total IS NOT NULL)
)
"""
_STATES = """
SELECT bucket, first_soc_pct, last_soc_pct, last_soh_pct
FROM sungrow_read_monthly(%s, %s, %s) ORDER BY bucket
"""
_CAPACITY = """
SELECT last_capacity_kwh FROM sungrow_read_monthly(%s, '-infinity', 'infinity')
WHERE last_capacity_kwh IS NOT NULL ORDER BY bucket DESC LIMIT 1
"""

# The first and the last known state of charge and the last state of health, in percent.
State = list[float | None]
UNKNOWN: State = [None, None, None]


def is_told(cursor: Any, device_id: str) -> bool:
    """Whether an inverter has ever told what its battery took or gave: else it has none."""
    cursor.execute(_TOLD, (device_id,))
    return cursor.fetchone()[0]


def has_told(store: Store, cache: Cache, device_id: str) -> bool:
    """The same, kept in Redis until the inverter tells it."""
    return cache.remember(
        _told_key(device_id),
        _KEPT.get,
        lambda: store.run(lambda cursor: is_told(cursor, device_id)),
        lambda told: "told" if told else "none",
        KEPT_S,
    )


def outdated(device_id: str, columns: dict[str, list[Any]]) -> list[str]:
    """The key of whether it has told, if these samples tell."""
    told = any(set(columns[name]) != {None} for name in ("charge_total_kwh", "discharge_total_kwh"))
    return [_told_key(device_id)] if told else []


def _told_key(device_id: str) -> str:
    return f"battery:{device_id}"


def answer(
    store: Store,
    device_id: str,
    year: date,
    capacity_kwh: float | None,
    zone: ZoneInfo,
    now: datetime,
) -> dict[str, Any]:
    """The battery's year, by months; without a capacity it is the newest that was reported."""

    def work(cursor: Any) -> dict[str, Any]:
        capacity = capacity_kwh or _reported_capacity(cursor, device_id)
        buckets, states = _read_months(cursor, device_id, year, zone, now)
        known = [states.get(bucket.start, UNKNOWN) for bucket in buckets]
        charge, discharge = (_sum(one.energies[flow] for one in buckets) for flow in FLOWS)
        months = [
            {
                "month": f"{bucket.start.astimezone(zone):%Y-%m}",
                **_kept(*map(bucket.energies.get, FLOWS), capacity, state),
                "soh_pct": state[2],
            }
            for bucket, state in zip(buckets, known, strict=True)
            if bucket.sample_count
        ]
        year_kept = _kept(charge, discharge, capacity, _joined(known))
        return {"months": months, **year_kept, "capacity_kwh": capacity}

    return {"device_id": device_id, "year": year.year, **store.run(work, HISTORY_S)}


def read_health(
    cursor: Any, device_id: str, today: date, zone: ZoneInfo
) -> list[tuple[str, float]]:
    """Each month of this year and the last in which the state of health is known, and its last."""
    first, last = date(today.year - 1, 1, 1), date(today.year + 1, 1, 1)
    cursor.execute(_STATES, (device_id, midnight(first, zone), midnight(last, zone)))
    # A month's row is named by its start, or by another hour of that day.
    months = [((at + HALF_A_DAY).astimezone(zone), soh_pct) for at, *_, soh_pct in cursor]
    return [(f"{at:%Y-%m}", soh_pct) for at, soh_pct in months if soh_pct is not None]


def _read_months(
    cursor: Any, device_id: str, year: date, zone: ZoneInfo, now: datetime
) -> tuple[list[rollups.Bucket], dict[datetime, State]]:
    edges = Frame("year", "month", year).edges(now, zone, lambda _: None)
    if not edges:
        return [], {}
    buckets = rollups.read(cursor, SUNGROW, device_id, edges, "month", zone)
    cursor.execute(_STATES, (device_id, edges[0], edges[-1]))
    # A month's row may be named by another hour where a month does not begin at midnight.
    return buckets, {edges[bisect_right(edges, at) - 1]: state for at, *state in cursor.fetchall()}


def _reported_capacity(cursor: Any, device_id: str) -> float | None:
    cursor.execute(_CAPACITY, (device_id,))
    row = cursor.fetchone()
    return row[0] if row else None


def _joined(states: list[State]) -> State:
    """The state over several months, in order."""
    first = next((state[0] for state in states if state[0] is not None), None)
    last, health = (
        next((state[which] for state in reversed(states) if state[which] is not None), None)
        for which in (1, 2)
    )
    return [first, last, health]


def _kept(
    charge: float | None, discharge: float | None, capacity: float | None, state: State
) -> dict[str, float | None]:
    """What follows of a period's energies and of the states between which they flowed."""
    first, last, _ = state
    cycles = efficiency = None
    if capacity and charge is not None and discharge is not None:
        cycles = round((charge + discharge) / 2 / capacity, 6)
        if charge >= LEAST_CHARGE_KWH and first is not None and last is not None:
            stored = (last - first) / 100 * capacity
            efficiency = round((discharge + stored) / charge * 100, 6)
    return {
        "charge_kwh": charge,
        "discharge_kwh": discharge,
        "equivalent_cycles": cycles,
        "efficiency_pct": efficiency,
    }


def _sum(parts: Iterable[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return round(sum(known), 6) if known else None
