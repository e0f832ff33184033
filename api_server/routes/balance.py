"""GET /v1/balance and /v1/balance/now: what one house makes, takes and gives."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app, request

from api_server.data import balance, flows, frames
from api_server.openapi import answers
from api_server.openapi.schemas import columns_of
from api_server.web.auth import readable_site
from api_server.web.csv import tabular
from api_server.web.errors import abort_with

blueprint = Blueprint("balance", __name__)


@blueprint.get("/v1/balance")
@tabular("series", lambda: columns_of(answers.BALANCE, "series"))
def of_frame() -> dict[str, Any]:
    """The balance of each bucket of the frame that the request names."""
    site = readable_site()
    store, zone = current_app.extensions["store"], current_app.config["SETTINGS"].site_timezone
    try:
        frame = frames.parse(balance.FRAMES, request.args)
        return balance.answer(store, site, frame, zone, datetime.now(UTC))
    except (frames.BadFrame, frames.TooManyBuckets) as error:
        abort_with(422, str(error))


@blueprint.get("/v1/balance/now")
def of_this_moment() -> dict[str, Any]:
    """What flows now."""
    site, parts = readable_site(), current_app.extensions
    found = flows.answer(parts["store"], parts["cache"], site, datetime.now(UTC))
    if found is None:
        abort_with(404, "No device of this site has sent anything yet.")
    return found
