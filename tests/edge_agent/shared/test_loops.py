"""Loops: they go on after an error, and are found when they end or hang."""

from threading import Event
from time import monotonic, sleep

import pytest

from edge_agent.shared.loops import Fatal, Loop, LoopFailed, check


@pytest.fixture
def stop():
    stop = Event()
    yield stop
    stop.set()


def test_a_loop_waits_as_long_as_its_pass_says_and_stops_at_once(stop):
    passes = []

    def tick():
        passes.append(monotonic())
        return 0.05 if len(passes) < 4 else 60

    ended = Event()
    loop = Loop("busy", tick, stop, last=ended.set)
    loop.start()
    while len(passes) < 4:
        sleep(0.01)
    assert passes[3] - passes[0] >= 0.15
    check([loop])
    stop.set()
    loop.join(2)
    assert not loop.is_alive()
    assert ended.is_set()


def test_an_unexpected_error_is_logged_with_its_trace_and_the_loop_goes_on(stop, caplog):
    passes = []

    def tick():
        passes.append(1)
        raise ZeroDivisionError("of all things")

    loop = Loop("clumsy", tick, stop, pause_s=0.01)
    loop.start()
    while len(passes) < 3:
        sleep(0.01)
    check([loop])
    stop.set()
    loop.join(2)
    assert "ZeroDivisionError" in caplog.text
    assert "in tick" in caplog.text
    assert {record.event for record in caplog.records} == {"unexpected_error"}


def test_a_loop_that_can_not_go_on_ends_and_is_found(stop, caplog):
    def tick():
        raise Fatal("the disk is gone")

    loop = Loop("doomed", tick, stop)
    loop.start()
    loop.join(2)
    with pytest.raises(LoopFailed, match="doomed has ended"):
        check([loop])
    assert "the disk is gone" in caplog.text


def test_a_pass_that_does_not_come_back_is_found(stop):
    loop = Loop("stuck", lambda: float(stop.wait(60)), stop, pass_s=0.1)
    loop.start()
    check([loop])
    sleep(0.2)
    with pytest.raises(LoopFailed, match="stuck hangs"):
        check([loop])


def test_a_long_wait_is_no_hanging(stop):
    loop = Loop("patient", lambda: 60.0, stop, pass_s=0.1)
    loop.start()
    sleep(0.3)
    check([loop])
    assert loop.is_alive()
