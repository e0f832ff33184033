"""A web service that takes messages, or answers as told: what a channel of alerts talks to."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Received(NamedTuple):
    """One request: its method, path and body, as JSON where it is, and when it came."""

    method: str
    path: str
    body: Any
    at: float  # of the monotonic clock


class MessageSink:
    """Keeps what came; `answers` holds (status, headers) for the next requests, then 200.

    `on_connect` is called before a request is read, and hangs up if it says False; `on_message`
    before it is answered.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        self.on_connect: Callable[[], bool] = lambda: True
        self.on_message: Callable[[], None] = lambda: None
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def handle(self) -> None:
                if sink.on_connect():
                    super().handle()

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                text = self.rfile.read(length)
                try:
                    body = json.loads(text)
                except ValueError:
                    body = text
                sink.received.append(Received(self.command, self.path, body, time.monotonic()))
                sink.on_message()
                status, headers = sink.answers.popleft() if sink.answers else (200, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def messages(self) -> list[str]:
        """The texts of the messages that came."""
        return [one.body["message"] for one in self.received if one.method == "POST"]

    def url(self, path: str = "") -> str:
        """The address of a channel that posts JSON here."""
        return f"json://127.0.0.1:{self.port}/{path}"

    def __enter__(self) -> "MessageSink":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
