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
