"""Held readings get their time piece by piece, and also where the disk is full or dead."""

import sqlite3
import time
from contextlib import closing, contextmanager

import pytest

from edge_agent.clock import Stamp
from edge_agent.placing import LOOK_AGAIN_S, ROWS, UNREADABLE_S
from edge_agent.shared.samples import parse_time
from edge_agent.spool.disk import REOPEN_AFTER_S
from edge_agent.spool.queue import Spool
from tests.edge_agent.test_clock import SECOND, Machine, queue, take
from tests.simulators.ingest_server import refuse_named
from tests.support.agent import START, sample

YEAR = 365 * 86400 * SECOND


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


@pytest.fixture
def spool(path):
    spool = Spool(path)
    yield spool
    spool.close()


def fill(folder):
    """Take all room of a disk."""
    with (folder / "filler").open("ab", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass


def expected(count):
    """The readings with their true times, one every five seconds."""
    return [(number, START + number * 5 * SECOND) for number in range(count)]


def hold(machine, spool, numbers):
    """Take readings, one every five seconds, while the clock can not be trusted."""
    for number in numbers:
        assert not take(machine, spool, number).synced
        machine.wait(5)


@contextmanager
def unusable(path):
    """While another program locks the file nothing can be written, and soon nothing read."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    time.sleep(REOPEN_AFTER_S)


def test_a_long_backlog_is_placed_in_pieces_and_nothing_overtakes_it(tmp_path, spool):
    machine = Machine(tmp_path, START - YEAR)
    count = 2 * ROWS + 500
    for number in range(count):
        spool.enqueue(sample(number), Stamp(START, 100.0 + number, "boot-1", synced=False))
    machine.boot_s += count
    machine.wall = START + count * SECOND
    for number in range(2):
        assert not take(machine, spool, count + number).synced
        assert len(spool.peek(9999)) == (number + 1) * ROWS
        machine.wait(1)
    assert take(machine, spool, count + 2).synced
    found = [(e.sample["pv_power_w"], parse_time(e.sample["ts"])) for e in spool.peek(9999)]
    assert found == [(number, START + number * SECOND) for number in range(count + 3)]


def test_a_guess_goes_on_where_the_last_piece_ended(tmp_path, spool):
    count = ROWS + 10
    for number in range(count):
        spool.enqueue(sample(number), Stamp(START, 7.0 * number, "boot-0", synced=False))
    machine = Machine(tmp_path, newest=START - YEAR)
    machine.place(spool)
    machine.place(spool)
    times = [parse_time(e.sample["ts"]) for e in spool.peek(9999)]
    first = START - YEAR + SECOND
    assert times == [first + number * 7 * SECOND for number in range(count)]


def test_a_disk_that_fails_for_a_moment_is_waited_for(tmp_path, path, spool):
    machine = Machine(tmp_path, START - YEAR)
    hold(machine, spool, range(3))
    machine.wall = START + 15 * SECOND
    with unusable(path):
        hold(machine, spool, range(3, 6))
        assert queue(spool) == []
    assert take(machine, spool, 6).synced
    assert queue(spool) == expected(7)


@pytest.mark.parametrize("server_known", [True, False])
def test_a_dead_disk_does_not_stop_the_others_and_its_readings_follow(
    tmp_path, path, spool, server_known
):
    machine = Machine(tmp_path, START - YEAR)
    hold(machine, spool, range(3))
    machine.wall = START + 15 * SECOND
    if server_known:
        machine.clock.compare(machine.wall)
    with unusable(path):
        hold(machine, spool, range(3, 3 + int(UNREADABLE_S / 5)))
        count = 3 + int(UNREADABLE_S / 5)
        while not take(machine, spool, count).synced:
            count += 1
            machine.wait(5)
        assert queue(spool) == expected(count + 1)[3:]
    machine.wait(LOOK_AGAIN_S)
    machine.place(spool)
    assert sorted(queue(spool)) == expected(count + 1)


def test_readings_of_the_future_do_not_stand_in_the_way_of_the_queue(tmp_path, site, server):
    one = site(count=0, BATCH_SIZE=100)
    machine = Machine(tmp_path)
    server.rule = refuse_named(lambda each: parse_time(each["ts"]) > machine.wall + 300 * SECOND)
    machine.wall += YEAR
    for number in range(150):
        take(machine, one.spool, number)
        machine.wait(5)
    machine.wall -= YEAR
    one.uploader.tick()
    machine.clock.compare(machine.wall)
    for number in range(150, 160):
        take(machine, one.spool, number)
        machine.wait(5)
    one.drain()
    assert one.pending == 0
    stored = [(each["pv_power_w"], parse_time(each["ts"])) for each in server.stored.values()]
    assert sorted(stored) == expected(160)


def test_a_wrong_newest_time_is_corrected_when_the_disk_can_be_written(
    tmp_path, path, spool, caplog
):
    ahead = Machine(tmp_path, START + YEAR)
    take(ahead, spool, 0)
    machine = Machine(tmp_path, newest=spool.newest_ts())
    machine.clock.compare(START)
    with unusable(path):
        for number in range(1, 4):
            take(machine, spool, number)
            machine.wait(5)
        assert spool.newest_ts() == START + YEAR
        assert "clock_was_ahead" not in {record.event for record in caplog.records}
    take(machine, spool, 4)
    assert "clock_was_ahead" in {record.event for record in caplog.records}
    take(machine, spool, 5)
    assert spool.newest_ts() == machine.clock.latest.ts


def test_where_nothing_is_held_the_spool_is_looked_into_now_and_then(tmp_path, spool):
    machine = Machine(tmp_path)
    take(machine, spool, 0)
    machine.wait(5)
    spool.enqueue(sample(1), Stamp(START, 105.0, "boot-1", synced=False))  # as salvage does
    machine.place(spool)
    assert len(spool.held()) == 1
    machine.wait(LOOK_AGAIN_S)
    machine.place(spool)
    assert queue(spool) == expected(2)


def test_a_full_disk_delays_the_times_but_does_not_change_them(small_disk):
    spool = Spool(small_disk / "spool.db")
    machine = Machine(small_disk, START - YEAR)
    hold(machine, spool, range(20))
    for number in range(20, 60):
        fill(small_disk)
        take(machine, spool, number)
        machine.wait(5)
    assert spool.trouble
    machine.wall = START + 300 * SECOND
    for number in range(60, 64):
        fill(small_disk)
        take(machine, spool, number)
        machine.wait(5)
    (small_disk / "filler").unlink()
    time.sleep(REOPEN_AFTER_S)
    for number in range(64, 68):
        take(machine, spool, number)
        machine.wait(5)
    assert queue(spool) == expected(68)
    spool.close()


def test_what_waits_in_memory_is_held_placed_and_sent_from_there(tmp_path, path, spool):
    machine = Machine(tmp_path, START - YEAR)
    with unusable(path):
        hold(machine, spool, range(3))
        assert [row.id for row in spool.held(memory_only=True)] == [-1, -2, -3]
        updates = [(row.id, sample(n)["ts"], "") for n, row in enumerate(spool.held(9, True))]
        assert spool.place(updates) == 3
        assert queue(spool) == expected(3)
    spool.enqueue(sample(3))
    assert queue(spool) == expected(4)


def test_behind_damaged_readings_are_others(tmp_path, path, spool):
    machine = Machine(tmp_path, START - YEAR)
    hold(machine, spool, range(4))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE samples SET boot_s = 5 WHERE id IN (1, 2)")
    assert spool.held(limit=1) is None
    machine.wall = START + 20 * SECOND
    take(machine, spool, 4)
    assert take(machine, spool, 5).synced
    assert queue(spool)[:3] == expected(5)[2:]
    assert spool.counts()["set_aside"] == 2


def test_what_was_written_between_the_look_and_the_placing_is_found(tmp_path, path, spool):
    machine = Machine(tmp_path, START - YEAR)
    with unusable(path):
        hold(machine, spool, range(2))
        held = spool.held(memory_only=True)
    assert [row.id for row in spool.held()] == [1, 2]
    assert spool.place([(row.id, sample(n)["ts"], "") for n, row in enumerate(held)]) == 2
    assert queue(spool) == expected(2)
