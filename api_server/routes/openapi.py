"""GET /v1/openapi.json: what all the routes take and answer."""

from typing import Any

from flask import Blueprint, current_app

from api_server.openapi import document

blueprint = Blueprint("openapi", __name__)


@blueprint.get("/v1/openapi.json")
def openapi() -> dict[str, Any]:
    """This document."""
    app = current_app
    if "openapi" not in app.extensions:
        app.extensions["openapi"] = document.build(app, app.config["SETTINGS"])
    return app.extensions["openapi"]
