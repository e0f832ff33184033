"""One house: what its meter and its inverters say together, in the buckets of a frame."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from api_server.data import battery, rollups
from api_server.data.cache import Cache
from api_server.data.closed import ROWS
from api_server.data.database import HISTORY_S, Store
from api_server.data.frames import Frame
from api_server.data.rollups import Bucket
from api_server.data.running_rows import Running
from api_server.devices import Site
from edge_agent.shared.samples import P1, SUNGROW, Kind

FRAMES = {"day": "hour", "week": "day", "month": "day", "year": "month", "all": "month"}
LEAST_KWH = 0.05  # a percentage of less says nothing
NOTHING_KNOWN: dict[str, float | None] = dict.fromkeys(
    (*P1.rollup.energies, *SUNGROW.rollup.energies)
)

# The buckets of a device by their start, also those in which it is known that nothing passed.
Buckets = dict[datetime, Bucket]
Energies = dict[str, float | None]


def answer(
    store: Store,
    site: Site,
    frame: Frame,
    zone: ZoneInfo,
    now: datetime,
    cache: Cache | None = None,
) -> dict[str, Any]:
    """The balance of a site; raises TooManyBuckets. With a `cache` what is closed of a usual frame
    is read once."""
    kept = f"{frame.name}:{frame.width}"
    running = Running(cache, kept, now) if cache and kept in ROWS else None

    def work(cursor: Any) -> list[dict[str, Any]]:
        return read(cursor, site, frame, zone, now, running)

    return {
        "site": site.name,
        "frame": frame.name,
        "timezone": zone.key,
        "series": store.run(work, HISTORY_S),
    }


def read(
    cursor: Any,
    site: Site,
    frame: Frame,
    zone: ZoneInfo,
    now: datetime,
    running: Running | None = None,
) -> list[dict[str, Any]]:
    """The buckets in which any device of the site has one, oldest first."""

    def find_first(width: str) -> datetime | None:
        firsts = (rollups.find_first(cursor, *device, width) for device in _devices(site))
        return min((first for first in firsts if first is not None), default=None)

    def read_device(kind: Kind, device_id: str) -> Buckets:
        found = rollups.read(
            cursor, kind, device_id, edges, frame.level, zone, still=True, running=running
        )
        return {bucket.start: bucket for bucket in found}

    edges = frame.edges(now, zone, find_first)
    if not edges:
        return []
    devices = {device_id: read_device(kind, device_id) for kind, device_id in _devices(site)}
    without_battery = {
        device_id
        for device_id in site.inverters
        if not _tells_battery(devices[device_id]) and not battery.is_told(cursor, device_id)
    }
    rows = []
    for start, bucket in sorted(_listed(devices.values()).items()):
        if bucket.end <= now or not frame.complete_only:
            meter, *inverters = (
                _energies(devices[device_id].get(start), device_id in without_battery)
                for _, device_id in _devices(site)
            )
            local = start.astimezone(zone).isoformat()
            row = {"bucket": local, **balance(meter, inverters), "complete": bucket.end <= now}
            rows.append(row)
    return rows


def balance(meter: Energies, inverters: list[Energies]) -> dict[str, float | bool | None]:
    """The energies of a house in kWh and what follows of them; null follows of what is null."""
    pv, charge, discharge, inverter_import, inverter_export = (
        _sum(inverter[name] for inverter in inverters)
        for name in ("pv_kwh", "charge_kwh", "discharge_kwh", "grid_import_kwh", "grid_export_kwh")
    )
    bought, sold = meter["energy_import_kwh"], meter["energy_export_kwh"]
    taken = _sum((pv, bought, discharge, _negative(sold), _negative(charge)))
    consumption = taken if taken is None else max(0.0, taken)
    sufficiency, sufficiency_cut = _share_left(bought, consumption)
    self_consumption, self_consumption_cut = _share_left(sold, pv)
    return {
        "pv_kwh": pv,
        "grid_import_kwh": bought,
        "grid_export_kwh": sold,
        "charge_kwh": charge,
        "discharge_kwh": discharge,
        "consumption_kwh": consumption,
        "self_sufficiency_pct": sufficiency,
        "self_consumption_pct": self_consumption,
        "clamped": consumption != taken or sufficiency_cut or self_consumption_cut,
        "inverter_import_kwh": inverter_import,
        "inverter_export_kwh": inverter_export,
    }


def _devices(site: Site) -> list[tuple[Kind, str]]:
    """The devices of a site with their kinds, the meter first."""
    return [(P1, site.meter), *((SUNGROW, inverter) for inverter in site.inverters)]


def _listed(devices: Iterable[Buckets]) -> Buckets:
    """The buckets that the series of any device has."""
    return {
        start: bucket
        for buckets in devices
        for start, bucket in buckets.items()
        if bucket.sample_count or any(bucket.energies.values())
    }


def _tells_battery(buckets: Buckets) -> bool:
    return any(
        bucket.energies[name] is not None
        for bucket in buckets.values()
        for name in ("charge_kwh", "discharge_kwh")
    )


def _energies(bucket: Bucket | None, without_battery: bool) -> Energies:
    energies = bucket.energies if bucket else NOTHING_KNOWN
    return {**energies, "charge_kwh": 0.0, "discharge_kwh": 0.0} if without_battery else energies


def _sum(parts: Iterable[float | None]) -> float | None:
    """The sum, unknown if a part of it is."""
    total = 0.0
    for part in parts:
        if part is None:
            return None
        total += part
    return round(total, 6) + 0.0  # never -0.0


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _share_left(part: float | None, whole: float | None) -> tuple[float | None, bool]:
    """What a part leaves of the whole, in percent from 0 to 100, and whether that was cut."""
    if part is None or whole is None or whole < LEAST_KWH:
        return None, False
    share = 100 * (1 - part / whole)
    held = min(max(share, 0.0), 100.0)
    return round(held, 1), held != share
