"""The two APIs of a simulated HomeWizard meter, and the faults it may suffer from."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

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


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def meter(self) -> Any:
        """The simulator that this answers for."""
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
        if status != 204:
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
            told = self.meter.telegram
            self.answer(*((200, told()) if callable(told) else told), "text/plain")

    def tell(self, measurement: dict[str, Any]) -> None:
        """Answer with a measurement, and remember it."""
        self.meter.told.append(measurement)
        self.answer(200, measurement)

    def log_message(self, *_: Any) -> None:
        """Nothing: the output of tests is for failures."""


class V1(Handler):
    """API v1: plain HTTP, and nobody is asked who he is."""

    def do_GET(self) -> None:
        """Answer a read."""
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


class V2(Handler):
    """API v2: every request but the pairing carries a token."""

    def do_GET(self) -> None:
        """Answer a read."""
        meter = self.meter
        if not self._allowed():
            return
        if self.path == "/api":
            self.answer(200, meter.device)
        elif self.path == "/api/measurement":
            self.tell(meter.measure())
        elif self.path == "/api/telegram":
            self.tell_telegram()
        elif self.path == "/api/system":
            self.answer(200, meter.system_state())
        elif self.path == "/api/batteries" and meter.batteries is not None:
            self.answer(200, meter.batteries)
        elif self.path == "/api/user":
            mine = self._user()
            self.answer(200, [{"name": name, "current": name == mine} for name in meter.users])
        else:
            self.answer(404, {"error": "request:not-found"})

    def do_POST(self) -> None:
        """Pair a user, if the button was pressed."""
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

    def do_PUT(self) -> None:
        """Change the settings, or do what takes no body."""
        if not self._allowed():
            return
        if self.path in ("/api/system/identify", "/api/system/reboot"):
            self.answer(204, b"")
        elif self.path != "/api/system":
            self.answer(404, {"error": "request:not-found"})
        elif self.meter.change_system(self.body):
            self.answer(200, self.meter.system_state())
        else:
            self.answer(400, {"error": "json:no-parameters-recognized"})

    def do_DELETE(self) -> None:
        """Void a token, one's own too."""
        if not self._allowed():
            return
        if self.path != "/api/user":
            self.answer(404, {"error": "request:not-found"})
        elif "name" not in self.body:
            self.answer(400, {"error": "json:parameter-missing:name"})
        elif self.meter.forget(self.body["name"]):
            self.answer(204, b"")
        else:
            self.answer(400, {"error": "user:not-found"})

    def _allowed(self) -> bool:
        """Whether version and token are right; otherwise the request is answered."""
        if self.headers.get("X-Api-Version", "2") != "2":
            self.answer(400, {"error": "request:api-version-not-supported"})
        elif self._user() is None:
            self.answer(401, {"error": "user:unauthorized"})
        else:
            return True
        return False

    def _user(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        known = {token: name for name, token in self.meter.users.items()}
        return known.get(token) if scheme == "Bearer" else None
