"""Browsers of the configured origins may read: GET only, and a preflight needs no token."""

from flask import Flask, Response, request

from api_server.web.errors import Answer

PREFLIGHT_S = "600"


def register(app: Flask, origins: frozenset[str]) -> None:
    """Answer preflights and mark answers; must be registered before authentication."""
    if not origins:
        return

    @app.before_request
    def preflight() -> Response | None:
        if request.method == "OPTIONS" and request.headers.get("Origin") in origins:
            return Answer(status=204)
        return None

    @app.after_request
    def allow(response: Response) -> Response:
        response.vary.add("Origin")
        if request.headers.get("Origin") not in origins:
            return response
        if request.method in ("GET", "HEAD", "OPTIONS"):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET"
            response.headers["Access-Control-Allow-Headers"] = "Authorization"
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_S
        return response
