"""The routes of the API, one blueprint each: they parse, ask and answer."""

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
    from api_server.web.shortcut import Shortcut

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
    parts = (app.extensions[name] for name in ("store", "cache", "agents", "metrics"))
    intake = app.extensions["intake"] = ingest.Intake(*parts)
    app.wsgi_app = Shortcut(  # type: ignore[method-assign]
        app.wsgi_app,
        app.config["SETTINGS"],
        app.extensions["callers"],
        intake,
        app.extensions["cache"],
        app.extensions["metrics"],
    )
