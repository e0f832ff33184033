"""What tests of the agent share: settings that are good, samples, a spool with some in it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge_agent import config
from edge_agent.samples import format_time

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
