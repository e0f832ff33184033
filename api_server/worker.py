"""gunicorn's threaded worker, which no slow client can hold: a request must arrive in time."""

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

ARRIVAL_S = 20.0


class Worker(ThreadWorker):
    """Cuts off connections that are still sending their request after ARRIVAL_S."""

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

    def murder_pending(self) -> None:
        """Called every second by the main thread: end what takes too long to arrive."""
        super().murder_pending()
        now = time.monotonic()
        for conn, ends in self._receiving.copy().items():
            if now > ends:
                # Only the way in is closed: an answer that is on its way still gets out.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)
