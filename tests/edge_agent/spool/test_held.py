"""Held readings get their time piece by piece, and also where the disk is full or dead."""

import sqlite3
import time
from contextlib import closing, contextmanager
from itertools import pairwise

import pytest

from edge_agent.clock import ReadingTime
from edge_agent.shared.samples import parse_time
from edge_agent.spool.file import REOPEN_AFTER_S
from edge_agent.spool.queue import Spool
from tests.edge_agent.test_clock import SECOND, Machine, even, queue, take
from tests.simulators.ingest_server import refuse_named
from tests.support.agent import START, sample

pytestmark = pytest.mark.slow

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
        assert not take(machine, spool, number).trusted
        machine.wait(5)


@contextmanager
def unusable(path):
    """While another program locks the file nothing can be written, and soon nothing read."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    time.sleep(REOPEN_AFTER_S)


def test_a_long_backlog_is_placed_at_once_and_keeps_its_distances(tmp_path, spool):
    count = 2500
    for number in range(count):
        boot = "boot-0" if number < 1000 else "boot-1"
        spool.enqueue(sample(number), ReadingTime(START, 100.0 + number, boot, trusted=False))
    machine = Machine(tmp_path)
    machine.boot_s += count
    machine.wall = START + count * SECOND
    machine.place(spool)
    times = [ts for _, ts in queue(spool)]
    assert times[1000:] == [START + number * SECOND for number in range(1000, count)]
    assert {later - earlier for earlier, later in pairwise(times[:1000])} == {SECOND}
    began = machine.wall - machine.boot_s * SECOND
    assert began - 2 * SECOND <= times[999] < began, "an earlier boot ends where this one begins"


def test_what_has_its_time_keeps_it_through_restarts_and_later_placements(tmp_path, path):
    machine = Machine(tmp_path, START - YEAR)
    spool = Spool(path)
    hold(machine, spool, range(3))
    machine.wall = START + 15 * SECOND
    machine.place(spool)
    first = queue(spool)
    spool.close()
    spool = Spool(path)
    machine.wall -= YEAR
    hold(machine, spool, range(3, 5))
    machine.wall += YEAR + 7 * SECOND  # NTP moves it a little meanwhile
    machine.place(spool)
    assert queue(spool)[:3] == first == expected(3)
    assert queue(spool)[3:] == [(n, ts + 7 * SECOND) for n, ts in expected(5)[3:]]
    spool.close()


def test_a_dead_disk_does_not_stop_the_others_and_its_readings_follow(tmp_path, path, spool):
    machine = Machine(tmp_path, START - YEAR)
    hold(machine, spool, range(3))
    machine.wall = START + 15 * SECOND
    machine.wall -= YEAR
    with unusable(path):
        hold(machine, spool, range(3, 6))
        machine.wall += YEAR
        assert take(machine, spool, 6).trusted
        assert queue(spool) == expected(7)[3:]
    machine.wait(5)
    machine.place(spool)
    assert sorted(queue(spool)) == expected(7)


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
    machine.clock.on_server_time(machine.wall)
    for number in range(150, 160):
        take(machine, one.spool, number)
        machine.wait(5)
    one.drain()
    assert one.pending == 0
    stored = [(each["pv_power_w"], even(each["ts"])) for each in server.stored.values()]
    assert sorted(stored) == expected(160)


def test_a_wrong_newest_time_is_corrected_when_the_disk_can_be_written(
    tmp_path, path, spool, caplog
):
    ahead = Machine(tmp_path, START + YEAR)
    take(ahead, spool, 0)
    machine = Machine(tmp_path, newest=spool.newest_ts())
    machine.clock.on_server_time(START)
    with unusable(path):
        for number in range(1, 4):
            take(machine, spool, number)
            machine.wait(5)
        assert spool.newest_ts() == START + YEAR
        assert "clock_was_ahead" not in {record.event for record in caplog.records}
    take(machine, spool, 4)
    assert "clock_was_ahead" in {record.event for record in caplog.records}
    take(machine, spool, 5)
    assert spool.newest_ts() == machine.clock.newest


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


def test_a_damaged_held_reading_is_set_aside_and_the_others_get_their_time(tmp_path, path, spool):
    machine = Machine(tmp_path, START - YEAR)
    hold(machine, spool, range(4))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE samples SET boot_s = 1e300 WHERE id IN (1, 2)")
    machine.wall = START + 20 * SECOND
    assert take(machine, spool, 4).trusted
    assert queue(spool) == expected(5)[2:]
    assert spool.counts()["set_aside"] == 2


def test_a_damaged_began_is_found_again(tmp_path, path):
    spool = Spool(path)
    machine = Machine(tmp_path, START - YEAR)
    hold(machine, spool, range(3))
    machine.wall = START + 15 * SECOND
    machine.place(spool)
    spool.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE boots SET began = began - 60000000")
    spool = Spool(path)
    assert queue(spool) == [], "they must not be sent with what a wrong clock showed"
    machine.place(spool)
    assert queue(spool) == expected(3)
    spool.close()
