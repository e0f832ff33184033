"""The API on the server: takes samples in, idempotently, and answers with what they say."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask


def create_app(environ: Mapping[str, str] = os.environ) -> "Flask":
    """Build the app; raises InvalidSettings. It connects to its servers on the first request."""
    # Here, so that the modules that need only a part of the package do not load all of it.
    from flask import Flask

    from api_server import config, pages, routes
    from api_server.data.agents import Agents
    from api_server.data.cache import Cache
    from api_server.data.database import Store
    from api_server.data.gauges import Gauges
    from api_server.web import auth, bodies, cors, encoding, errors
    from api_server.web.metrics import Metrics

    settings = config.load(environ)
    app = Flask("api_server", static_folder=None)
    app.json = encoding.Json(app)
    app.url_map.merge_slashes = False  # else //v1/... is redirected, by a page
    app.config["SETTINGS"] = settings
    store = app.extensions["store"] = Store(settings.database_url)
    cache = app.extensions["cache"] = Cache(
        settings.redis_url, settings.cache_ttl_s, settings.database_name
    )
    agents = app.extensions["agents"] = Agents(store, cache)
    metrics_ = app.extensions["metrics"] = Metrics()
    app.extensions["gauges"] = Gauges(store, cache, agents, settings.device_tokens.values())
    metrics_.register(app)
    errors.register(app)
    cors.register(app, settings.cors_origins)
    auth.register(app, settings)
    app.after_request(bodies.drop_after)
    routes.register(app)
    pages.register(app)
    return app
