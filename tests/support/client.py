"""A client that asks an API over a real socket, and samples to give it."""

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support import documented

INVERTER = {
    "device_id": "roof",
    "ts": "2026-06-01T12:00:00Z",
    "pv_power_w": 4415.0,
    "battery_power_w": 1620.0,
    "battery_soc_pct": 63.4,
    "load_power_w": 583.0,
    "export_power_w": 2094.0,
}
METER = {"device_id": "meter", "ts": "2026-06-01T12:00:00Z", "power_w": -543, "import_power_w": 0}
TOKENS = "roof-token:roof,spare-token:roof:sungrow,meter-token:meter:p1,other-token:other"
READERS = "reader-token:roof+meter"


@dataclass
class Answer:
    """What came back: its status, headers, and body as text."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON; fails if it is not."""
        return json.loads(self.text)


class Client:
    """Asks with one token, on a connection of its own for each request; what comes back must be
    as the OpenAPI document has it."""

    def __init__(self, url: str, token: str | None = "roof-token", ca_file: str | None = None):
        self.where = urlsplit(url)
        self.token = token
        self.ca_file = ca_file

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request; underscores in header names become dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            named.setdefault("Authorization", f"Bearer {self.token}")
        kind = http.client.HTTPConnection
        trust: dict[str, Any] = {}
        if self.where.scheme == "https":
            kind = http.client.HTTPSConnection
            trust = {"context": ssl.create_default_context(cafile=self.ca_file)}
        connection = kind(self.where.hostname, self.where.port, timeout=15, **trust)
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            told = Answer(answer.status, answer.headers, answer.read().decode())
            documented.check(
                method, path, told.status, told.headers.get("Content-Type", ""), told.text
            )
            return told
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET a path."""
        return self.ask("GET", path, **headers)

    def post(self, *samples: Any, **headers: str) -> Answer:
        """Ingest samples."""
        return self.ask("POST", "/v1/ingest", json.dumps({"samples": samples}).encode(), **headers)
