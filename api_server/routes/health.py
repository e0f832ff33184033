"""GET / and GET /health: that this is Sunspool, and whether its parts work."""

from typing import Any

from flask import Blueprint, current_app, request

from api_server.data.database import DatabaseUnavailable
from api_server.migrations import history, timescale
from api_server.web.errors import RETRY_AFTER_S, Answer
from edge_agent import __version__

blueprint = Blueprint("health", __name__)
HEALTH_S = 2.0
NAMED = {"service": "sunspool", "version": __version__}


@blueprint.get("/")
def root() -> dict[str, str] | Answer:
    """That this is Sunspool, whatever state it is in; a browser is sent to its pages."""
    # Named, not met by a pattern: curl accepts everything.
    if any(_is_html(name) and quality > 0 for name, quality in request.accept_mimetypes):
        return Answer(status=303, headers={"Location": "/ui/", "Vary": "Accept"})
    return {"status": "ok", **NAMED}


@blueprint.get("/health")
def health() -> tuple[dict[str, Any], int, dict[str, str]]:
    """The state of the database, its schema and Redis; not for the public proxy."""
    redis = current_app.extensions["cache"].state()
    parts: dict[str, Any] = {"db": "ok", "redis": redis}
    try:
        with current_app.extensions["store"].connection(HEALTH_S) as connection:
            parts["schema"] = "behind" if history.pending(connection) else "ok"
            wrong_licence = timescale.has_wrong_licence(connection)
    except DatabaseUnavailable:
        return _down(db="down", redis=redis, schema="unknown")
    if wrong_licence:
        return _down(**{**parts, "schema": "unusable"}, detail=timescale.WRONG_LICENCE)
    status = "ok" if redis == "ok" else "degraded"
    return {"status": status, **NAMED, **parts}, 200, {}


def _is_html(media_type: str) -> bool:
    """Whatever its case, and with parameters or without."""
    return media_type.partition(";")[0].strip().lower() == "text/html"


def _down(**parts: str) -> tuple[dict[str, Any], int, dict[str, str]]:
    return {"status": "down", **NAMED, **parts}, 503, {"Retry-After": RETRY_AFTER_S}
