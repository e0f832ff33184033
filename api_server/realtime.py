"""GET /v1/realtime: the newest sample of a device, from Redis or else from the database."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app

from api_server.auth import readable_device
from api_server.config import Device
from api_server.errors import problem
from edge_agent.samples import KINDS, format_time, parse_time

blueprint = Blueprint("realtime", __name__)

JSON_TYPES = {"float": (float, int), "int": (int,), "time": (str,)}


@blueprint.get("/v1/realtime")
def realtime() -> dict[str, Any]:
    """The newest sample by its time, and its age."""
    device, cache = readable_device(), current_app.extensions["cache"]
    sample = cache.get(device.device_id)
    if not fits(device, sample):
        lease = cache.lease(device.device_id)
        row = current_app.extensions["store"].newest(KINDS[device.kind], device.device_id)
        if row is None:
            problem(404, "This device has sent nothing yet.")
        sample = as_json(row)
        if lease:
            cache.fill(device.device_id, lease, sample)
    age = datetime.now(UTC) - parse_time(sample["ts"])
    return {**sample, "age_s": round(age.total_seconds(), 3)}


def fits(device: Device, sample: Any) -> bool:
    """Whether something cached is a sample of this device, with all its fields as they are now."""
    kind = KINDS[device.kind]
    if not isinstance(sample, dict) or sample.keys() != set(kind.columns):
        return False
    if sample["device_id"] != device.device_id:
        return False
    try:
        parse_time(sample["ts"])
    except (TypeError, ValueError):
        return False
    return all(
        sample[field.name] is None or type(sample[field.name]) in JSON_TYPES[field.type]
        for field in kind.fields
    )


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is answered: times in UTC, kWh with at most six decimals."""
    shown = dict(row)
    for name, value in row.items():
        if isinstance(value, datetime):
            shown[name] = format_time(value)
        elif isinstance(value, float) and name.endswith("_kwh"):
            shown[name] = round(value, 6)
    return shown
