"""GET /v1/cost: what the electricity of a month or a year costs, by dated rates."""

from typing import Any

from flask import Blueprint, request

from api_server.data import cost, periods
from api_server.openapi import money
from api_server.openapi.schemas import columns_of
from api_server.routes.capacity import meter
from api_server.web.csv import tabular
from api_server.web.errors import abort_with

blueprint = Blueprint("cost", __name__)


@blueprint.get("/v1/cost")
@tabular("months", lambda: columns_of(money.COST, "months"))
def answer() -> dict[str, Any]:
    """Each month's euro, and what is lacking to know them."""
    asked = meter()
    frame, text = request.args.get("frame", ""), request.args.get("date")
    if frame not in cost.FRAMES:
        abort_with(400, f"The frame must be one of {', '.join(cost.FRAMES)}.")
    try:
        day = None if text is None else periods.parse_date(text, frame)
    except ValueError:
        abort_with(400, "The date must exist and fit the frame (month: 2026-11, year: 2026).")
    return cost.answer(asked, frame, day)
