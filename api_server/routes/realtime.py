"""GET /v1/realtime: the newest sample of a device, from Redis or else from the database."""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from flask import Blueprint, current_app

from api_server.config import Device
from api_server.data.samples import newest
from api_server.web.auth import readable_device
from api_server.web.errors import Answer, problem
from edge_agent.shared.samples import KINDS, format_time, parse_time

blueprint = Blueprint("realtime", __name__)

JSON_TYPES = {"float": (float, int), "int": (int,), "time": (str,), "text": (str,)}


@blueprint.get("/v1/realtime")
def realtime() -> Answer:
    """The newest sample by its time, and its age."""
    device, cache = readable_device(), current_app.extensions["cache"]
    text = cache.get(device.device_id)
    time = time_of(device, text) if text else None
    if time is None:
        text, time = _ask_database(device)
    age_s = (datetime.now(UTC) - time).total_seconds()
    return Answer(b'%s, "age_s": %.3f}' % (text[:-1], age_s))


def _ask_database(device: Device) -> tuple[bytes, datetime]:
    cache = current_app.extensions["cache"]
    lease = cache.lease(device.device_id)
    row = newest(
        current_app.extensions["store"], KINDS[device.kind], device.device_id, datetime.now(UTC)
    )
    if row is None:
        problem(404, "This device has sent nothing yet.")
    text = json.dumps(as_json(row)).encode()
    if lease:
        cache.fill(device.device_id, lease, text)
    return text, row["ts"]


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
