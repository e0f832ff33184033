"""The pace of the real agent as the inverter sees it: one connection, pauses, never a burst."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from tests.simulators.inverter import InverterSimulator, house_words
from tests.support.agent import environ
from tests.support.servers import EdgeAgent, wait_until
from tests.support.sungrow import CAPTURE, expected, inverter, words_of

pytestmark = pytest.mark.slow

NOON = datetime(2026, 6, 21, 11, tzinfo=UTC)
DELAY_S = 0.020
GAP_S = 5.0


def polls(requests):
    """The requests of each poll; the first of a poll is the one at 5007."""
    starts = [n for n, request in enumerate(requests) if request.address == 5007]
    return [requests[start:end] for start, end in pairwise([*starts, len(requests)])]


@pytest.fixture
def agent(tmp_path):
    made = []

    def start(port, **settings):
        made.append(EdgeAgent(tmp_path / "agent", environ(tmp_path, SUNGROW_PORT=port, **settings)))
        made[0].start()
        return made[0]

    yield start
    for each in made:
        each.kill()


def check_pace(simulator, minimum):
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(simulator.requests)]
    assert min(gaps) >= DELAY_S
    found = polls(simulator.requests)
    assert len(found) >= minimum
    starts = [poll[0].at_s for poll in found]
    between = [later - earlier for earlier, later in pairwise(starts)]
    assert min(between) >= GAP_S
    assert all(len(poll) <= 5 for poll in found)
    return between


@pytest.mark.parametrize(
    "seconds", [12, pytest.param(60, marks=pytest.mark.full)], ids=["short", "a minute"]
)
def test_one_connection_pauses_between_requests_and_five_seconds_between_polls(seconds, agent):
    with InverterSimulator(house_words(1, NOON, 60)) as simulator:
        running = agent(simulator.port)
        count = int(seconds / GAP_S)
        wait_until(lambda: len(polls(simulator.requests)) > count, 2 * seconds, "polls")
        assert running.stop() == 0
    between = check_pace(simulator, count)
    assert simulator.connections == 1
    assert sorted(between)[len(between) // 2] < GAP_S + 0.5, "and not much slower"
    assert running.spool()["pending"] >= count


def test_a_slow_dongle_is_not_asked_in_a_burst_afterwards(agent):
    with inverter() as simulator:
        simulator.hang = lambda request: len(simulator.requests) == 6
        agent(simulator.port, POLL_INTERVAL_S=5)
        wait_until(lambda: len(polls(simulator.requests)) >= 4, 60, "polls after the pause")
    check_pace(simulator, 4)
    hung = simulator.requests[5]
    after = simulator.requests[6]
    assert after.at_s - hung.at_s >= 9.9, "5 s of timeout, 5 s of quiet"
    assert after.connection == 2


def test_asking_once_prints_the_sample_of_a_captured_inverter(tmp_path):
    with inverter(words_of(CAPTURE)) as simulator:
        agent = EdgeAgent(
            tmp_path / "agent", environ(tmp_path, SUNGROW_PORT=simulator.port, DEVICE_ID="inverter")
        )
        done = agent.ask("--once")
        assert done.returncode == 0, done.stderr
        sample = json.loads(done.stdout)
        told = expected(CAPTURE)
        assert {name: sample.get(name) for name in told} == told | {"ts": sample["ts"]}
        simulator.refused = [range(5016, 5018)]
        done = agent.ask("--once")
    assert (done.returncode, done.stdout) == (69, "")
    assert "total_dc_power at 5016" in done.stderr
