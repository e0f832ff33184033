"""A week with a dongle that does wrong all that real ones do: nothing false is ever read."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.sources import SourceError
from edge_agent.sources.sungrow.link import Pace
from edge_agent.sources.sungrow.normalize import normalize
from edge_agent.sources.sungrow.registers import LIVE, OPTIONAL
from tests.simulators.house import House
from tests.simulators.inverter import InverterSimulator
from tests.simulators.inverter_words import HouseWords
from tests.simulators.misbehaviour import LASTING, PASSING_ZEROS, Misbehaviour
from tests.simulators.plan import Plan
from tests.support.sungrow import source

pytestmark = pytest.mark.slow

START = datetime(2026, 4, 14, tzinfo=UTC)
PLAN = Plan(shaded=True, alarms={(START + timedelta(days=n)).date(): "13065.14" for n in range(7)})
PACE = Pace(gap_s=0.0, request_s=0.1, poll_s=1.0, retry_block_s=1.0)
EXPORT_TOLERANCE_W = 60  # a dead register within the identity's tolerance is not told from a true 0


class Week:
    """The true words of the house's inverter at `now`."""

    def __init__(self):
        self.now = START
        self._words = HouseWords(House(5, PLAN))

    def __call__(self):
        return self._words.at(self.now)


def truth_of(words):
    """The sample of the true words."""
    blocks = {start: [words.get(start + n, 0) for n in range(count)] for start, count in BLOCKS}
    return normalize(blocks, "inverter", START).sample


BLOCKS = (*LIVE, *OPTIONAL)


def false_readings(sample, truth):
    """The fields that say what is not so; what is unknown is not false."""
    for name, value in sample.items():
        told, true = value, truth[name]
        if name in ("device_id", "ts", "sample_count") or told is None or told == true:
            continue
        close = name == "export_power_w" and true is not None
        if not close or abs(told - true) > EXPORT_TOLERANCE_W:
            yield name, told, true


@pytest.mark.parametrize(
    ("days", "every_s"),
    [(7, 300), pytest.param(7, 15, marks=pytest.mark.full)],
    ids=["every five minutes", "every 15 s"],
)
def test_a_week_with_a_dongle_that_does_all_of_it_has_no_false_reading(days, every_s):
    week, samples, lost, known = Week(), 0, 0, Counter()
    dongle, found = Misbehaviour(week, 11), []
    with InverterSimulator(dongle) as simulator, source(simulator.port, PACE, delay_ms=0) as made:
        dongle.take(simulator, by_itself=False)
        while week.now < START + timedelta(days=days):
            dongle.turn()
            try:
                sample = made.read()[0]
            except SourceError:
                lost += 1
            else:
                samples += 1
                known.update(name for name, value in sample.items() if value is not None)
                false = list(false_readings(sample, truth_of(dongle.with_true_alarms())))
                found += [(week.now, sorted(dongle.active), each) for each in false]
            week.now += timedelta(seconds=every_s)
            simulator.requests.clear()
    print(f"{samples} samples, {lost} polls lost, {len(found)} false; known: {dict(known)}")
    assert found[:5] == []
    assert dongle.seen >= {*LASTING, *PASSING_ZEROS, "refusals", "breaks", "cuts", "exceptions"}
    assert samples > 0.9 * (samples + lost)
    assert min(known[name] for name in ("load_power_w", "battery_soc_pct")) > 0.6 * samples
