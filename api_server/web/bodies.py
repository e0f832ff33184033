"""The body of a request: read within its limits, or dropped."""

import zlib
from contextlib import suppress
from typing import Any, NoReturn

from flask import Response, request
from gunicorn.http.errors import ParseException

from api_server.web.errors import abort_with

TOO_LARGE = "The body is larger than MAX_REQUEST_BYTES allows."
INCOMPLETE = "The body did not arrive completely."
PIECE = 65_536
# So much of what is refused is read on: a person's first upload may be far too large.
DROP_BYTES = 32 * 1024 * 1024
DROP_S = 2.0  # a client that sends nothing for so long is not waited for; the worker ends the rest


def read(limit: int) -> bytes:
    """The body, inflated; ends the request with 408, 411, 413, 415 or 422."""
    length = request.content_length
    if length is None:
        abort_with(411, "A Content-Length is needed; chunked bodies are not taken.")
    if length > limit:
        abort_with(413, TOO_LARGE)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        abort_with(415, "Content-Encoding must be gzip or absent.")
    with suppress(OSError):
        body = request.stream.read(length)
        if len(body) == length:
            return inflate(body, limit) if "gzip" in encoding else body
    abort_with(408, INCOMPLETE)


def inflate(body: bytes, limit: int) -> bytes:
    """What gzip made smaller; ends the request with 413 or 422."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error:
        malformed("The body is not valid gzip.")
    if len(inflated) > limit:
        abort_with(413, TOO_LARGE)
    if not inflater.eof or inflater.unused_data:
        malformed("The body is not one complete gzip stream.")
    return inflated


def malformed(msg: str) -> NoReturn:
    """End the request with 422: the body as a whole is wrong."""
    abort_with(422, [{"loc": ["body"], "msg": msg, "type": "malformed"}])


def drop_after(response: Response) -> Response:
    """Once an early answer is out, read what the client is still sending.

    A client that is writing would see a broken connection instead of the answer. The answer goes
    first: it may as well wait for it before it sends anything.
    """
    if response.status_code >= 400 and (request.content_length or _chunked()):
        environ = request.environ
        response.call_on_close(lambda: _drop(environ))
    return response


def _chunked() -> bool:
    return "Transfer-Encoding" in request.headers


def _drop(environ: dict[str, Any]) -> None:
    if "gunicorn.socket" in environ:
        environ["gunicorn.socket"].settimeout(DROP_S)
    left = DROP_BYTES
    with suppress(OSError, ParseException):
        while left > 0 and (piece := environ["wsgi.input"].read(PIECE)):
            left -= len(piece)
