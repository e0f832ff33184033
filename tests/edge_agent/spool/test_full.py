"""A spool or a disk without room: nothing stops, nothing is refused, every loss is counted."""

import logging
import os
import time
from collections import Counter

import pytest

from edge_agent.spool.queue import MEMORY_SAMPLES, Spool
from tests.support.readings import meter_reading, reading

pytestmark = pytest.mark.slow


def occupy(folder, leave=0):
    """Take all room of a disk but some bytes."""
    disk = os.statvfs(folder)
    with (folder / "junk").open("wb") as junk:
        os.posix_fallocate(junk.fileno(), 0, disk.f_bavail * disk.f_frsize - leave)


def numbers(entries):
    """The numbers of readings that were peeked."""
    return [entry.sample.get("pv_power_w", entry.sample.get("power_w")) for entry in entries]


def events(caplog, name):
    """The log lines of one event."""
    return [record for record in caplog.records if getattr(record, "event", "") == name]


def test_a_full_spool_is_thinned_to_the_last_of_each_minute(tmp_path, caplog):
    path = tmp_path / "spool.db"
    spool = Spool(path, max_mb=1)
    count = 2500
    for n in range(count):
        assert spool.enqueue(reading(n))
    status = spool.status()
    left = numbers(spool.peek(count))
    spool.close()
    assert path.stat().st_size <= 2**20
    assert status["thinned"] == count - len(left) == count - status["pending"] > 0
    per_minute = Counter(n // 12 for n in left)
    thinned_minutes = [minute for minute, readings in per_minute.items() if readings == 1]
    assert left[: len(thinned_minutes)] == [minute * 12 + 11 for minute in thinned_minutes]
    assert set(per_minute) == set(range(count // 12 + 1))
    assert len(events(caplog, "spool_filling")) >= 1
    logged = sum(record.fields["thinned"] for record in events(caplog, "spool_thinned"))
    assert logged == status["thinned"]


def test_a_spool_that_is_full_of_minutes_goes_on_with_quarters(tmp_path):
    spool = Spool(tmp_path / "spool.db", max_mb=1)
    count = 3000
    for n in range(count):
        assert spool.enqueue(reading(n, interval_s=60))
    left = numbers(spool.peek(count))
    assert spool.status()["thinned"] == count - len(left)
    assert left[:10] == [15 * n + 14 for n in range(10)]
    assert left[-1] == count - 1
    spool.close()


def test_inverter_readings_go_before_meter_readings(tmp_path):
    spool = Spool(tmp_path / "spool.db", max_mb=1)
    for n in range(1300):
        assert spool.enqueue(reading(n))
        assert spool.enqueue(meter_reading(n))
    left = [entry.sample["device_id"] for entry in spool.peek(5000)]
    assert spool.status()["thinned"] > 0
    assert left.count("meter") == 1300
    spool.close()


def test_a_spool_full_of_refused_readings_goes_on_in_memory(tmp_path):
    """They can not be thinned, so new ones stay in memory, and are sent from there."""
    spool = Spool(tmp_path / "spool.db", max_mb=1)
    n, stored = 0, True
    while stored:
        stored = spool.enqueue(reading(n))
        n += 1
        if n % 15 == 0:
            spool.set_aside([(entry.id, "no") for entry in spool.peek(15)])
    assert spool.enqueue(reading(n)) is False
    entries = spool.peek(10**4)
    assert numbers(entries)[-2:] == [n - 1, n]
    spool.ack([entry.id for entry in entries])
    assert spool.status()["pending"] == 0
    assert spool.retry() == spool.status()["pending"] > 1000
    spool.ack([entry.id for entry in spool.peek(500)])
    assert spool.enqueue(reading(n + 1)) is True
    spool.close()
    assert (tmp_path / "spool.db").stat().st_size <= 2**20


def test_a_disk_without_room_costs_nothing(small_disk, caplog):
    """Full while readings come in and are confirmed; with room again all is on disk in order."""
    spool = Spool(small_disk / "spool.db")
    for n in range(100):
        assert spool.enqueue(reading(n))
    occupy(small_disk)
    stored = [spool.enqueue(reading(n)) for n in range(100, 400)]
    assert not stored[-1]
    assert spool.status()["pending"] == 400
    spool.ack([entry.id for entry in spool.peek(20)])
    assert numbers(spool.peek(1000)) == list(range(20, 400))
    (small_disk / "junk").unlink()
    assert spool.enqueue(reading(400)) is True
    assert spool.status()["pending"] == 381
    spool.close()
    again = Spool(small_disk / "spool.db")
    assert numbers(again.peek(1000)) == list(range(20, 401))
    again.close()
    assert events(caplog, "spool_waits")
    assert events(caplog, "spool_recovered")


def test_what_is_sent_from_memory_is_not_stored_again(small_disk):
    spool = Spool(small_disk / "spool.db")
    spool.enqueue(reading(0))
    occupy(small_disk)
    n = 1
    while spool.enqueue(reading(n)):
        n += 1
    spool.enqueue(reading(n + 1))
    spool.enqueue(reading(n + 2))
    waiting = spool.peek(1000)[-3:]
    assert numbers(waiting) == [n, n + 1, n + 2]
    spool.ack([waiting[0].id])
    spool.set_aside([(waiting[1].id, "no")])
    assert numbers(spool.peek(1000))[-2:] == [n - 1, n + 2]
    (small_disk / "junk").unlink()
    spool.ack([waiting[2].id])
    assert spool.enqueue(reading(n + 3))
    left = numbers(spool.peek(1000))
    # With the reserve the last may have reached the disk on the way: then it is sent again.
    assert [number for number in left if number != n + 2][-2:] == [n - 1, n + 3]
    assert [entry["sample"] for entry in spool.status()["rejected"]] == [reading(n + 1)]
    spool.close()


def test_the_reserve_is_given_up_for_confirming_and_made_again(small_disk, caplog):
    spool = Spool(small_disk / "spool.db")
    reserve = small_disk / "spool.db.reserve"
    for n in range(3000):
        spool.enqueue(reading(n))
    assert reserve.stat().st_size == 2**20
    occupy(small_disk)
    while reserve.exists():
        entries = spool.peek(50)
        assert entries, "all confirmed without the reserve"
        spool.ack([entry.id for entry in entries])
    assert events(caplog, "spool_reserve")
    (small_disk / "junk").unlink()
    spool.enqueue(reading(3000))
    assert reserve.stat().st_size == 2**20
    spool.close()


def test_a_spool_can_start_on_a_full_disk(small_disk):
    occupy(small_disk)
    spool = Spool(small_disk / "spool.db")
    assert spool.enqueue(reading(0)) is False
    assert numbers(spool.peek(9)) == [0]
    assert spool.status()["pending"] == 1
    (small_disk / "junk").unlink()
    assert wait_until_stored(spool, 1)
    spool.close()
    again = Spool(small_disk / "spool.db")
    assert numbers(again.peek(9)) == [0, 1]
    again.close()


def test_a_backlog_is_sent_and_confirmed_though_the_agent_starts_on_a_full_disk(small_disk):
    spool = Spool(small_disk / "spool.db")
    for n in range(3000):
        spool.enqueue(reading(n))
    spool.close()
    occupy(small_disk)
    spool = Spool(small_disk / "spool.db")
    assert wait_until_stored(spool, 3000)
    sent = []
    while entries := spool.peek(500):
        sent += numbers(entries)
        spool.ack([entry.id for entry in entries])
    assert sent == list(range(3001))
    assert spool.enqueue(reading(3001)) is True
    spool.close()


def wait_until_stored(spool, number):
    """Enqueue one reading and ask until memory is empty."""
    spool.enqueue(reading(number))
    for _ in range(50):
        spool.status()
        if spool.trouble is None:
            return True
        time.sleep(0.1)
    return False


def test_memory_holds_two_hours_and_counts_what_it_must_drop(small_disk, caplog):
    caplog.set_level(logging.CRITICAL, logger="edge_agent.spool.file")
    spool = Spool(small_disk / "spool.db")
    occupy(small_disk)
    n = 0
    while spool.enqueue(reading(n)):
        n += 1
    for m in range(n + 1, n + MEMORY_SAMPLES + 3):
        spool.enqueue(reading(m))
    (small_disk / "junk").unlink()
    assert spool.enqueue(reading(99999))
    status = spool.status()
    assert status["dropped"] == 3
    left = numbers(spool.peek(10**5))
    assert left == [*range(n), *range(n + 3, n + MEMORY_SAMPLES + 3), 99999]
    spool.close()
