"""What the inverter's source reads, and how it takes the inverter's refusals."""

import logging

import pytest

from tests.support.sungrow import NOON, expected, failure, inverter, source, words_of

POLL = [(5007, 14), (5213, 29), (12999, 80), (5600, 39)]
IDENTITY = (4989, 13)
SAMPLE = expected(NOON)


def asked(simulator):
    """What the inverter was asked since the last time: (address, count)."""
    requests, simulator.requests = simulator.requests, []
    return [(request.address, request.count) for request in requests]


def events(caplog, name):
    return [record for record in caplog.records if getattr(record, "event", "") == name]


@pytest.fixture(autouse=True)
def _every_log_line(caplog):
    caplog.set_level(logging.DEBUG)


def test_a_poll_is_four_reads_and_the_identity_comes_once_per_connection(caplog):
    with inverter() as simulator, source(simulator.port) as made:
        assert made.read()[0] == SAMPLE
        assert asked(simulator) == [*POLL, IDENTITY]
        assert made.read()[0] == SAMPLE
        assert asked(simulator) == POLL
        assert simulator.connections == 1
    (device,) = events(caplog, "device")
    assert device.fields["serial"] == "A123456789"
    assert device.fields["model"] == "SH4.0RS"


def test_only_input_registers_are_read():
    with inverter() as simulator, source(simulator.port) as made:
        made.read()[0]
        assert {request.function for request in simulator.requests} == {4}


@pytest.mark.parametrize(
    ("refused", "instead", "lost"),
    [
        (range(12999, 13000), [(13001, 46), (13049, 30)], {"running_state"}),
        (range(13049, 13079), [(12999, 48)], set()),
        (range(13001, 13002), [(13007, 22), (13030, 17)], {"running_state", "pv_daily_kwh"}),
        (range(5241, 5242), [(5213, 2)], {"grid_frequency_hz"}),
        (range(5213, 5215), [(5241, 1)], set()),
        (range(5007, 5008), [(5010, 4), (5016, 2)], {"inverter_temp_c"}),
        (range(5600, 5639), [], set()),
        (range(4989, 4999), [], set()),
        (range(13044, 13047), [(13001, 6), (13007, 22), (13036, 2), (13040, 2)], None),
    ],
)
def test_a_refused_block_is_split_or_left_out_and_remembered(refused, instead, lost):
    with inverter() as simulator, source(simulator.port) as made:
        simulator.refused = [refused]
        first = made.read()[0]
        asked(simulator)
        assert made.read()[0] == first
        again = asked(simulator)
    assert set(instead) <= set(again)
    assert not [block for block in again if set(range(block[0], sum(block))) & set(refused)], (
        "what is refused is not asked again"
    )
    if lost is not None:
        missing = {name for name, value in first.items() if value is None} - {"alarms"}
        assert lost <= missing
        assert missing - lost <= {"pv_total_kwh", "running_state"}
        assert all(first[name] == SAMPLE[name] for name in set(first) - missing)


def test_a_new_connection_asks_again_for_what_was_refused():
    with inverter() as simulator, source(simulator.port) as made:
        simulator.refused = [range(12999, 13000)]
        assert made.read()[0]["running_state"] is None
        simulator.refused = []
        simulator.cut_all()
        failure(made)
        assert made.read()[0] == SAMPLE


def test_without_pv_power_the_warning_names_the_register_and_a_new_connection_is_tried():
    with inverter() as simulator, source(simulator.port) as made:
        simulator.refused = [range(5016, 5018)]
        for wait_s in (None, None, 5):
            error = failure(made)
            assert "total_dc_power at 5016: not served" in str(error)
            assert error.wait_s == wait_s
        simulator.refused = []
        assert made.read()[0] == SAMPLE
        assert simulator.connections == 2


def test_load_that_is_not_served_does_not_cost_the_sun():
    with inverter() as simulator, source(simulator.port) as made:
        simulator.refused = [range(13007, 13009)]
        sample = made.read()[0]
    assert (sample["load_power_w"], sample["pv_power_w"]) == (None, SAMPLE["pv_power_w"])
    assert sample["battery_soc_pct"] == SAMPLE["battery_soc_pct"]


@pytest.mark.parametrize("code", [4, 5, 6, 8, 10, 11])
def test_a_busy_dongle_is_asked_once_more_on_the_same_connection(code):
    with inverter() as simulator, source(simulator.port) as made:
        simulator.exceptions = [code]
        assert made.read()[0] == SAMPLE
        assert asked(simulator)[:2] == [POLL[0], POLL[0]]
        simulator.exceptions = [0, 0, code, 0, code]
        assert made.read()[0] == SAMPLE
        assert simulator.connections == 1


def test_a_block_that_stays_busy_is_unknown_this_time_only():
    with inverter() as simulator, source(simulator.port) as made:
        simulator.exceptions = [0, 6, 6]
        sample = made.read()[0]
        assert sample["grid_frequency_hz"] is None
        assert sample["battery_power_w"] == SAMPLE["battery_power_w"], "the older figure has it"
        assert sample["load_power_w"] == SAMPLE["load_power_w"]
        assert made.read()[0] == SAMPLE


def test_a_dongle_that_stays_busy_gives_no_sample_and_keeps_its_connection():
    with inverter() as simulator, source(simulator.port) as made:
        simulator.exceptions = [6] * 8
        error = failure(made)
        assert "exception 6, device busy" in str(error)
        assert error.wait_s is None
        assert made.read()[0] == SAMPLE
        assert simulator.connections == 1


def test_a_block_that_is_too_long_for_a_firmware_is_split():
    with inverter() as simulator, source(simulator.port) as made:
        simulator.exceptions = [0, 0, 3]
        assert made.read()[0]["load_power_w"] == SAMPLE["load_power_w"]
        assert asked(simulator)[2:4] == [POLL[2], (12999, 48)]


def test_unusable_values_are_logged_the_first_and_the_tenth_time_only(caplog):
    words = words_of(NOON) | {13022: 1001}
    with inverter(words) as simulator, source(simulator.port) as made:
        for _ in range(11):
            assert made.read()[0]["battery_soc_pct"] is None
    told = [record.fields for record in events(caplog, "value_unusable")]
    assert [(fields["register"], fields["count"]) for fields in told] == [
        ("battery_soc", 1),
        ("battery_soc", 10),
    ]


def test_an_inverter_of_another_kind_or_without_a_name_is_read_all_the_same(caplog):
    words = words_of(NOON) | dict.fromkeys(range(4989, 4999), 0) | {4999: 0x0E00}
    with inverter(words) as simulator, source(simulator.port) as made:
        assert made.read()[0] == SAMPLE
    (device,) = events(caplog, "device")
    assert "unknown type 3584, serial number unknown" in device.getMessage()
