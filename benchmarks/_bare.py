"""The least that a cached answer costs here: a Flask view with one Redis GET, nothing checked."""

import os

import redis
from flask import Flask, Response


def create_app() -> Flask:
    """An app that says it is there, and answers its one route with what one key holds."""
    app = Flask("bare")
    server = redis.Redis.from_url(os.environ["REDIS_URL"], protocol=2)

    @app.get("/")
    def root() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/realtime")
    def realtime() -> Response:
        return Response(server.get("bare"), mimetype="application/json")

    return app
