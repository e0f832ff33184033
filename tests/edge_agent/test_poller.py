"""The poll loop: its schedule, what it spools, what it says of itself."""

import json
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from threading import Event

import pytest

from edge_agent.clock import Clock, ReadingTime
from edge_agent.poller import Poller, Schedule
from edge_agent.shared.loops import Fatal
from edge_agent.shared.samples import parse_time
from edge_agent.sources import NothingNew, SourceError
from edge_agent.spool.file import REOPEN_AFTER_S
from edge_agent.spool.queue import Spool, SpoolBroken
from edge_agent.upload.uploader import Uploader
from tests.support.agent import START, sample, settings

HEALTH = {
    "ts",
    "device_id",
    "source_ok",
    "last_poll_ts",
    "last_upload_ts",
    "spool_count",
    "set_aside_count",
    "oldest_ts",
    "uptime_s",
    "backoff_s",
    "thinned",
    "last_error",
}


def polls(interval_s, busy_s, until, quiet_s=()):
    """When a device is polled that takes `busy_s` for each poll in turn."""
    schedule, now, times = Schedule(interval_s, 0.0), 0.0, []
    busy_s, quiet_s = list(busy_s), list(quiet_s)
    while now < until:
        if schedule.due(now):
            schedule.begin(now)
            times.append(now)
            now += busy_s.pop(0) if busy_s else 0.25
            schedule.end(now, quiet_s.pop(0) if quiet_s else 0.0)
        now += max(schedule.wait_s(now), 0.001)
    return [round(time, 1) for time in times]


def test_polls_keep_their_interval_whatever_a_poll_takes():
    assert polls(5, [0.3, 1.5, 4.9], 21) == [0, 5, 10, 15, 20]


def test_missed_polls_are_skipped_not_caught_up():
    assert polls(5, [12.0], 30) == [0, 15, 20, 25]


def test_a_device_is_left_alone_as_long_as_it_needs():
    expected = [0, 20.2, 25.4, 30.4, 35.4, 40.4, 45.4, 50.4, 55.4]
    assert polls(5, [0.2, 0.2, 0.2], 60, [20, 5, 0]) == expected


def test_a_poll_that_comes_late_shifts_the_next():
    schedule = Schedule(5, 0.0)
    schedule.begin(4.0)
    schedule.end(4.2)
    assert schedule.wait_s(4.2) == pytest.approx(4.8)


def test_a_failed_poll_of_a_long_interval_is_tried_again_after_the_quiet_it_needs():
    assert polls(60, [0.2, 0.2, 0.2], 150, [0, 5.0, 0]) == [0, 60, 65.2, 125.2]


class Device:
    """A source whose next readings are told in advance."""

    def __init__(self, clock, *answers):
        self._clock = clock
        self.answers = list(answers)
        self.taken = 0

    def read(self):
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        self.taken += 1
        taken = self._clock.reading_time()
        return sample(self.taken, ts=taken.ts.isoformat()), taken

    def close(self):
        """Nothing is open."""


class Bench:
    """A poller on a real spool, with a monotonic clock that is turned by hand."""

    def __init__(self, folder, *answers):
        self.settings = settings(folder)
        self.spool = Spool(self.settings.spool_path)
        self.clock = Clock(self.spool.newest_ts(), kernel=lambda: True)
        self.uploader = Uploader(self.settings, self.spool)
        self.device = Device(self.clock, *answers)
        self.now = 0.0
        self.stop = Event()
        self.poller = Poller(
            self.settings,
            self.device,
            self.spool,
            self.clock,
            self.uploader,
            self.stop,
            now=lambda: self.now,
        )

    def poll(self, times=1):
        for _ in range(times):
            wait_s = self.poller.tick()
            self.now += wait_s
        return wait_s

    def health(self):
        return json.loads(self.settings.health_path.read_text())

    def close(self):
        self.uploader.close()
        self.spool.close()


@pytest.fixture
def bench(tmp_path):
    benches = []

    def build(*answers):
        benches.append(Bench(tmp_path, *answers))
        return benches[-1]

    yield build
    for one in benches:
        one.close()


def test_each_sample_is_spooled_with_its_stamp(bench):
    one = bench()
    assert one.poll(3) == 5
    entries = one.spool.peek(10)
    assert [entry.sample["pv_power_w"] for entry in entries] == [1, 2, 3]
    times = [parse_time(entry.sample["ts"]) for entry in entries]
    assert times == sorted(set(times))
    assert times[-1] == one.spool.newest_ts() == one.clock.newest


def test_the_health_file_has_what_the_contract_says(bench):
    one = bench()
    one.poll(2)
    health = one.health()
    assert health.keys() >= HEALTH
    assert health["device_id"] == "house"
    assert health["source_ok"] is True
    assert health["spool_count"] == 2
    assert health["set_aside_count"] == health["thinned"] == health["backoff_s"] == 0
    assert health["last_upload_ts"] is health["last_error"] is None
    assert parse_time(health["oldest_ts"]) < parse_time(health["last_poll_ts"])
    assert parse_time(health["last_poll_ts"]) <= parse_time(health["ts"])
    assert health["uptime_s"] >= 0
    assert not list(one.settings.health_path.parent.glob("*.new"))


def test_health_moves_on_while_polls_fail_but_the_last_poll_does_not(bench):
    one = bench(None, *[SourceError("nobody there", 20)] * 2)
    one.poll()
    good = one.health()
    one.poll()
    bad = one.health()
    assert bad["source_ok"] is False
    assert bad["last_error"] == "nobody there"
    assert bad["last_poll_ts"] == good["last_poll_ts"]
    assert bad["ts"] > good["ts"]
    assert one.poll() == 5  # nothing is read, but the health is written
    assert one.health()["ts"] > bad["ts"]
    assert len(one.device.answers) == 1
    one.poll(20)
    assert one.health()["source_ok"] is True
    assert one.health()["last_error"] is None


def test_a_cause_is_logged_once_a_minute_and_when_it_is_over(bench, caplog):
    caplog.set_level("INFO")
    one = bench(*[SourceError("dead")] * 13, SourceError("buried"), SourceError("dead"), None)
    one.poll(16)
    told = [(r.event, getattr(r, "fields", {}).get("cause")) for r in caplog.records]
    dead = ("poll_failed", "dead")
    assert told == [dead, dead, ("poll_failed", "buried"), ("poll_recovered", None)]


def test_a_poll_that_the_stop_ended_is_no_failure(bench, caplog):
    one = bench(SourceError("the agent stops"))
    one.stop.set()
    one.poll()
    assert caplog.records == []
    assert one.health()["last_error"] is None


def test_a_device_with_nothing_new_is_well(bench):
    one = bench(None, NothingNew("same telegram"))
    one.poll(2)
    assert one.health()["source_ok"] is True
    assert one.health()["spool_count"] == 1


def test_an_unexpected_error_is_told_and_the_next_poll_comes(bench):
    one = bench(KeyError("oops"))
    with pytest.raises(KeyError):
        one.poller.tick()
    assert one.health()["source_ok"] is False
    assert "oops" in one.health()["last_error"]
    one.now += 5
    one.poll()
    assert one.health()["source_ok"] is True


def test_a_spool_that_is_broken_for_good_ends_the_loop(bench):
    one = bench(SpoolBroken("the disk fails"))
    with pytest.raises(Fatal, match="the disk fails"):
        one.poller.tick()


def test_held_readings_get_their_time_before_the_next_is_taken(bench):
    one = bench()
    boot = one.clock.reading_time()
    early = ReadingTime(START - timedelta(days=9000), boot.boot_s - 60, boot.boot_id, trusted=False)
    one.spool.enqueue(sample(0, ts=early.ts.isoformat()), early)
    one.poll()
    times = [parse_time(entry.sample["ts"]) for entry in one.spool.peek(10)]
    assert times[0] - boot.ts + timedelta(seconds=60) < timedelta(seconds=5)
    assert times[0] < times[1]


def test_set_aside_samples_come_back_when_another_process_asks(bench):
    from edge_agent.spool.status import request_retry

    one = bench()
    one.poll()
    one.spool.set_aside([(one.spool.peek(1)[0].id, "refused")])
    request_retry(one.settings.spool_path)
    one.poll()
    assert one.health()["set_aside_count"] == 0
    assert one.health()["spool_count"] == 2


@pytest.mark.slow
def test_health_says_that_readings_wait_in_memory(bench):
    one = bench()
    one.poll()
    with closing(sqlite3.connect(one.settings.spool_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        one.poll()
        assert "locked" in one.health()["last_error"]
        assert one.health()["spool_count"] == 2
    time.sleep(REOPEN_AFTER_S)
    one.poll()
    assert one.health()["last_error"] is None
    assert one.spool.status()["pending"] == 3


def test_a_health_file_that_can_not_be_written_stops_nothing(tmp_path, bench, caplog):
    one = bench()
    one.settings.health_path.mkdir()
    one.poll(3)
    assert one.spool.status()["pending"] == 3
    assert [record.event for record in caplog.records].count("health_failed") == 1
