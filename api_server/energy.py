"""GET /v1/daily-energy: what a meter imported and exported so far today."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from flask import Blueprint, current_app

from api_server import rollups
from api_server.capacity import meter
from api_server.errors import problem
from edge_agent.samples import P1

blueprint = Blueprint("energy", __name__)


@blueprint.get("/v1/daily-energy")
def daily_energy() -> dict[str, Any]:
    """The energies of the local day, by the same rule as every series."""
    device = meter()
    zone = current_app.config["SETTINGS"].site_timezone
    today = datetime.now(UTC).astimezone(zone).date()
    start, end = (datetime.combine(day, time(), zone) for day in (today, today + timedelta(days=1)))
    with current_app.extensions["store"].connection() as connection:
        found = rollups.energy(connection, P1, device.device_id, start, end)
    if not found["sample_count"]:
        problem(404, "This meter has sent nothing today.")
    return {
        "device_id": device.device_id,
        "date": today.isoformat(),
        "import_today_kwh": found["energy_import_kwh"],
        "export_today_kwh": found["energy_export_kwh"],
        "sample_count": found["sample_count"],
    }
