"""An HTTPS server that takes samples as ours does, or answers by a script: every row of the table.

It keeps a ledger: what it has stored, how often, and every request with the time it came.
"""

import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request as it came, its body inflated; `at` is monotonic."""

    path: str
    headers: dict[str, str]
    samples: list[dict[str, Any]]
    size: int
    at: float
    agent: dict[str, Any] | None = None

    @property
    def token(self) -> str:
        """The bearer token."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass(frozen=True)
class Reply:
    """What to answer; `store` says whether the samples are in the database before that."""

    status: int = 200
    body: Any = None  # bytes as they are, anything else as JSON; None: the true answer
    headers: dict[str, str] = field(default_factory=dict)
    store: bool = False
    drip_s: float = 0.0  # between any two bytes, headers too
    silent: bool = False  # never a byte
    reset: bool = False  # the connection breaks instead


ACCEPT = Reply(store=True)
Rule = Callable[[Request], Reply]


def refuse_named(bad: Callable[[dict[str, Any]], bool], status: int = 422) -> Rule:
    """Refuse as our server does: all or nothing, naming each sample that is bad."""

    def answer(request: Request) -> Reply:
        detail = [
            {"loc": ["samples", index, "pv_power_w"], "msg": "is bad", "type": "value"}
            for index, sample in enumerate(request.samples)
            if bad(sample)
        ]
        return Reply(status, {"detail": detail}) if detail else ACCEPT

    return answer


def refuse_silently(bad: Callable[[dict[str, Any]], bool], status: int = 400) -> Rule:
    """Refuse a batch with a bad sample in it without saying which."""
    return lambda request: Reply(status, b"no") if any(map(bad, request.samples)) else ACCEPT


class IngestServer:
    """Answers each request with the next reply of the script, then by its rule."""

    def __init__(self, tls: tuple[Path, Path], port: int = 0):
        self.script: deque[Reply] = deque()
        self.rule: Rule = lambda request: ACCEPT
        self.requests: list[Request] = []
        self.stored: dict[tuple[str, str], dict[str, Any]] = {}
        self.times_stored: Counter[tuple[str, str]] = Counter()
        self.closing = threading.Event()
        self._ledger = threading.Lock()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        self._server = _Server(("127.0.0.1", port), self, context)
        self.port = self._server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "IngestServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()

    def say(self, *replies: Reply) -> "IngestServer":
        """Put replies on the script."""
        self.script.extend(replies)
        return self

    def wait_for(self, condition: Callable[[], object], seconds: float = 20) -> bool:
        """Whether the condition came true in time."""
        end = time.monotonic() + seconds
        while not (true := condition()) and time.monotonic() < end:
            time.sleep(0.01)
        return bool(true)

    def receive(self, request: Request) -> Reply:
        """Note a request, decide on the reply, and store if it says so."""
        with self._ledger:
            self.requests.append(request)
            reply = self.script.popleft() if self.script else self.rule(request)
            if not reply.store:
                return reply
            before = len(self.stored)
            for sample in request.samples:
                key = (sample["device_id"], sample["ts"])
                self.stored.setdefault(key, sample)
                self.times_stored[key] += 1
            if reply.body is not None:
                return reply
            inserted, received = len(self.stored) - before, len(request.samples)
            body = {"inserted": inserted, "received": received, "duplicates": received - inserted}
            return Reply(reply.status, body, reply.headers, True, reply.drip_s, reply.silent)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], owner: IngestServer, context: ssl.SSLContext):
        self.owner = owner
        self._context = context
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread."""
        request.settimeout(60)
        with suppress(OSError), self._context.wrap_socket(request, server_side=True) as secured:
            self._connections.add(secured)
            try:
                super().finish_request(secured, client_address)
            finally:
                self._connections.discard(secured)

    def close_connections(self) -> None:
        """Wake the threads that wait on a kept connection."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to talk about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        """Read all, then answer as told."""
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = gzip.decompress(raw) if headers.get("content-encoding") == "gzip" else raw
        content = json.loads(body)
        request = Request(
            self.path,
            headers,
            content["samples"],
            len(raw),
            time.monotonic(),
            content.get("agent"),
        )
        self._answer(self.server.owner.receive(request))

    def _answer(self, reply: Reply) -> None:
        closing = self.server.owner.closing
        if reply.silent:
            closing.wait()
            self.close_connection = True
        elif reply.reset:
            # A close with lingering time 0 is a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        else:
            for piece in self._pieces(reply):
                self.wfile.write(piece)
                self.wfile.flush()
                if reply.drip_s and closing.wait(reply.drip_s):
                    self.close_connection = True
                    return

    def _pieces(self, reply: Reply) -> Iterable[bytes]:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"Date": self.date_time_string(), "Content-Length": str(len(body))}
        lines = [f"{name}: {value}" for name, value in (headers | reply.headers).items() if value]
        whole = "\r\n".join([f"HTTP/1.1 {reply.status} Word", *lines, "", ""]).encode() + body
        return (whole[i : i + 1] for i in range(len(whole))) if reply.drip_s else (whole,)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""
