"""The connection to the dongle: what breaks it, what is said of it, how long it is left."""

import logging
import socket
import threading
from time import monotonic, sleep

import pytest

from edge_agent.sources.sungrow.link import Pace
from tests.simulators.proxy import Fault, FaultProxy
from tests.support.servers import free_port
from tests.support.sungrow import NOON, expected, failure, inverter, source

SAMPLE = expected(NOON)


@pytest.fixture(autouse=True)
def _no_words_of_pymodbus(caplog):
    """Whatever happens is told once, by us."""
    caplog.set_level(logging.DEBUG)
    yield
    assert not [record for record in caplog.records if record.name.startswith("pymodbus")]


def test_after_each_loss_the_waits_grow_and_start_anew_after_a_good_poll():
    with inverter() as simulator, source(simulator.port) as made:
        made.read()[0]
        simulator.cut = lambda request: True
        assert [failure(made).wait_s for _ in range(5)] == [5, 20, 45, 90, 90]
        simulator.cut = lambda request: False
        assert made.read()[0] == SAMPLE
        simulator.cut = lambda request: request.address == 5007
        error = failure(made)
        assert error.wait_s == 5
        assert "closed the connection" in str(error)


def test_a_connection_dropped_between_two_polls_is_made_anew_by_the_one_after():
    with inverter() as simulator, source(simulator.port) as made:
        made.read()[0]
        simulator.cut_all()
        sleep(0.1)
        assert failure(made).wait_s == 5
        assert made.read()[0] == SAMPLE
        assert simulator.connections == 2


def test_a_silent_dongle_is_told_apart_from_a_closed_port():
    with inverter() as simulator, source(simulator.port) as made:
        simulator.hang = lambda request: True
        said = str(failure(made))
        assert "14 words at 5007" in said
        assert "timeout" in said
        assert "slave of a cluster answers on another unit" in said
    with source(free_port()) as made:
        error = failure(made)
        assert "port closed" in str(error)
        assert "Modbus TCP" in str(error)
        assert error.wait_s == 5


def test_a_host_that_does_not_answer_a_connection_is_a_timeout_too():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        with socket.create_connection(address), source(address[1]) as made:
            began = monotonic()
            error = failure(made)
            assert "cannot be reached (timeout)" in str(error)
            assert monotonic() - began < 3


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 70])
def test_an_unknown_host_is_a_failed_poll(host):
    with source(502, host=host) as made:
        assert "is SUNGROW_HOST right?" in str(failure(made))


GARBLED = {
    "wrong transaction": lambda reply: b"\xff\xff" + reply[2:],
    "wrong protocol": lambda reply: reply[:3] + b"\x01" + reply[4:],
    "wrong unit": lambda reply: reply[:6] + b"\x02" + reply[7:],
    "wrong function": lambda reply: reply[:7] + b"\x03" + reply[8:],
    "wrong byte count": lambda reply: reply[:8] + bytes([reply[8] - 2]) + reply[9:],
    "too few words": lambda reply: (
        reply[:4]
        + (len(reply) - 8).to_bytes(2, "big")
        + reply[6:8]
        + bytes([reply[8] - 2])
        + reply[9:-2]
    ),
    "bytes too many": lambda reply: reply + b"\x00\x00",
    "twice": lambda reply: reply + reply,
    "no modbus": lambda reply: b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("garble", GARBLED.values(), ids=GARBLED)
def test_what_is_no_reply_to_the_question_ends_the_connection(garble):
    with inverter() as simulator, source(simulator.port) as made:
        made.read()[0]
        simulator.garble = garble
        error = failure(made)
        assert "no reply to what was asked" in str(error)
        assert error.wait_s == 5
        simulator.garble = lambda reply: reply
        assert made.read()[0] == SAMPLE
        assert simulator.connections == 2


def test_a_reply_that_comes_in_pieces_is_whole():
    with (
        inverter() as simulator,
        FaultProxy(simulator.port) as proxy,
        source(proxy.port, Pace(0.05, 2.0, 10.0)) as made,
    ):
        proxy.down = Fault(drip_s=0.002)
        assert made.read()[0] == SAMPLE


def test_a_dripping_dongle_does_not_hold_the_poll():
    with (
        inverter() as simulator,
        FaultProxy(simulator.port) as proxy,
        source(proxy.port, Pace(0.05, 0.4, 1.0)) as made,
    ):
        proxy.down = Fault(drip_s=0.1)
        began = monotonic()
        assert "timeout" in str(failure(made))
        assert monotonic() - began < 3


@pytest.mark.slow
def test_slow_replies_do_not_hold_the_poll_beyond_its_limit():
    with (
        inverter() as simulator,
        FaultProxy(simulator.port) as proxy,
        source(proxy.port, Pace(0.05, 0.8, 1.0)) as made,
    ):
        proxy.down = Fault(delay_s=0.5)
        began = monotonic()
        assert made.read()[0]["load_power_w"] is None, "there was no time for it"
        assert monotonic() - began < 3


@pytest.mark.parametrize("fault", [Fault(reset=True), Fault(cut_after=20), Fault(corrupt_at=7)])
def test_after_a_fault_of_the_network_the_next_poll_is_good(fault):
    with (
        inverter() as simulator,
        FaultProxy(simulator.port) as proxy,
        source(proxy.port) as made,
    ):
        proxy.down = fault
        assert failure(made).wait_s == 5
        proxy.heal()
        assert made.read()[0] == SAMPLE


@pytest.mark.parametrize("hangs", [True, False], ids=["waiting for a reply", "between two polls"])
def test_stopping_does_not_wait_for_the_dongle(hangs):
    stop = threading.Event()
    with inverter() as simulator, source(simulator.port, Pace(), stop) as made:
        simulator.hang = lambda request: hangs
        if not hangs:
            made.read()[0]
        threading.Timer(0.3, stop.set).start()
        began = monotonic()
        assert "stops" in str(failure(made))
        assert monotonic() - began < 2


def test_closing_twice_is_harmless_and_hangs_up():
    with inverter() as simulator, source(simulator.port) as made:
        made.read()[0]
        made.close()
        made.close()
        assert made.read()[0] == SAMPLE
        assert simulator.connections == 2
