"""The short way of an ordinary ingest: taken before Flask, which costs more than all its checks.

Only what will be answered with 200 is taken. Everything else goes on to Flask as it came, which
checks it anew and says what is wrong.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from time import perf_counter
from typing import Any, Protocol

from api_server.config import Settings
from api_server.data.cache import Cache
from api_server.devices import Device
from api_server.web import auth, batches, bodies, limits
from api_server.web.errors import Abort
from api_server.web.metrics import Metrics

ROUTE = "/v1/ingest"
FAILURE = "sunspool.failure"  # in the environment of a request: what went wrong with it here


class Taker(Protocol):
    """What stores a batch that was checked, and counts it."""

    def take(
        self, device: Device, columns: batches.Columns, told: Any, now: datetime
    ) -> dict[str, int]: ...


class Shortcut:
    """WSGI in front of Flask's."""

    def __init__(
        self,
        flask: Callable[..., Iterable[bytes]],
        settings: Settings,
        callers: auth.Callers,
        intake: Taker,
        cache: Cache,
        metrics: Metrics,
    ):
        self._flask, self._settings, self._callers = flask, settings, callers
        self._intake, self._cache, self._metrics = intake, cache, metrics
        self._readers = batches.readers()
        self._headers = [("Content-Type", "application/json")]
        if settings.cors_origins:
            self._headers.append(("Vary", "Origin"))

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer, or leave it to Flask."""
        if environ["PATH_INFO"] != ROUTE or environ["REQUEST_METHOD"] != "POST":
            return self._flask(environ, start)
        began_s = perf_counter()
        try:
            counts = self._take(environ)
        except Exception as error:  # noqa: BLE001 - Flask has an answer to each
            counts, environ[FAILURE] = None, error
        if counts is None:
            return self._flask(environ, start)
        self._metrics.count_request(ROUTE, "POST", 200, began_s)
        answer = json.dumps(counts, separators=(",", ":")).encode() + b"\n"
        start("200 OK", [*self._headers, ("Content-Length", str(len(answer)))])
        return [answer]

    def _take(self, environ: dict[str, Any]) -> dict[str, int] | None:
        """Store the batch and say how many are new; None if it is not an ordinary one."""
        token = auth.token_digest(environ.get("HTTP_AUTHORIZATION", ""))
        caller = self._callers.get(token) if token else None
        if token is None or caller is None or caller.writable_device is None:
            return None
        device, now = caller.writable_device, datetime.now(UTC)
        body = self._body(environ)
        read = body and self._readers[device.kind].read(
            body, device.device_id, now, self._settings.keep_samples_days
        )
        if not read or len(read[0]["ts"]) > self._settings.max_samples_per_request:
            return None
        if limits.excess_s(self._cache, token, self._settings.max_requests_per_minute):
            return None
        return self._intake.take(device, *read, now)

    def _body(self, environ: dict[str, Any]) -> bytes | None:
        """The body, which Flask can read once more; None for one without a fit length or form."""
        length = environ.get("CONTENT_LENGTH", "")
        encoding = environ.get("HTTP_CONTENT_ENCODING", "")
        limit = self._settings.max_request_bytes
        if not (length.isascii() and length.isdigit() and int(length) <= limit):
            return None
        if encoding not in ("", "gzip") or "HTTP_TRANSFER_ENCODING" in environ:
            return None
        body = b""
        with suppress(OSError):
            body = environ["wsgi.input"].read(int(length))
        environ["wsgi.input"] = BytesIO(body)
        if len(body) != int(length):
            return None
        if encoding:
            with suppress(Abort):
                return bodies.inflate(body, limit)
            return None
        return body


def raise_failure(environ: Mapping[str, Any]) -> None:
    """Raise what went wrong with a request on the short way."""
    if FAILURE in environ:
        raise environ[FAILURE]
