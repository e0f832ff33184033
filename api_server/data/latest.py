"""The newest sample of a device: from Redis, or else from the database, and then kept in Redis."""

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from api_server.data import samples
from api_server.data.cache import Cache
from api_server.data.database import Store
from api_server.devices import Device
from edge_agent.shared.samples import KINDS, format_time, parse_time

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
    text = cache.get(device.device_id)
    ts = time_of(device, text) if text else None
    return _ask_database(store, cache, device, now) if ts is None else Latest(text, ts)


def _ask_database(store: Store, cache: Cache, device: Device, now: datetime) -> Latest | None:
    lease = cache.lease(device.device_id)
    row = samples.newest(store, KINDS[device.kind], device.device_id, now)
    if row is None:
        return None
    text = json.dumps(as_json(row)).encode()
    if lease:
        cache.fill(device.device_id, lease, text)
    return Latest(text, row["ts"])


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
