"""What the tests of the inverter share: recordings, and a source for a simulated one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event
from types import SimpleNamespace
from typing import Any

from edge_agent.sources import SourceError
from edge_agent.sources.sungrow.link import Pace
from edge_agent.sources.sungrow.reader import SungrowSource
from tests.simulators.inverter import InverterSimulator
from tests.simulators.inverter_words import RECORDINGS, recorded
from tests.support.agent import at

NOW = datetime(2026, 2, 18, 12, 31, 12, tzinfo=UTC)
NOON = "noon_charging_exporting"
EVENING = "evening_discharging_importing"
NIGHT = "winter_night_empty_battery"
CAPTURE = "sh4.0rs_2026-02-18"
BRISK = Pace(gap_s=0.05, request_s=0.5, poll_s=2.0)


def words_of(name: str) -> dict[int, int]:
    """Every word of a recorded inverter."""
    return recorded(RECORDINGS / f"{name}.json")


def expected(name: str) -> dict[str, Any]:
    """The sample that must come of it."""
    return json.loads((RECORDINGS / f"{name}.expected.json").read_text())


@contextmanager
def inverter(words: dict[int, int] | None = None) -> Iterator[InverterSimulator]:
    """A simulated inverter with these words, those of noon if none are given."""
    words = words_of(NOON) if words is None else words
    with InverterSimulator(lambda: words) as simulator:
        yield simulator


@contextmanager
def source(
    port: int,
    pace: Pace = BRISK,
    stop: Event | None = None,
    host: str = "127.0.0.1",
    delay_ms: int = 20,
) -> Iterator[SungrowSource]:
    """A source for an inverter on loopback, which is asked more often than a real one."""
    settings = SimpleNamespace(
        device_id="inverter",
        sungrow_host=host,
        sungrow_port=port,
        sungrow_slave_id=1,
        inter_register_delay_ms=delay_ms,
    )
    made = SungrowSource(settings, lambda: at(NOW), stop or Event(), pace)
    try:
        yield made
    finally:
        made.close()


def failure(source: SungrowSource) -> SourceError:
    """The error that the next poll must end with."""
    try:
        sample = source.read()[0]
    except SourceError as error:
        return error
    raise AssertionError(f"a sample came: {sample}")
