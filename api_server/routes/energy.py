"""GET /v1/daily-energy: what a meter imported and exported so far today."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app

from api_server.data import rollups
from api_server.routes.capacity import meter
from api_server.web.errors import abort_with
from edge_agent.shared.samples import P1

blueprint = Blueprint("energy", __name__)


@blueprint.get("/v1/daily-energy")
def daily_energy() -> dict[str, Any]:
    """The energies of the local day, by the same rule as every series."""
    device = meter()
    zone = current_app.config["SETTINGS"].site_timezone
    today = datetime.now(UTC).astimezone(zone).date()
    found = current_app.extensions["store"].run(
        lambda cursor: rollups.energy(cursor, P1, device.device_id, today, zone)
    )
    if not found["sample_count"]:
        abort_with(404, "This meter has sent nothing today.")
    return {
        "device_id": device.device_id,
        "date": today.isoformat(),
        "import_today_kwh": found["energy_import_kwh"],
        "export_today_kwh": found["energy_export_kwh"],
        "sample_count": found["sample_count"],
    }
