"""Answers as msgspec writes them: thousands of numbers in a tenth of the time."""

from typing import Any

import msgspec
from flask import Response
from flask.json.provider import DefaultJSONProvider


class Json(DefaultJSONProvider):
    """Writes the answers of the app."""

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """An answer, which ends with its line."""
        told = msgspec.json.encode(self._prepare_response_obj(args, kwargs))
        return self._app.response_class(told + b"\n", mimetype=self.mimetype)
