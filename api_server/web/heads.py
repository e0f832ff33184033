"""The head of an ordinary ingest, read without making a request of it.

Only what can be read in one way is taken: a few plain fields, none of them twice, and a length.
gunicorn reads everything else.
"""

import re
from typing import NamedTuple

HEAD = re.compile(rb"POST /v1/ingest HTTP/1\.1\r\n((?:[A-Za-z-]+: [!-~](?:[ -~]*[!-~])?\r\n)+)\r\n")
FIELDS = {
    b"accept",
    b"accept-encoding",
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"host",
    b"user-agent",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
}
KEPT = {b"keep-alive": True, b"close": False}
ENCODINGS = {b"": False, b"gzip": True}
LONGEST_LENGTH = 9  # digits


class Head(NamedTuple):
    """What the head says; the body stands between `start` and `end` of what has come."""

    authorization: str
    gzip: bool
    keeps: bool  # the connection
    start: int
    end: int


def read(data: bytes) -> Head | None:
    """The head of what has come so far; None if it is not an ordinary one."""
    found = HEAD.match(data)
    if not found:
        return None
    lines = found[1][:-2].split(b"\r\n")
    fields = {name.lower(): value for name, _, value in (one.partition(b": ") for one in lines)}
    length = fields.get(b"content-length", b"")
    gzip = ENCODINGS.get(fields.get(b"content-encoding", b""))
    keeps = KEPT.get(fields.get(b"connection", b"keep-alive"))
    if len(fields) < len(lines) or not fields.keys() <= FIELDS or b"host" not in fields:
        return None
    if not length.isdigit() or len(length) > LONGEST_LENGTH or gzip is None or keeps is None:
        return None
    authorization = fields.get(b"authorization", b"").decode("latin-1")
    return Head(authorization, gzip, keeps, found.end(), found.end() + int(length))
