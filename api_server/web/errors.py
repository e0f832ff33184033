"""Every answer that is not the one asked for: JSON with a `detail`, never a page, never an echo."""

import logging
from typing import Any, NoReturn

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException, InternalServerError

from api_server.data.database import DatabaseUnavailable

log = logging.getLogger(__name__)
RETRY_AFTER_S = "5"
TEXTS = {
    400: "The request is not valid HTTP.",
    404: "There is nothing at this path.",
    405: "This path does not take this method.",
    500: "Something went wrong here; it has been logged.",
}


class Answer(Response):
    """Every answer of the API, also an empty one."""

    default_mimetype = "application/json"


class Abort(Exception):
    """Ends a request with a status and a detail."""

    def __init__(self, status: int, detail: Any, headers: dict[str, str]):
        super().__init__(status)
        self.status, self.detail, self.headers = status, detail, headers


def abort_with(status: int, detail: Any, **headers: str) -> NoReturn:
    """End the request with this status; header names are written with underscores."""
    raise Abort(status, detail, {name.replace("_", "-"): v for name, v in headers.items()})


def unavailable(error: DatabaseUnavailable) -> Abort:
    """What to answer without the database; it is logged."""
    log.warning("database: %s", error, extra={"event": "database_unavailable"})
    detail = "The database gives no answer now; try again soon."
    return Abort(503, detail, {"Retry-After": RETRY_AFTER_S})


def register(app: Flask) -> None:
    """Answer every error of the app with JSON."""
    app.response_class = Answer

    @app.errorhandler(Abort)
    def known(error: Abort) -> Response:
        response = jsonify(detail=error.detail)
        response.status_code = error.status
        response.headers.update(error.headers)
        return response

    @app.errorhandler(DatabaseUnavailable)
    def no_database(error: DatabaseUnavailable) -> Response:
        return known(unavailable(error))

    @app.errorhandler(HTTPException)
    def of_the_library(error: HTTPException) -> Response:
        response = jsonify(detail=TEXTS.get(error.code or 500, error.name))
        response.status_code = error.code or 500
        allowed = getattr(error, "valid_methods", None)
        if allowed:
            response.headers["Allow"] = ", ".join(sorted(allowed))
        return response

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        app.logger.exception("unexpected error", extra={"event": "error"})
        return of_the_library(InternalServerError())
