"""GET /v1/realtime: the newest sample of a device and its age."""

from datetime import UTC, datetime

from flask import Blueprint, current_app

from api_server.data import latest
from api_server.web.auth import readable_device
from api_server.web.errors import Answer, abort_with

blueprint = Blueprint("realtime", __name__)


@blueprint.get("/v1/realtime")
def realtime() -> Answer:
    """The newest sample that is not ahead of the clock, else the newest, and its age."""
    parts = current_app.extensions
    now = datetime.now(UTC)
    sample = latest.read(parts["store"], parts["cache"], readable_device(), now)
    if sample is None:
        abort_with(404, "This device has sent nothing yet.")
    return Answer(b'%s, "age_s": %.3f}' % (sample.text[:-1], sample.age_s(now)))
