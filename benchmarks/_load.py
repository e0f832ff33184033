"""A load of prepared requests over a number of kept connections, as a fleet of agents makes it."""

import http.client
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

START = datetime(2026, 6, 1, tzinfo=UTC)


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


def post_all(
    url: str, work: Sequence[tuple[str, Sequence[bytes]]], at_once: int | None = None
) -> None:
    """Send each (token, bodies) over a connection of its own, so many or all at the same time."""

    def send(token: str, bodies: Sequence[bytes]) -> None:
        connection = Connection(url, token)
        for payload in bodies:
            connection.post(payload)
        connection.http.close()

    with ThreadPoolExecutor(at_once or len(work)) as threads:
        for future in [threads.submit(send, *one) for one in work]:
            future.result()
