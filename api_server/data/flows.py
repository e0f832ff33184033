"""One house at this moment: the powers of its sun, battery, grid and home."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any

from api_server.data import battery, latest
from api_server.data.cache import Cache
from api_server.data.database import Store
from api_server.data.latest import Latest
from api_server.devices import Device, Site
from edge_agent.shared.samples import P1, SUNGROW, format_time

SILENT_S = 60.0  # what a device said longer ago is not what it does now

Sample = dict[str, Any]


def answer(
    store: Store,
    cache: Cache,
    site: Site,
    now: datetime,
    has_battery: Callable[[str], bool] | None = None,
) -> dict[str, Any] | None:
    """What flows in a site; None if none of its devices has ever sent anything.

    `has_battery` says it of an inverter by its id; without it the database is asked.
    """
    has_battery = has_battery or partial(_ask_for_battery, store)
    devices = [Device(site.meter, P1.name), *(Device(one, SUNGROW.name) for one in site.inverters)]
    newest = latest.read_all(store, cache, devices, now)
    told = [sample for sample in newest.values() if sample]
    if not told:
        return None
    oldest = min(told, key=lambda sample: sample.ts)
    inverters = [_current(newest[device_id], now) for device_id in site.inverters]
    meter = _current(newest[site.meter], now)
    pv = _sum(inverter.get("pv_power_w") for inverter in inverters)
    battery_w = _sum(_battery_power(inverter, has_battery) for inverter in inverters)
    grid = meter.get("power_w")
    home = _sum((pv, None if battery_w is None else -battery_w, grid))
    return {
        "site": site.name,
        "ts": format_time(oldest.ts),
        "age_s": _age_s(oldest, now),
        "pv_power_w": pv,
        "battery_power_w": battery_w,
        "battery_soc_pct": _mean(inverter.get("battery_soc_pct") for inverter in inverters),
        "grid_power_w": grid,
        "home_power_w": None if home is None else max(0.0, home),
        "devices": {
            device_id: sample and _age_s(sample, now) for device_id, sample in newest.items()
        },
    }


def _current(sample: Latest | None, now: datetime) -> Sample:
    """The fields of a sample; none of a device that is silent."""
    if sample is None or sample.age_s(now) > SILENT_S:
        return {}
    return json.loads(sample.text)


def _ask_for_battery(store: Store, device_id: str) -> bool:
    return store.run(lambda cursor: battery.is_told(cursor, device_id))


def _battery_power(inverter: Sample, has_battery: Callable[[str], bool]) -> float | None:
    """What flows into the battery of an inverter: nothing where it has none."""
    power = inverter.get("battery_power_w")
    if power is not None or inverter.get("battery_soc_pct") is not None or not inverter:
        return power
    return None if has_battery(inverter["device_id"]) else 0.0


def _age_s(sample: Latest, now: datetime) -> float:
    return round(sample.age_s(now), 3)


def _sum(parts: Iterable[float | None]) -> float | None:
    """The sum without the noise of its last digits, unknown if a part of it is."""
    values = list(parts)
    return None if None in values else float(f"{sum(values):.12g}") + 0.0  # never -0.0


def _mean(parts: Iterable[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return float(f"{sum(known) / len(known):.12g}") if known else None
