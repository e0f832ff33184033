"""Blocks that are refused oddly, close the connection or stay silent: the others are read on."""

import logging
from time import sleep

import pytest

from edge_agent.sources import SourceError
from edge_agent.sources.sungrow.link import Pace
from edge_agent.sources.sungrow.reader import ServedBlocks
from tests.simulators.inverter import touching
from tests.simulators.misbehaviour import shorten_exceptions
from tests.simulators.proxy import Fault, FaultProxy
from tests.support.sungrow import BRISK, NOON, expected, failure, inverter, source

pytestmark = pytest.mark.slow

SAMPLE = expected(NOON)
QUICK = Pace(gap_s=0.05, request_s=0.1, poll_s=2.0)
BATTERY = (5213, 29)


@pytest.fixture(autouse=True)
def _every_log_line(caplog):
    caplog.set_level(logging.DEBUG)


def touches(first, last=None):
    return touching(range(first, (last or first) + 1))


def asked(simulator):
    requests, simulator.requests = simulator.requests, []
    return [(request.address, request.count) for request in requests]


def left_out(caplog):
    return [
        (record.fields["start"], record.fields["count"])
        for record in caplog.records
        if getattr(record, "event", "") == "block_left_out"
    ]


@pytest.mark.parametrize(
    "refused",
    [
        range(5241, 5242),
        range(12999, 13000),
        range(5600, 5639),
        range(5213, 5242),
        range(4989, 5002),
        range(13001, 13003),
    ],
)
def test_an_exception_whose_length_says_2_is_an_ordinary_one(refused):
    with inverter() as simulator, source(simulator.port) as made:
        simulator.refused = [refused]
        ordinary = made.read()[0], made.read()[0]
        served = asked(simulator)
    with inverter() as simulator, source(simulator.port) as made:
        simulator.refused = [refused]
        simulator.garble = shorten_exceptions
        assert (made.read()[0], made.read()[0]) == ordinary
        assert asked(simulator) == served
        assert simulator.connections == 1


@pytest.mark.parametrize("code", [4, 6, 10, 11])
def test_a_passing_exception_of_length_2_costs_nothing(code):
    with inverter() as simulator, source(simulator.port) as made:
        simulator.garble = shorten_exceptions
        simulator.exceptions = [code]
        assert made.read()[0] == SAMPLE
        simulator.exceptions = [0, 0, code]
        assert made.read()[0] == SAMPLE
        assert simulator.connections == 1


@pytest.mark.parametrize("pieces", [5, 8])
def test_a_short_exception_that_comes_in_pieces_is_one(pieces):
    """The second piece comes when the first was read."""
    with inverter() as simulator, source(simulator.port) as made:
        simulator.refused = [range(5600, 5639)]
        simulator.garble = shorten_exceptions
        simulator.pieces = pieces
        assert made.read()[0] == SAMPLE
        assert simulator.connections == 1


@pytest.mark.parametrize("fault", ["cut", "hang"])
@pytest.mark.parametrize(
    ("broken", "blocks", "lost"),
    [
        (touches(5241), [BATTERY, (5241, 1)], {"grid_frequency_hz"}),
        (touches(5213), [BATTERY, (5213, 2)], set()),
        (touches(5600, 5638), [(5600, 39), (5600, 2)], set()),
        (lambda request: request.count == 80, [(12999, 80)], set()),
        (touches(13049, 13078), [(12999, 80), (13049, 30)], set()),
        (touches(12999), [(12999, 80), (12999, 48)], {"running_state"}),
        (touches(4989, 4998), [(4989, 13), (4989, 10)], set()),
        (lambda request: request.count == 14, [(5007, 14)], set()),
    ],
    ids=["5241", "5213", "5600", "80 words", "alarms", "state", "identity", "the first block"],
)
def test_a_block_that_breaks_the_connection_is_left_out_after_three_times(
    fault, broken, blocks, lost, caplog
):
    with inverter() as simulator, source(simulator.port, QUICK) as made:
        setattr(simulator, fault, broken)
        for _ in range(9):
            with_sample(made)
        asked(simulator)
        connections = simulator.connections
        last = [made.read()[0] for _ in range(2)]
        for sample in last:
            missing = {name for name, value in sample.items() if value != SAMPLE[name]}
            assert missing == lost
        assert not set(blocks) & set(asked(simulator))
        assert simulator.connections == connections, "from now on one connection is kept"
    assert left_out(caplog) == blocks


def with_sample(made):
    """Poll; without the first block of a poll there is no sample until it is left out."""
    try:
        return made.read()[0]
    except SourceError as error:
        if "14 words at 5007" not in str(error):
            raise
        return None


def test_every_poll_gives_a_sample_of_what_was_answered(caplog):
    with inverter() as simulator, source(simulator.port) as made:
        simulator.cut = touches(5213)
        first = made.read()[0]
        assert first["pv_power_w"] == SAMPLE["pv_power_w"]
        assert first["load_power_w"] is None, "the connection was gone"
        for _ in range(8):
            sample = made.read()[0]
            assert sample["load_power_w"] == SAMPLE["load_power_w"]
            assert sample["import_total_kwh"] == SAMPLE["import_total_kwh"]
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "closed the connection when asked for 29 words at 5213" in told[0]
    assert not [text for text in told if "another client" in text]


def test_a_block_left_out_is_tried_again_in_time_and_loses_nothing_meanwhile(caplog):
    pace = Pace(*(BRISK.gap_s, BRISK.request_s, BRISK.poll_s), retry_block_s=1.0)
    with inverter() as simulator, source(simulator.port, pace) as made:
        simulator.cut = touches(5241)
        for _ in range(6):
            made.read()[0]
        asked(simulator)
        sleep(1.1)
        for _ in range(2):
            assert made.read()[0] == SAMPLE | {"grid_frequency_hz": None}
        assert asked(simulator).count(BATTERY) == 1, "once, after all others"
        simulator.cut = lambda request: False
        sleep(1.1)
        made.read()[0]
        asked(simulator)
        assert made.read()[0] == SAMPLE
        assert BATTERY in asked(simulator)


def test_a_device_that_is_gone_is_no_reason_to_leave_a_block_out(caplog):
    with inverter() as simulator, source(simulator.port) as made:
        made.read()[0]
        simulator.cut = lambda request: True
        assert [failure(made).wait_s for _ in range(12)] == [5, 20, 45, *[90] * 9]
        simulator.cut = lambda request: False
        for _ in range(2):
            assert made.read()[0] == SAMPLE
    assert left_out(caplog) == []


def test_breaks_at_changing_places_leave_nothing_out(caplog):
    with inverter() as simulator, source(simulator.port) as made:
        for address in (5213, 12999, 5600, 12999, 5213, 5600) * 2:
            simulator.cut = touches(address)
            made.read()[0]
            simulator.cut = lambda request: False
            made.read()[0]
        assert made.read()[0] == SAMPLE
    assert left_out(caplog) == []


def test_a_slow_poll_is_no_fault_of_the_block_that_it_has_no_time_for(caplog):
    with (
        inverter() as simulator,
        FaultProxy(simulator.port) as proxy,
        source(proxy.port, Pace(0.05, 0.4, 0.5)) as made,
    ):
        proxy.down = Fault(delay_s=0.25)
        for _ in range(4):
            assert made.read()[0]["load_power_w"] is None
        proxy.heal()
        assert made.read()[0] == SAMPLE
    assert left_out(caplog) == []


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def test_a_block_is_left_out_for_an_hour_and_then_with_its_first_break_again():
    clock = Clock()
    served = ServedBlocks(3600, clock)
    assert [served.broke(BATTERY, True) for _ in range(3)] == [False, False, True]
    assert (served.usable(BATTERY), served.doubtful(BATTERY)) == (False, False)
    clock.seconds = 3600
    assert (served.usable(BATTERY), served.doubtful(BATTERY)) == (False, True)
    assert not served.broke(BATTERY, True), "it is said once"
    assert not served.doubtful(BATTERY)
    clock.seconds = 7200
    served.answered(BATTERY)
    assert (served.usable(BATTERY), served.doubtful(BATTERY)) == (True, False)


def test_a_refused_block_is_not_asked_again_on_its_connection():
    served = ServedBlocks(3600)
    served.answered(BATTERY, refused=True)
    assert (served.usable(BATTERY), served.doubtful(BATTERY)) == (False, False)
    served.refused.clear()
    assert served.usable(BATTERY)
