"""A HomeWizard meter on a real socket: HTTPS with pairing (v2) or plain HTTP (v1), and its faults.

`POST /simulator` with {"press": true} presses its button; {"fault": "hang"} makes it sick, and
{"fault": null} well again.
"""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.simulators.appliances import SERIAL

TOKEN = "0123456789ABCDEF0123456789ABCDEF"
BUTTON_S = 30.0
FAULTS = {  # what is sent instead of an answer, before it hangs up
    "close": b"",
    "garbage": b"SIP/2.0 200 OK\r\n\r\n",
    "huge": b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{" + b" " * 9_999_998 + b"}",
    "chunks cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{",
    "endless": b"HTTP/1.1 200 OK\r\n" + b"X-Header: and no end\r\n" * 100_000,
    "endless chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + (b"400\r\n" + b" " * 1024 + b"\r\n") * 1000,
    "endless patience": b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
    "long line": b"HTTP/1.1 200 OK\r\nX-Header: " + b"x" * 1_000_000,
}


class MeterSimulator:
    """A device in threads of this process; what it saw is in `requests`, what it told in `told`."""

    def __init__(
        self,
        measure: Callable[[], dict[str, Any]],
        certificate: tuple[Path, Path] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        serial: str = SERIAL,
        firmware: str = "6.00",
    ):
        self.measure = measure
        self.serial = serial
        self.device = {
            "product_name": "P1 Meter",
            "product_type": "HWE-P1",
            "serial": serial,
            "firmware_version": firmware if certificate else "2.11",
            "api_version": "2.0.0" if certificate else "v1",
        }
        self.users = {"local/simulator": TOKEN}
        # hang, drip (from the first byte), trickle (the body), cut, html, one of FAULTS, a status
        self.fault: str | int | None = None
        self.scripted: tuple[int, Any] | None = None  # status and body of every answer
        # Status and body of the telegram's answer; None: never one.
        self.telegram: tuple[int, bytes] | None = (503, b"telegram:no-telegram-received")
        self.api_v1_enabled = True
        self.storage_full = False
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.told: list[dict[str, Any]] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._pressed_at: float | None = None
        self._server = _Server((host, port), self, certificate)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "MeterSimulator":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Hang up on everybody and free the port; may be called twice."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()
        self._thread.join()

    def hang_up(self) -> None:
        """End every connection, as a device does now and then."""
        for connection in list(self._server.open):
            with contextlib.suppress(OSError):  # it is gone already
                connection.shutdown(socket.SHUT_RDWR)

    def press_button(self) -> None:
        """Let the next pairing within half a minute succeed."""
        self._pressed_at = time.monotonic()

    def pair(self, name: str) -> str | None:
        """A token for the name, which voids its older one; None unless the button was pressed."""
        if self._pressed_at is None or time.monotonic() - self._pressed_at > BUTTON_S:
            return None
        self._pressed_at = None
        self.users[name] = f"{len(self.users) + 1:032X}"
        return self.users[name]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], meter: MeterSimulator, certificate: Any):
        self.meter = meter
        self.context = None
        self.open: set = set()
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        super().__init__(address, _V2 if certificate else _V1)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.meter.connections += 1
        try:
            if self.context:  # here and not in accept: a client that stalls must stall itself only
                request.settimeout(10)
                request = self.context.wrap_socket(request, server_side=True)
                request.settimeout(None)
            self.open.add(request)
            self.RequestHandlerClass(request, client_address, self)
        except OSError:
            pass  # a client that hung up or refused our certificate
        finally:
            self.open.discard(request)
            request.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def meter(self) -> MeterSimulator:
        return self.server.meter

    def parse_request(self) -> bool:
        """Note what was asked, and suffer the fault of the day before any answer."""
        if not super().parse_request():
            return False
        length = int(self.headers.get("Content-Length", 0))
        self.body = json.loads(self.rfile.read(length)) if length else {}
        if self.path == "/simulator":
            self._control()
            return False
        self.meter.requests.append((self.command, self.path, dict(self.headers)))
        if self.meter.scripted:
            self.answer(*self.meter.scripted)
            return False
        return not self._suffer(self.meter.fault)

    def _control(self) -> None:
        if self.body.get("press"):
            self.meter.press_button()
        if "fault" in self.body:
            self.meter.fault = self.body["fault"]
        self.answer(200, {"fault": self.meter.fault})

    def _suffer(self, fault: str | int | None) -> bool:
        """Whether the fault has dealt with the request."""
        if fault is None:
            return False
        whole = json.dumps(self.meter.measure()).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole)
        self.close_connection = not isinstance(fault, int) and fault != "html"
        if isinstance(fault, int):
            self.answer(fault, {"error": "user:unauthorized" if fault == 401 else "fault"})
        elif fault == "html":
            self.answer(200, b"<html><body>Welcome</body></html>", "text/html")
        elif fault == "hang":
            self.meter.stopping.wait(600)
        elif fault in ("drip", "trickle"):
            self._drip(head + whole, at_once=len(head) if fault == "trickle" else 0)
        elif fault == "cut":
            self.wfile.write(head + whole[: len(whole) // 2])
        else:
            self.wfile.write(FAULTS[fault])
        return True

    def _drip(self, answer: bytes, at_once: int) -> None:
        self.wfile.write(answer[:at_once])
        for byte in answer[at_once:]:
            if self.meter.stopping.wait(0.2):
                return
            self.wfile.write(bytes([byte]))

    def answer(self, status: int, body: Any, content_type: str = "application/json") -> None:
        """Send one answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def tell_telegram(self) -> None:
        """Answer with the raw telegram, or never."""
        if self.meter.telegram is None:
            self.meter.stopping.wait(600)
            self.close_connection = True
        else:
            self.answer(*self.meter.telegram, "text/plain")

    def tell(self, measurement: dict[str, Any]) -> None:
        """Answer with a measurement, and remember it."""
        self.meter.told.append(measurement)
        self.answer(200, measurement)

    def log_message(self, *_: Any) -> None:
        """Nothing: the output of tests is for failures."""


class _V1(_Handler):
    def do_GET(self) -> None:
        if self.path == "/api":
            self.answer(200, self.meter.device)
        elif self.path not in ("/api/v1/data", "/api/v1/telegram"):
            self.answer(404, {"error": {"id": 901, "description": "Not found"}})
        elif not self.meter.api_v1_enabled:
            self.answer(403, {"error": {"id": 202, "description": "API not enabled"}})
        elif self.path == "/api/v1/telegram":
            self.tell_telegram()
        else:
            self.tell(self.meter.measure())


class _V2(_Handler):
    def do_GET(self) -> None:
        if self.headers.get("X-Api-Version", "2") != "2":
            self.answer(400, {"error": "request:api-version-not-supported"})
        elif self._user() is None:
            self.answer(401, {"error": "user:unauthorized"})
        elif self.path == "/api":
            self.answer(200, self.meter.device)
        elif self.path == "/api/measurement":
            self.tell(self.meter.measure())
        elif self.path == "/api/telegram":
            self.tell_telegram()
        elif self.path == "/api/user":
            users = [{"name": name} for name in self.meter.users]
            self.answer(200, users)
        else:
            self.answer(404, {"error": "request:not-found"})

    def do_POST(self) -> None:
        name = self.body.get("name", "")
        if self.path != "/api/user":
            self.answer(404, {"error": "request:not-found"})
        elif not name.startswith("local/") or not 6 < len(name) <= 46:
            self.answer(400, {"error": "user:name-invalid"})
        elif self.meter.storage_full:
            self.answer(400, {"error": "user:no-storage"})
        elif (token := self.meter.pair(name)) is None:
            self.answer(403, {"error": "user:creation-not-enabled"})
        else:
            self.answer(200, {"token": token, "name": name})

    def _user(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        known = {token: name for name, token in self.meter.users.items()}
        return known.get(token) if scheme == "Bearer" else None
