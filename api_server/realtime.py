"""GET /v1/realtime: the newest sample of a device, from Redis or else from the database."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app

from api_server.auth import readable_device
from api_server.errors import problem
from edge_agent.samples import KINDS, Kind, format_time, parse_time

blueprint = Blueprint("realtime", __name__)


@blueprint.get("/v1/realtime")
def realtime() -> dict[str, Any]:
    """The newest sample by its time, and its age."""
    device = readable_device()
    kind, cache = KINDS[device.kind], current_app.extensions["cache"]
    sample = cache.get(device.device_id)
    if sample is None or tuple(sample) != kind.columns:
        row = current_app.extensions["store"].newest(kind, device.device_id)
        if row is None:
            problem(404, "This device has sent nothing yet.")
        sample = as_json(kind, row)
        cache.put(device.device_id, sample)
    age = datetime.now(UTC) - parse_time(sample["ts"])
    return {**sample, "age_s": round(age.total_seconds(), 3)}


def as_json(kind: Kind, row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is answered: times in UTC, kWh with at most six decimals."""
    shown = dict(row)
    for name, value in row.items():
        if isinstance(value, datetime):
            shown[name] = format_time(value)
        elif isinstance(value, float) and name.endswith("_kwh"):
            shown[name] = round(value, 6)
    return shown
