"""GET /v1/strings: what each string of panels gave in a day, and whether that is usual."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app, request

from api_server.data import periods, strings
from api_server.routes.battery import inverter
from api_server.web.errors import abort_with

blueprint = Blueprint("strings", __name__)


@blueprint.get("/v1/strings")
def of_day() -> dict[str, Any]:
    """The strings on the local day that the request names, or today."""
    device_id, zone = inverter().device_id, current_app.config["SETTINGS"].site_timezone
    now = datetime.now(UTC)
    text = request.args.get("date", now.astimezone(zone).date().isoformat())
    try:
        day = periods.parse_date(text, "day")
    except ValueError:
        abort_with(422, "The date must be a day like 2026-11-21.")
    return strings.answer(current_app.extensions["store"], device_id, day, zone, now)
