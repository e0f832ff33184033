"""The queue itself: order, confirmation, refusal, held readings, threads and sudden death."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.clock import ReadingTime
from edge_agent.spool.errors import SpoolError, SpoolLocked
from edge_agent.spool.file import REOPEN_AFTER_S
from edge_agent.spool.queue import Spool
from tests.support.readings import reading

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path):
    """Where the spool of a test lies."""
    return tmp_path / "device" / "spool.db"


@pytest.fixture
def spool(path):
    """An empty spool, closed afterwards."""
    with_spool = Spool(path)
    yield with_spool
    with_spool.close()


def fill(spool, numbers):
    """Store readings; each must reach the disk."""
    for number in numbers:
        assert spool.enqueue(reading(number)) is True


def numbers(entries):
    """The numbers of readings that were peeked."""
    return [entry.sample["pv_power_w"] for entry in entries]


def untrusted(boot_s, boot_id="boot-1"):
    """The time of a clock that was never set."""
    return ReadingTime(datetime(1970, 1, 1, tzinfo=UTC), boot_s, boot_id, trusted=False)


def test_readings_come_out_as_they_went_in_oldest_first(spool):
    fill(spool, range(10))
    assert [entry.sample for entry in spool.peek(4)] == [reading(n) for n in range(4)]
    assert numbers(spool.peek(100)) == list(range(10))


def test_the_newest_can_be_peeked_and_still_come_oldest_first(spool):
    fill(spool, range(10))
    assert numbers(spool.peek(3, newest=True)) == [7, 8, 9]


def test_only_what_is_confirmed_goes(spool):
    fill(spool, range(5))
    first, second, *_ = spool.peek(5)
    spool.ack([first.id, second.id])
    spool.ack([first.id, 4711])
    assert numbers(spool.peek(5)) == [2, 3, 4]
    assert spool.status()["pending"] == 3


def test_an_id_is_never_given_twice(path):
    spool = Spool(path)
    fill(spool, range(3))
    old = [entry.id for entry in spool.peek(3)]
    spool.ack(old)
    spool.close()
    spool = Spool(path)
    fill(spool, range(3, 6))
    spool.ack(old)  # a confirmation that comes late must not hit another reading
    assert numbers(spool.peek(10)) == [3, 4, 5]
    spool.close()


def test_refused_readings_keep_their_reason_and_can_return_to_their_place(spool):
    fill(spool, range(5))
    entries = spool.peek(5)
    spool.set_aside([(entries[1].id, "value"), (entries[3].id, "x" * 9999)])
    status = spool.status()
    assert (status["pending"], status["set_aside"]) == (3, 2)
    assert [entry["sample"] for entry in status["rejected"]] == [reading(3), reading(1)]
    assert status["rejected"][1] == {
        "ts": "2026-11-21T00:00:05Z",
        "reason": "value",
        "sample": reading(1),
    }
    assert len(status["rejected"][0]["reason"]) == 500
    assert spool.retry() == 2
    assert numbers(spool.peek(5)) == [0, 1, 2, 3, 4]
    assert spool.status()["rejected"] == []


def test_at_most_a_hundred_rejected_are_shown(spool):
    fill(spool, range(120))
    spool.set_aside([(entry.id, "no") for entry in spool.peek(120)])
    rejected = spool.status()["rejected"]
    assert len(rejected) == 100
    assert rejected[0]["sample"] == reading(119)
    assert spool.status()["set_aside"] == 120


def test_half_a_reserve_is_made_whole(path):
    reserve = path.with_name("spool.db.reserve")
    reserve.parent.mkdir()
    reserve.touch()  # what a power cut leaves while it is made
    Spool(path).close()
    assert reserve.stat().st_size == 2**20


def test_everything_is_there_after_a_restart(path):
    spool = Spool(path)
    fill(spool, range(6))
    entries = spool.peek(6)
    spool.ack([entries[0].id])
    spool.set_aside([(entries[1].id, "no")])
    spool.place(untrusted(99.0)._replace(trusted=True))
    before = spool.status()
    spool.close()
    spool.close()
    again = Spool(path)
    assert again.status() == before
    assert again.knows_boot("boot-1")
    assert not again.knows_boot("boot-2")
    assert numbers(again.peek(9)) == [2, 3, 4, 5]
    again.close()


def test_the_newest_time_survives_its_reading(path):
    spool = Spool(path)
    assert spool.newest_ts() is None
    fill(spool, [3, 1])
    spool.enqueue(reading(500), untrusted(1.0))
    spool.ack([entry.id for entry in spool.peek(9)])
    spool.close()
    again = Spool(path)
    assert again.newest_ts() == datetime(2026, 11, 21, 0, 0, 15, tzinfo=UTC)
    again.close()


def test_readings_of_an_untrusted_clock_are_held_until_they_are_placed(spool):
    fill(spool, [0])
    spool.enqueue(reading(1, start=datetime(1970, 1, 1, tzinfo=UTC)), untrusted(30.5))
    spool.enqueue(reading(2, start=datetime(1970, 1, 1, tzinfo=UTC)), untrusted(35.5))
    assert numbers(spool.peek(9)) == [0]
    assert spool.status()["pending"] == 3
    now = datetime(2026, 11, 21, 9, 0, 10, tzinfo=UTC)
    spool.place(ReadingTime(now, 40.5, "boot-1", trusted=True))
    assert [entry.sample for entry in spool.peek(9)[1:]] == [
        reading(1) | {"ts": "2026-11-21T09:00:00.000001Z"},
        reading(2) | {"ts": "2026-11-21T09:00:05.000001Z"},
    ]
    assert timedelta() < now - spool.newest_ts() < timedelta(seconds=1)
    assert spool.knows_boot("boot-1")


def test_readings_of_another_device_are_set_aside_before_they_are_sent(path):
    before = Spool(path)
    fill(before, range(3))
    before.close()
    spool = Spool(path, device_id="attic")
    spool.enqueue(reading(3) | {"device_id": "attic"})
    assert numbers(spool.peek(9)) == [3]
    status = spool.status()
    assert (status["pending"], status["set_aside"]) == (1, 3)
    reason = "of device roof, while DEVICE_ID is attic"
    assert [one["reason"] for one in status["rejected"]] == [reason] * 3
    spool.close()
    again = Spool(path, device_id="roof")
    assert again.retry() == 3
    assert numbers(again.peek(9)) == [0, 1, 2]
    again.close()


def test_what_json_can_not_say_is_refused_at_once(spool):
    with pytest.raises(ValueError, match="JSON"):
        spool.enqueue(reading(1) | {"pv_power_w": float("nan")})
    with pytest.raises(TypeError, match="ts"):
        spool.enqueue(reading(1) | {"ts": None})
    assert spool.status()["pending"] == 0


def test_a_second_agent_is_kept_away_in_clear_words(spool, path):
    with pytest.raises(SpoolLocked, match=f"another agent is using the spool {path}"):
        Spool(path)
    fill(spool, [1])


def test_a_folder_in_place_of_the_file_is_refused(path):
    path.mkdir(parents=True)
    with pytest.raises(SpoolError, match="is a folder"):
        Spool(path)


def test_the_file_stays_small_and_forgets_what_was_confirmed(spool, path):
    for _ in range(3):
        fill(spool, range(300))
        spool.ack([entry.id for entry in spool.peek(300)])
    assert path.with_name("spool.db-wal").stat().st_size < 2 * 2**20
    with closing(sqlite3.connect(path)) as db:
        assert "AUTOINCREMENT" in str(db.execute("SELECT sql FROM sqlite_master").fetchall())
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"pv_total_kwh" not in path.read_bytes(), "salvage would find it again"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ack", "set_aside"])
def test_a_reading_that_reached_the_disk_on_the_way_is_only_sent_again(spool, path, method):
    """The answer names the id that it had in memory."""
    with locked(path):
        assert spool.enqueue(reading(0)) is False
        (entry,) = spool.peek(9)
    time.sleep(REOPEN_AFTER_S)
    fill(spool, [1])
    getattr(spool, method)([entry.id] if method == "ack" else [(entry.id, "no")])
    assert numbers(spool.peek(9)) == [0, 1]
    assert spool.status()["set_aside"] == 0


@contextmanager
def locked(path):
    """While another program has locked the file nothing can be written."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.slow
def test_threads_share_it_without_a_hole(spool, path):
    """Two enqueue, one peeks and confirms, one looks on; nothing is missing and nothing twice."""
    confirmed, stop, errors = [], threading.Event(), []

    def guarded(work):
        def run():
            try:
                work()
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        return threading.Thread(target=run)

    def upload():
        while not stop.is_set() or spool.status()["pending"]:
            entries = spool.peek(7)
            confirmed.extend(numbers(entries))
            spool.ack([entry.id for entry in entries])

    def look():
        while not stop.is_set():
            assert spool.status()["set_aside"] == 0

    writers = [guarded(lambda n=n: fill(spool, range(n, n + 400))) for n in (0, 1000)]
    others = [guarded(upload), guarded(look)]
    for thread in writers + others:
        thread.start()
    for thread in writers:
        thread.join(60)
    stop.set()
    for thread in others:
        thread.join(60)
    assert errors == []
    assert sorted(confirmed) == [*range(400), *range(1000, 1400)]
    spool.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM samples").fetchall() == [(0,)]


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_it_was_told_is_stored(tmp_path):
    """Killed again and again in the middle of work, each time going on with the same file."""
    path, confirmed = tmp_path / "spool.db", 0
    for kill in range(5):
        heard = lines_until_killed(path, first=kill * 10_000, lines=100 + 37 * kill)
        expected = heard["stored"] - heard["end"]
        spool = Spool(path)
        entries = spool.peek(10**6)
        refused = {entry["sample"]["pv_power_w"] for entry in spool.status()["rejected"]}
        assert expected <= {*numbers(entries), *refused}
        confirmed += len(expected)
        spool.ack([entry.id for entry in entries])
        spool.close()
    assert confirmed > 30
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def lines_until_killed(path, first, lines):
    """What a writer was told before it was killed: word -> numbers."""
    program = [sys.executable, "-m", "tests.support.power_cut_writer"]
    heard = {"begin": set(), "stored": set(), "end": set(), "ended": set()}
    command = [*program, path, "FULL", "100000", str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        said += writer.stdout.readlines()
    for line in said:
        word, *values = line.split()
        heard[word].update(map(int, values))
    return heard
