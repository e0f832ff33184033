"""GET /v1/battery: what a battery took and gave in a year, and how well it keeps."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app, request

from api_server.config import Device
from api_server.data import battery, periods
from api_server.web.auth import readable_device
from api_server.web.errors import abort_with
from edge_agent.shared.samples import SUNGROW

blueprint = Blueprint("battery", __name__)


def inverter() -> Device:
    """The inverter that the request names; ends it with 404 for a meter."""
    device = readable_device()
    if device.kind != SUNGROW.name:
        abort_with(404, "This is known of inverters only.")
    return device


@blueprint.get("/v1/battery")
def of_year() -> dict[str, Any]:
    """The months of the year that the request names, or of this one."""
    device_id, settings = inverter().device_id, current_app.config["SETTINGS"]
    zone, now = settings.site_timezone, datetime.now(UTC)
    text = request.args.get("date", str(now.astimezone(zone).year))
    try:
        year = periods.parse_date(text, "year")
    except ValueError:
        abort_with(422, "The date must be a year like 2026.")
    capacity_kwh = settings.battery_kwh.get(device_id)
    store = current_app.extensions["store"]
    return battery.answer(store, device_id, year, capacity_kwh, zone, now)
