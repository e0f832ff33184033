"""GET /v1/capacity/...: the Belgian capacity tariff by month, year, and the quarter that runs."""

from datetime import UTC, date, datetime
from typing import Any

from flask import Blueprint, current_app, request

from api_server.data import capacity, periods
from api_server.data.capacity import Meter
from api_server.openapi import money
from api_server.openapi.schemas import columns_of
from api_server.web.auth import readable_device
from api_server.web.csv import tabular
from api_server.web.errors import abort_with
from edge_agent.shared.samples import P1

blueprint = Blueprint("capacity", __name__)


def meter() -> Meter:
    """The meter that the request names, now; ends it with 404 for an inverter."""
    device = readable_device()
    if device.kind != P1.name:
        abort_with(404, "This is known of P1 meters only.")
    store, cache = current_app.extensions["store"], current_app.extensions["cache"]
    settings = current_app.config["SETTINGS"]
    return Meter(store, cache, settings, device.device_id, datetime.now(UTC))


@blueprint.get("/v1/capacity/month/<month>")
@tabular("peaks", lambda: columns_of(money.CAPACITY_MONTH, "peaks"))
def month(month: str) -> dict[str, Any]:
    """Every quarter of a local month, and its peaks: sampled, by the register, the meter's own."""
    asked = meter()
    return capacity.month(asked, _month(month, "month"))


@blueprint.get("/v1/capacity/now")
def now() -> dict[str, Any]:
    """The running quarter: so far, projected, and what it may still take."""
    asked = meter()
    answer = capacity.now(asked.store, asked.cache, asked.settings, asked.device_id, asked.now)
    if answer is None:
        abort_with(404, "This meter has sent nothing in the running quarter.")
    return answer


@blueprint.get("/v1/capacity/year")
def year() -> dict[str, Any]:
    """The peaks of twelve months, and the mean that is billed."""
    asked, text = meter(), request.args.get("until")
    today = periods.floor(asked.now.astimezone(asked.zone).date(), "month")
    until = today if text is None else _month(text, "until")
    if until.year == date.min.year:
        abort_with(400, "There are no twelve months before that.")
    return capacity.year(asked, until)


def _month(text: str, what: str) -> date:
    """The first day of a month; 400 for what is no month."""
    try:
        return periods.parse_date(text, "month")
    except ValueError:
        abort_with(400, f"The {what} must be written YYYY-MM and exist.")
