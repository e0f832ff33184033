"""gunicorn's threaded worker with some habits of ours.

Ordinary ingests are read by the main thread and stored together. A client that drips its request
cannot hold a thread: it must have sent all of it in time. One that leaves its connection open
cannot hold the main thread. And what is no HTTP is refused in JSON, without repeating what was
sent, to the client or in the log: it may well hold a token.
"""

import json
import logging
import selectors
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from ssl import SSLError
from typing import Any

from gunicorn import glogging
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from api_server.web.together import MOST_BYTES, Together

ARRIVAL_S = 10.0
LOOK_EVERY_S = 0.5
CLOSING_S = 2.0  # in which a client may close a connection after its last answer
PIECE = 65_536
KEPT: Future[bool] = Future()  # of a request whose connection may be used again
KEPT.set_result(True)
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
        self._closing: dict[Any, float] = {}
        self._looked_s = 0.0  # at what has not arrived, by the monotonic clock
        self._read: dict[Any, bytes] = {}  # of requests that threads are to handle
        self._together: Together | None = None

    def load_wsgi(self) -> None:
        """Make the app; its ingests are taken together, except over TLS of our own."""
        super().load_wsgi()
        shortcut = self.wsgi.extensions["shortcut"]
        if not self.cfg.is_ssl:
            self._together = Together(shortcut, self.tpool.submit, self._finish_group)

    def enqueue_req(self, conn: Any) -> None:
        """Called by the main thread when a request may have come over a connection."""
        buffered = conn.initialized and conn.parser.unreader.buf.getvalue()
        if self._together is None or buffered:
            super().enqueue_req(conn)
            return
        piece, begun = b"", conn in self._together.incomplete
        try:
            piece = conn.sock.recv(MOST_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._await(conn, begun)
            return
        except OSError:
            pass  # the thread will meet it again
        # As gunicorn does: some connections stay for those who come, or none could be accepted.
        has_room = self.nr_conns <= self.max_keepalived
        given_back = self._together.offer(conn, piece, self.alive, has_room)
        if given_back is not None:
            self._hand_over(conn, given_back)
        elif conn in self._together.incomplete:
            self._await(conn, begun)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Store together what arrived at the same time."""
        patience_s = self._together.patience_s if self._together is not None else timeout
        super().wait_for_and_dispatch_events(min(timeout, patience_s))
        if self._together is not None:
            self._together.go()

    def _await(self, conn: Any, begun: bool) -> None:
        """Wait without a thread until something comes over a connection, no longer for a request
        that has begun than from there."""
        if not begun:
            conn.timeout = time.monotonic() + ARRIVAL_S
        self.pending_conns.append(conn)
        readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def _hand_over(self, conn: Any, data: bytes) -> None:
        """Let a thread handle a request that has begun with this."""
        conn.data_ready = True
        self._read[conn] = data
        super().enqueue_req(conn)

    def _finish_group(self, ended: list[tuple[Any, bytes | None, bool]]) -> None:
        """Called by a thread when a group of ingests has ended."""
        self.method_queue.defer(self._settle, ended)

    def _settle(self, ended: list[tuple[Any, bytes | None, bool]]) -> None:
        """Of each request that was answered, its connection is kept or closed; those with their
        data are handled by threads."""
        self._together.settled()
        for conn, data, keeps in ended:
            conn.init()
            if data is not None:
                self._hand_over(conn, data)
            elif keeps:
                self.finish_request(conn, KEPT)
            else:
                self._close(conn)

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """Called by the main thread when a request was handled; gunicorn would wait here, and hold
        up all others, until a client closes what is not kept."""
        if fs.cancelled() or fs.exception() or fs.result():
            super().finish_request(conn, fs)
        else:
            self._close(conn)

    def _close(self, conn: Any) -> None:
        """Close once the client does: what it still sends would make its answer be lost."""
        self._closing[conn] = time.monotonic() + CLOSING_S
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drop, conn))
        except (OSError, ValueError):
            self._closed(conn)

    def _drop(self, conn: Any, sock: Any) -> None:
        """Read what comes over a connection that closes."""
        try:
            if sock.recv(PIECE):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._closed(conn)

    def _closed(self, conn: Any) -> None:
        del self._closing[conn]
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def handle(self, conn: Any) -> Any:
        """Handle one request, in a thread; gunicorn itself would read from it for ever."""
        self._receiving[conn] = time.monotonic() + ARRIVAL_S
        if data := self._read.pop(conn, b""):
            conn.init()
            conn.parser.unreader.unread(data)
        try:
            return super().handle(conn)
        finally:
            del self._receiving[conn]

    def murder_keepalived(self, *args: Any, **options: Any) -> None:
        """Called by the main thread after each event, at least once a second: end what takes too
        long to arrive."""
        super().murder_keepalived(*args, **options)
        now = time.monotonic()
        if now < self._looked_s + LOOK_EVERY_S:
            return
        self._looked_s = now
        self._give_up_waiting(now)
        for conn, ends in self._closing.copy().items():
            if now > ends:
                self._closed(conn)
        for conn, ends in self._receiving.copy().items():
            if now > ends:
                # Only the way in is closed: an answer that is on its way still gets out. Not by
                # a TLS connection's own method, which would end the encryption.
                with suppress(OSError):
                    socket.socket.shutdown(conn.sock, socket.SHUT_RD)

    def _give_up_waiting(self, now: float) -> None:
        """Let threads wait for the rest of requests that did not come at once. When the worker
        ends, a silent connection has a moment left, as one that was used before has."""
        incomplete = self._together.incomplete if self._together else {}
        for conn in list(self.pending_conns):
            if not self.alive:
                conn.timeout = min(conn.timeout, now + STOP_KEEPALIVE_LINGER)
            if conn in incomplete and conn.timeout < now + ARRIVAL_S - LOOK_EVERY_S:
                self.pending_conns.remove(conn)
                self.poller.unregister(conn.sock)
                self._hand_over(conn, incomplete.pop(conn))

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
