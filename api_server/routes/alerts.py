"""GET /v1/alerts: what is wrong with a device, and what was."""

from typing import Any

from flask import Blueprint, current_app

from api_server.data import alerts
from api_server.web.auth import readable_device

blueprint = Blueprint("alerts", __name__)


@blueprint.get("/v1/alerts")
def list_alerts() -> dict[str, Any]:
    """The open alerts of a device, and the newest that were closed."""
    device = readable_device()
    store = current_app.extensions["store"]
    return store.run(lambda cursor: alerts.answer(cursor, [device.device_id]))
