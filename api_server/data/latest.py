"""The newest sample of a device: from Redis, or else from the database, and then kept in Redis."""

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from api_server.data import samples
from api_server.data.cache import Cache
from api_server.data.database import Store
from api_server.devices import Device
from edge_agent.shared.samples import KINDS, Kind, format_time, parse_time

JSON_TYPES = {"float": (float, int), "int": (int,), "time": (str,), "text": (str,)}


class Latest(NamedTuple):
    """A sample as JSON, and when it was taken."""

    text: bytes
    ts: datetime

    def age_s(self, now: datetime) -> float:
        """How old it is; a sample that is ahead of the clock is new."""
        return max(0.0, (now - self.ts).total_seconds())


def read(store: Store, cache: Cache, device: Device, now: datetime) -> Latest | None:
    """The newest sample of a device that is not ahead of `now`, else the newest; None if it has
    sent nothing yet."""
    return read_all(store, cache, [device], now)[device.device_id]


def read_all(
    store: Store, cache: Cache, devices: list[Device], now: datetime
) -> dict[str, Latest | None]:
    """The same of each of several devices; the database is asked once for those of a kind."""
    texts = cache.get_all([device.device_id for device in devices])
    found: dict[str, Latest | None] = {}
    missing: dict[str, list[str]] = {}
    for device, text in zip(devices, texts, strict=True):
        ts = time_of(device, text) if text else None
        if text and ts:
            found[device.device_id] = Latest(text, ts)
        else:
            missing.setdefault(device.kind, []).append(device.device_id)
    for kind, device_ids in missing.items():
        found |= _ask_database(store, cache, KINDS[kind], device_ids, now)
    return found


def _ask_database(
    store: Store, cache: Cache, kind: Kind, device_ids: list[str], now: datetime
) -> dict[str, Latest | None]:
    leases = [cache.lease(device_id) for device_id in device_ids]
    if len(device_ids) == 1:
        rows = [samples.newest(store, kind, device_ids[0], now)]
    else:
        named = samples.newest_of(store, kind, device_ids, kind.columns[2:], now)
        rows = [{"device_id": one, **named[one]} if one in named else None for one in device_ids]
    found: dict[str, Latest | None] = {}
    for device_id, row, lease in zip(device_ids, rows, leases, strict=True):
        latest = found[device_id] = row and Latest(json.dumps(as_json(row)).encode(), row["ts"])
        if lease and latest:
            cache.fill(device_id, lease, latest.text)
    return found


@lru_cache(maxsize=4096)  # many ask for a sample before the next one comes
def time_of(device: Device, text: bytes) -> datetime | None:
    """When a cached sample was taken; None for what is no sample of this device, with all its
    fields as they are now."""
    kind = KINDS[device.kind]
    try:
        sample = json.loads(text.decode(), parse_constant=_refuse)
        if sample.keys() != set(kind.columns) or sample["device_id"] != device.device_id:
            return None
        time = parse_time(sample["ts"])
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    good = text.endswith(b"}") and all(
        sample[field.name] is None or type(sample[field.name]) in JSON_TYPES[field.type]
        for field in kind.fields
    )
    return time if good else None


def _refuse(_constant: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is answered: times in UTC, kWh with at most six decimals."""
    shown = dict(row)
    for name, value in row.items():
        if isinstance(value, datetime):
            shown[name] = format_time(value)
        elif isinstance(value, float) and name.endswith("_kwh"):
            shown[name] = round(value, 6)
    return shown
