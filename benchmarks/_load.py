"""A load of prepared requests over a number of kept connections, as a fleet of agents makes it."""

import http.client
import json
import re
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

START = datetime(2026, 6, 1, tzinfo=UTC)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def seconds_now() -> int:
    """The seconds since START."""
    return int((datetime.now(UTC) - START).total_seconds())


def inverter_sample(device_id: str, second: int) -> dict:
    """An inverter's sample with every field an agent sends."""
    return {
        "device_id": device_id,
        "ts": (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "pv_power_w": 4415.0 - second % 977,
        "pv_daily_kwh": 14.3,
        "battery_power_w": 1620.0,
        "battery_soc_pct": 63.4,
        "battery_temp_c": 18.7,
        "load_power_w": 583.0 + second % 311,
        "export_power_w": 2094.0,
        "pv_total_kwh": round(7758.0 + second / 36000, 1),
        "import_total_kwh": 1825.4,
        "export_total_kwh": round(2190.3 + second / 72000, 1),
        "charge_total_kwh": 2823.0,
        "discharge_total_kwh": 2731.8,
        "mppt1_voltage_v": 352.4,
        "mppt1_current_a": 7.3,
        "mppt2_voltage_v": 318.9,
        "mppt2_current_a": 5.8,
        "battery_soh_pct": 97.0,
        "inverter_temp_c": 41.2,
        "grid_frequency_hz": 50.02,
        "running_state": 0,
    }


def meter_sample(device_id: str, second: int) -> dict:
    """A meter's sample with every field a Belgian meter gives."""
    power = second * 37 % 4000 - 1500
    return {
        "device_id": device_id,
        "ts": (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "power_w": power,
        "import_power_w": max(power, 0),
        "energy_import_kwh": round(13779.338 + second / 7200, 3),
        "energy_export_kwh": round(2190.3 + second / 9000, 3),
        "average_power_15m_w": 123,
        "monthly_power_peak_w": 3560,
        "monthly_power_peak_ts": "2026-06-01T19:30:00Z",
        "tariff": 2,
    }


def body(samples: Sequence[dict]) -> bytes:
    """The body of an ingest request."""
    return json.dumps({"samples": samples}).encode()


class Connection:
    """One kept connection to an API; every answer must be 200."""

    def __init__(self, url: str, token: str):
        parts = urlsplit(url)
        self.http = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(self, payload: bytes) -> bytes:
        """Send one batch of samples and return the answer."""
        self.http.request("POST", "/v1/ingest", payload, self.headers)
        return self._answer()

    def get(self, path: str) -> bytes:
        """Ask for a path and return the answer."""
        self.http.request("GET", path, headers=self.headers)
        return self._answer()

    def _answer(self) -> bytes:
        response = self.http.getresponse()
        content = response.read()
        assert response.status == 200, (response.status, content[:200])
        return content


class Lane:
    """A kept connection for requests that were made before; it costs the machine very little."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        """Send one, whose answer must be one of success."""
        status = self.ask(request)
        assert status in (b"200", b"204"), status

    def ask(self, request: bytes) -> bytes:
        """Send one and read its answer, of which the status is returned."""
        self.socket.sendall(request)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._more()
        found = LENGTH.search(answer, 0, end + 2)
        size = end + 4 + (int(found[1]) if found else 0)
        while len(answer) < size:
            answer += self._more()
        return answer[9:12]

    def _more(self) -> bytes:
        piece = self.socket.recv(65_536)
        assert piece, "the server hung up"
        return piece


def request(path: str, token: str, payload: bytes) -> bytes:
    """A whole POST, ready to be sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


def send_all(url: str, lanes: Sequence[Sequence[bytes]]) -> None:
    """Send requests over so many connections at the same time, each as fast as it is answered."""
    send_paced(url, lanes, float("inf"))


def send_paced(url: str, lanes: Sequence[Sequence[bytes]], rate: float) -> list[float]:
    """Send so many requests a second over all connections; the seconds that each one took.

    They count from when a request was due, whether or not its connection was free by then.
    """
    step, start = len(lanes) / rate, time.perf_counter()

    def send(number: int) -> list[float]:
        lane, waits = Lane(url), []
        for place, one in enumerate(lanes[number]):
            due = start + step * (place + number / len(lanes))
            time.sleep(max(0, due - time.perf_counter()))
            lane.send(one)
            waits.append(time.perf_counter() - due)
        lane.socket.close()
        return waits

    with ThreadPoolExecutor(len(lanes)) as threads:
        return [wait for waits in threads.map(send, range(len(lanes))) for wait in waits]
