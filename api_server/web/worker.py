"""gunicorn's threaded worker with two habits of ours.

A client that drips its request can not hold a thread: it must have sent all of it in time. And
what is no HTTP is refused in JSON, without repeating what was sent, to the client or in the log:
it may well hold a token.
"""

import json
import logging
import socket
import time
from contextlib import suppress
from ssl import SSLError
from typing import Any

from gunicorn import glogging
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import ThreadWorker

ARRIVAL_S = 10.0
STATUSES = {
    LimitRequestLine: "414 URI Too Long",
    LimitRequestHeaders: "431 Request Header Fields Too Large",
}

log = logging.getLogger(__name__)


class Logger(glogging.Logger):
    """gunicorn's, without the access log, which would be made for every request and thrown away."""

    access_log_enabled = False


class Worker(ThreadWorker):
    """Answers requests with a pool of threads."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._receiving: dict[Any, float] = {}

    def handle(self, conn: Any) -> Any:
        """Handle one request, in a thread; gunicorn itself would read from it for ever."""
        self._receiving[conn] = time.monotonic() + ARRIVAL_S
        try:
            return super().handle(conn)
        finally:
            del self._receiving[conn]

    def murder_keepalived(self, *args: Any, **options: Any) -> None:
        """Called every second by the main thread: end what takes too long to arrive."""
        super().murder_keepalived(*args, **options)
        now = time.monotonic()
        for conn, ends in self._receiving.copy().items():
            if now > ends:
                # Only the way in is closed: an answer that is on its way still gets out. Not by
                # a TLS connection's own method, which would end the encryption.
                with suppress(OSError):
                    socket.socket.shutdown(conn.sock, socket.SHUT_RD)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Refuse what could not be read as a request."""
        ours = not isinstance(exc, ParseException | SSLError)
        status = STATUSES.get(type(exc), "500 Internal Server Error" if ours else "400 Bad Request")
        msg = f"a request was refused: {type(exc).__name__}"
        level = logging.ERROR if ours else logging.WARNING
        log.log(level, msg, extra={"event": "refused"}, exc_info=exc if ours else None)
        body = json.dumps({"detail": f"{status[4:]}."}).encode()
        head = (
            f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with suppress(OSError):
            client.settimeout(1)
            client.sendall(head.encode() + body)
