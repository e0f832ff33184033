"""The short way of an ordinary ingest: taken before Flask, which costs more than all its checks.

Only what will be answered with 200 is taken, or finds no database. Everything else goes on to Flask
as it came, which checks it anew and says what is wrong.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from api_server.config import Settings
from api_server.data.cache import Cache
from api_server.data.database import DatabaseUnavailable
from api_server.devices import Device
from api_server.web import auth, batches, bodies, limits
from api_server.web.errors import Abort, unavailable
from api_server.web.metrics import Metrics

ROUTE = "/v1/ingest"
FAILURE = "sunspool.failure"  # in the environment of a request: what went wrong with it here

Answer = tuple[str, list[tuple[str, str]], bytes]  # status, headers and body
Writer = tuple[bytes, Device]  # the digest of a token, and whose it is


class Batch(NamedTuple):
    """The samples of an ordinary ingest, checked, and what its agent told."""

    device: Device
    columns: batches.Columns
    told: Any
    now: datetime
    token: bytes = b""


class Taker(Protocol):
    """What stores batches that were checked, and counts them."""

    def take(self, batch: Batch) -> dict[str, int]: ...

    def shares(self, batch: Batch) -> bool: ...

    def take_together(self, batches: list[Batch]) -> dict[Device, dict[str, int]]: ...


class Shortcut:
    """WSGI in front of Flask's, and what reads and answers ingests that are taken together."""

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
        status, headers, body = self._answer(counts, began_s)
        start(status, headers)
        return [body]

    def _take(self, environ: dict[str, Any]) -> dict[str, int] | None:
        """Store the batch and say how many are new; None if it is not an ordinary one."""
        writer = self.writer(environ.get("HTTP_AUTHORIZATION", ""))
        encoding = environ.get("HTTP_CONTENT_ENCODING", "")
        if writer is None or encoding not in ("", "gzip"):
            return None
        body = self._body(environ)
        batch = body and self.read(writer, body, encoding == "gzip")
        if not batch or limits.excess_s(self._cache, [batch.token], self._per_minute)[0]:
            return None
        return self._intake.take(batch)

    @property
    def _per_minute(self) -> int:
        return self._settings.max_requests_per_minute

    def writer(self, authorization: str) -> Writer | None:
        """Who may write, by the header of his request."""
        token = auth.token_digest(authorization)
        caller = self._callers.get(token) if token else None
        if token is None or caller is None or caller.writable_device is None:
            return None
        return token, caller.writable_device

    def read(self, writer: Writer, body: bytes, gzip: bool) -> Batch | None:
        """What was sent; None if it needs a closer look."""
        (token, device), now = writer, datetime.now(UTC)
        if len(body) > self._settings.max_request_bytes:
            return None
        if gzip:
            try:
                body = bodies.inflate(body, self._settings.max_request_bytes)
            except Abort:
                return None
        keep_days = self._settings.keep_samples_days
        read = self._readers[device.kind].read(body, device.device_id, now, keep_days)
        if not read or len(read[0]["ts"]) > self._settings.max_samples_per_request:
            return None
        return Batch(device, *read, now, token)

    def shares(self, batch: Batch) -> bool:
        """Whether a batch can be stored together with others."""
        return self._intake.shares(batch)

    def take_together(self, arrived: list[tuple[Batch, float]]) -> list[Answer | None]:
        """Store batches of several devices together, and answer; the other number of each is when
        it began. None for those that are to come the way of all others."""
        tokens = [batch.token for batch, _ in arrived]
        excess = limits.excess_s(self._cache, tokens, self._per_minute)
        taken = [batch for (batch, _), wait_s in zip(arrived, excess, strict=True) if not wait_s]
        try:
            found = self._intake.take_together(taken)
        except DatabaseUnavailable as error:
            if error.refused:  # perhaps one batch only, and each is tried alone
                return [None] * len(arrived)
            no = unavailable(error)
            return [self._answer({"detail": no.detail}, began_s, no) for _, began_s in arrived]
        return [
            self._answer(found[batch.device], began_s) if batch.device in found else None
            for batch, began_s in arrived
        ]

    def _answer(self, content: Any, began_s: float, error: Abort | None = None) -> Answer:
        self._metrics.count_request(ROUTE, "POST", error.status if error else 200, began_s)
        body = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        more = error.headers.items() if error else ()
        headers = [*self._headers, *more, ("Content-Length", str(len(body)))]
        return "503 Service Unavailable" if error else "200 OK", headers, body

    def _body(self, environ: dict[str, Any]) -> bytes | None:
        """The body, which Flask can read once more; None for one without a fit length."""
        length = environ.get("CONTENT_LENGTH", "")
        limit = self._settings.max_request_bytes
        if not (length.isascii() and length.isdigit() and int(length) <= limit):
            return None
        if "HTTP_TRANSFER_ENCODING" in environ:
            return None
        body = b""
        with suppress(OSError):
            body = environ["wsgi.input"].read(int(length))
        environ["wsgi.input"] = BytesIO(body)
        return body if len(body) == int(length) else None


def raise_failure(environ: Mapping[str, Any]) -> None:
    """Raise what went wrong with a request on the short way."""
    if FAILURE in environ:
        raise environ[FAILURE]
