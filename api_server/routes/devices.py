"""GET /v1/devices and GET /v1/completeness: what there is, and what of it is missing."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app, g, request

from api_server.config import Settings
from api_server.data import completeness, devices, periods
from api_server.web.auth import readable_device, readable_sites
from api_server.web.errors import abort_with

blueprint = Blueprint("devices", __name__)


@blueprint.get("/v1/devices")
def every_device() -> dict[str, Any]:
    """All devices and sites that the caller may read."""
    extensions, settings = current_app.extensions, current_app.config["SETTINGS"]
    return devices.answer(
        extensions["store"],
        extensions["agents"],
        g.caller.devices.values(),
        settings.sites,
        readable_sites().values(),
        datetime.now(UTC),
    )


@blueprint.get("/v1/completeness")
def completeness_of_a_day() -> dict[str, Any]:
    """How much of a local day the samples of a device cover, and where they do not."""
    device, settings = readable_device(), current_app.config["SETTINGS"]
    now = datetime.now(UTC)
    store, cache, agents = (current_app.extensions[one] for one in ("store", "cache", "agents"))
    agent = agents.read([device.device_id]).get(device.device_id)
    day, zone = _day(settings, now), settings.site_timezone
    return completeness.answer(store, cache, agent, device, day, zone, now)


def _day(settings: Settings, now: datetime) -> Any:
    """The day of `date=`, or today; ends the request with 422 for what is no day."""
    text = request.args.get("date")
    if text is None:
        return now.astimezone(settings.site_timezone).date()
    try:
        return periods.parse_date(text, "day")
    except ValueError:
        abort_with(422, "The date must exist and be written like 2026-11-21.")
