"""What the tests of the P1 meter share: an agent's settings for a device on loopback."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge_agent import config
from edge_agent.sources import SourceError
from edge_agent.sources.p1.meter import P1Source
from tests.simulators.homewizard import TOKEN, MeterSimulator
from tests.support.agent import at

NOW = datetime(2026, 11, 21, 14, 0, 0, tzinfo=UTC)
TELEGRAM = "2026-11-21T15:00:00"  # NOW in Brussels
BODY = {"power_w": 77, "energy_import_kwh": 1594.842, "timestamp": TELEGRAM}
V1_BODY = {"active_power_w": 77, "total_power_import_kwh": 1594.842}


class Bodies:
    """What a device tells: `body`, whatever the test puts there."""

    def __init__(self, body: Any):
        self.body = body

    def __call__(self) -> Any:
        return self.body


class Clock:
    """A monotonic clock that only the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def environment(folder: Path, meter: MeterSimulator, ca: Path | None, **more: str) -> dict:
    """The settings of an agent for this meter, as text; without a CA it is asked over v1."""
    return {
        "HW_P1_HOST": "127.0.0.1",
        "HW_P1_PORT": str(meter.port),
        "HW_P1_TIMEOUT_S": "5",
        "DEVICE_ID": "p1",
        "SPOOL_PATH": str(folder / "spool.db"),
        "VPS_INGEST_URL": "https://127.0.0.1:1",
        "VPS_DEVICE_TOKEN": "vps",
        **({"HW_P1_CA_FILE": str(ca), "HW_P1_TOKEN": TOKEN} if ca else {"HW_P1_API": "v1"}),
        **more,
    }


def source(folder: Path, meter: MeterSimulator, ca: Path | None, **more: str) -> P1Source:
    """A source for this meter, whose clock stands at NOW."""
    settings = config.load(environment(folder, meter, ca, **more))
    return P1Source(settings, lambda: at(NOW), Clock())


def refusal(reader: P1Source) -> SourceError:
    """Why the source gives no sample; fails if it gives one."""
    with pytest.raises(SourceError) as caught:
        reader.read()
    return caught.value
