"""The routes of the API, one blueprint each: they parse, ask and answer."""

from collections.abc import Callable
from typing import Any

from flask import Flask


def register(app: Flask) -> None:
    """Give the app every route of the API."""
    # Here, so that a module of one route does not load all of them.
    from api_server.routes import (
        alerts,
        balance,
        battery,
        capacity,
        cost,
        devices,
        energy,
        health,
        ingest,
        metrics,
        openapi,
        realtime,
        samples,
        series,
        strings,
    )

    modules = (
        ingest,
        realtime,
        samples,
        devices,
        series,
        balance,
        battery,
        strings,
        capacity,
        cost,
        energy,
        health,
        alerts,
        metrics,
        openapi,
    )
    for module in modules:
        app.register_blueprint(module.blueprint)
    _put_shortcut(app, ingest.Intake)


def _put_shortcut(app: Flask, make_intake: Callable[..., Any]) -> None:
    """Let ordinary batches pass Flask by."""
    from api_server.web.shortcut import Shortcut

    parts = (app.extensions[name] for name in ("store", "cache", "agents", "metrics"))
    settings = app.config["SETTINGS"]
    intake = app.extensions["intake"] = make_intake(*parts, settings)
    app.wsgi_app = app.extensions["shortcut"] = Shortcut(  # type: ignore[method-assign]
        app.wsgi_app,
        settings,
        app.extensions["callers"],
        intake,
        app.extensions["cache"],
        app.extensions["metrics"],
    )
