"""What tests of the agent share: settings that are good, samples, a spool with some in it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge_agent import config
from edge_agent.clock import Clock, ReadingTime
from edge_agent.shared.samples import format_time
from edge_agent.spool.queue import Spool

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
TOKEN = "the-device-token"


def environ(folder: Path, **changes: Any) -> dict[str, str]:
    """Good settings as the environment has them; None leaves one out."""
    good = {
        "SUNGROW_HOST": "127.0.0.1",
        "VPS_INGEST_URL": "https://127.0.0.1:9",
        "VPS_DEVICE_TOKEN": TOKEN,
        "DEVICE_ID": "house",
        "SPOOL_PATH": str(folder / "spool.db"),
    }
    return {name: str(value) for name, value in (good | changes).items() if value is not None}


def settings(folder: Path, **changes: Any) -> config.Settings:
    """Good settings as the program has them."""
    return config.load(environ(folder, **changes))


def sample(number: int, **changes: Any) -> dict[str, Any]:
    """An inverter's sample; the number is its PV power and the place of its time."""
    good = {
        "device_id": "house",
        "ts": format_time(START + number * timedelta(seconds=5)),
        "pv_power_w": float(number),
        "battery_power_w": None,
        "battery_soc_pct": None,
        "load_power_w": 400.0,
        "export_power_w": 12.5,
    }
    return good | changes


def numbers(stored: Mapping[Any, dict[str, Any]]) -> list[int]:
    """Which of those samples a server has."""
    return sorted(round(sample["pv_power_w"]) for sample in stored.values())


def at(ts: datetime) -> ReadingTime:
    """A time that is trusted."""
    return ReadingTime(ts, 0.0, "this boot", trusted=True)


def left_spool(path: Path) -> Spool:
    """The spool of an agent that ended; what it held has a time, so that it can be peeked.

    Where nothing sets this machine's clock an agent holds all until a server told the time.
    """
    spool = Spool(path)
    spool.place(Clock(kernel=lambda: True).read())
    return spool


class CountingMeter:
    """What a P1 meter tells: every reading is another one, and `served` is the last."""

    def __init__(self):
        self.served = 0

    def __call__(self) -> dict[str, Any]:
        self.served += 1
        return {"active_power_w": 100, "total_power_import_kwh": self.served / 1000}


def reading(sample: dict[str, Any]) -> int:
    """Which of those readings became this sample."""
    return round(sample["energy_import_kwh"] * 1000)


def p1_environ(meter_port: int, server_port: int, ca_file: Path, **changes: Any) -> dict[str, str]:
    """Settings of an agent that reads a simulated meter (API v1) and uploads to loopback."""
    good = {
        "HW_P1_HOST": "127.0.0.1",
        "HW_P1_PORT": meter_port,
        "HW_P1_API": "v1",
        "VPS_INGEST_URL": f"https://127.0.0.1:{server_port}",
        "VPS_DEVICE_TOKEN": TOKEN,
        "VPS_CA_FILE": ca_file,
        "DEVICE_ID": "meter",
        "UPLOAD_INTERVAL_S": 1,
        "MIN_BACKOFF_S": 0.2,
        "MAX_BACKOFF_S": 1,
    }
    return {name: str(value) for name, value in (good | changes).items() if value is not None}
