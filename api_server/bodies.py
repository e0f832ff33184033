"""The body of a request: read within its limits, or dropped."""

import zlib
from contextlib import suppress
from typing import NoReturn

from flask import request
from werkzeug.exceptions import HTTPException

from api_server.errors import problem

TOO_LARGE = "The body is larger than MAX_REQUEST_BYTES allows."
DROP_S = 1.0


def read(limit: int) -> bytes:
    """The body, inflated; ends the request with 411, 413, 415 or 422."""
    if request.content_length is None:
        problem(411, "A Content-Length is needed; chunked bodies are not taken.")
    if request.content_length > limit:
        problem(413, TOO_LARGE)
    body = request.stream.read(limit + 1)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip"):
        return _inflate(body, limit)
    if encoding not in ("", "identity"):
        problem(415, "Content-Encoding must be gzip or absent.")
    return body


def _inflate(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error:
        malformed("The body is not valid gzip.")
    if len(inflated) > limit:
        problem(413, TOO_LARGE)
    if not inflater.eof:
        malformed("The body is not complete gzip.")
    return inflated


def malformed(msg: str) -> NoReturn:
    """End the request with 422: the body as a whole is wrong."""
    problem(422, [{"loc": ["body"], "msg": msg, "type": "malformed"}])


def drop(limit: int) -> None:
    """Read what the client is still sending: a proxy that is writing would not see the answer.

    A client that sends nothing for a second is not waited for.
    """
    if not (request.content_length or "Transfer-Encoding" in request.headers):
        return
    socket = request.environ.get("gunicorn.socket")
    if socket:
        socket.settimeout(DROP_S)
    with suppress(OSError, HTTPException):
        request.stream.read(limit)
    if socket:
        socket.settimeout(None)
