"""A damaged file: set aside, never deleted; what can be read is saved, what can not is counted."""

import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.clock import ReadingTime
from edge_agent.spool.file import PAGE_BYTES
from edge_agent.spool.queue import Spool, SpoolError
from edge_agent.spool.status import read_status
from tests.support.readings import reading
from tests.support.servers import ROOT, wait_until

pytestmark = pytest.mark.slow

COUNT = 400
FIRST = 50  # those before are confirmed
REFUSED = 60
NOW = ReadingTime(datetime(2026, 11, 21, 12, tzinfo=UTC), 99.0, "boot-1", trusted=True)


@pytest.fixture
def path(tmp_path):
    """A closed spool: readings 50 to 399 wait, but 60, which was refused."""
    path = tmp_path / "spool.db"
    spool = Spool(path)
    for n in range(COUNT):
        spool.enqueue(reading(n))
    spool.ack([entry.id for entry in spool.peek(FIRST)])
    spool.set_aside([(spool.peek(REFUSED - FIRST + 1)[-1].id, "no")])
    spool.place(NOW)
    spool.close()
    return path


WAITING = [n for n in range(FIRST, COUNT) if n != REFUSED]


def numbers(entries):
    """The numbers of readings that were peeked."""
    return [entry.sample["pv_power_w"] for entry in entries]


def overwrite(path, offset, data):
    """What a bad sector or a mad program does."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def let_it_read_again(path):
    """Move the log into the file, and make the agent forget what it knows of its pages."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.execute("INSERT INTO meta VALUES ('another', 'program')")


def set_aside_files(path):
    """The damaged files beside the spool."""
    return sorted(path.parent.glob("spool.db.salvaged-*"))


def events(caplog, name):
    """The log lines of one event."""
    return [record for record in caplog.records if getattr(record, "event", "") == name]


def test_a_flipped_byte_costs_that_reading_only(path, caplog):
    content = path.read_bytes()
    at = content.index(b'"pv_power_w":77,')
    overwrite(path, at + 3, b"\xff")
    spool = Spool(path)
    assert numbers(spool.peek(COUNT)) == [n for n in WAITING if n != 77]
    status = spool.status()
    assert (status["set_aside"], status["lost"]) == (2, 0)
    rejected = status["rejected"][0]
    assert "checksum" in rejected["reason"]
    assert rejected["ts"] == reading(77)["ts"]
    assert "power_w" in rejected["sample"]
    assert "\ufffd" in rejected["sample"]
    assert spool.retry() == 1, "what is damaged stays where it is"
    assert spool.status()["set_aside"] == 1
    assert events(caplog, "spool_unsendable")
    assert set_aside_files(path) == []
    spool.close()


def test_a_time_that_became_bytes_can_still_be_shown(path):
    spool = Spool(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE samples SET ts = CAST(ts AS BLOB) WHERE id = 52")
        other.execute("UPDATE set_aside SET reason = CAST(reason AS BLOB)")
    spool.ack([entry.id for entry in spool.peek(1)])
    assert json.loads(json.dumps(spool.counts()))["oldest_ts"] == reading(51)["ts"]
    assert numbers(spool.peek(1)) == [52]
    damaged, refused = json.loads(json.dumps(spool.status()))["rejected"]
    assert (damaged["ts"], refused["reason"]) == (reading(51)["ts"], "no")
    assert json.loads(damaged["sample"]) == reading(51)
    spool.close()


@pytest.mark.parametrize("last_id", [None, "400"])
def test_a_last_id_that_is_no_number_does_not_stop_the_agent(path, last_id):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE sqlite_sequence SET seq = ?", (last_id,))
    spool = Spool(path)
    assert numbers(spool.peek(COUNT)) == WAITING
    assert spool.status()["lost"] == 0
    spool.close()


def test_bad_pages_cost_what_is_on_them_and_the_count_is_exact(path, caplog):
    before = path.read_bytes()
    pages = len(before) // PAGE_BYTES
    chance = random.Random(5)
    for page in chance.sample(range(10, pages), 12):
        overwrite(path, page * PAGE_BYTES, chance.randbytes(PAGE_BYTES))
    damaged = path.read_bytes()
    spool = Spool(path)
    found = numbers(spool.peek(COUNT))
    status = spool.status()
    assert found == sorted(set(found) & set(WAITING))
    assert 1 <= len(WAITING) - len(found) <= 30
    assert status["lost"] + status["set_aside"] - 1 == len(WAITING) - len(found)
    assert spool.knows_boot("boot-1")
    assert spool.enqueue(reading(COUNT))
    assert numbers(spool.peek(1, newest=True)) == [COUNT]
    assert [file.read_bytes() for file in set_aside_files(path)] == [damaged]
    assert len(events(caplog, "spool_corrupt")) == len(events(caplog, "spool_salvaged")) == 1
    spool.close()
    again = Spool(path)
    assert again.status()["lost"] == status["lost"]
    assert len(set_aside_files(path)) == 1
    again.close()


@pytest.mark.parametrize("damage", ["header", "first pages", "cut in half", "counters"])
def test_what_sqlite_can_not_open_is_still_read(path, damage):
    content = path.read_bytes()
    if damage == "header":
        overwrite(path, 0, os.urandom(100))
    elif damage == "first pages":
        overwrite(path, 0, os.urandom(2 * PAGE_BYTES))
    elif damage == "cut in half":
        os.truncate(path, len(content) // 2 // PAGE_BYTES * PAGE_BYTES)
    else:
        overwrite(path, content.index(b'"pending"'), b"\x00" * 9)
        overwrite(path, content.index(b'"pv_power_w":88,') // PAGE_BYTES * PAGE_BYTES, b"\x00" * 64)
    spool = Spool(path)
    found = numbers(spool.peek(COUNT))
    missing = len(WAITING) - len(found)
    assert found == sorted(found)
    assert set(found) <= set(WAITING)
    assert spool.status()["lost"] + spool.status()["set_aside"] - 1 == missing
    assert missing == 0 if damage in ("header", "first pages") else missing > 0
    spool.close()


@pytest.mark.parametrize("content", [b"", b"hello", os.urandom(50_000)])
def test_a_file_that_never_was_a_spool_is_kept_and_replaced(tmp_path, content):
    path = tmp_path / "spool.db"
    path.write_bytes(content)
    spool = Spool(path)
    assert spool.enqueue(reading(1))
    assert numbers(spool.peek(9)) == [1]
    assert [file.read_bytes() for file in set_aside_files(path)] == [content][: len(content)]
    spool.close()


def test_damage_is_found_while_running_and_late_confirmations_hit_nothing_else(tmp_path):
    path = tmp_path / "spool.db"
    spool = Spool(path)
    for n in range(3 * COUNT):
        spool.enqueue(reading(n))
    in_flight = spool.peek(20, newest=True)
    let_it_read_again(path)
    overwrite(path, 100 * PAGE_BYTES, os.urandom(20 * PAGE_BYTES))
    assert len(spool.peek(3 * COUNT)) < 3 * COUNT
    assert spool.enqueue(reading(9999)), "the fresh file takes readings at once"
    more = 1
    while not set_aside_files(path):
        more += spool.enqueue(reading(9999 + more))
    spool.ack([entry.id for entry in in_flight])
    status = spool.status()
    found = numbers(spool.peek(4 * COUNT))
    lost = status["lost"] + status["set_aside"]
    assert 9999 in found
    assert 1 <= lost <= 40
    assert len(found) == len(set(found)) == status["pending"] == 3 * COUNT + more - 20 - lost
    spool.close()


def test_salvage_goes_on_after_a_crash_in_the_middle(tmp_path):
    path, count = tmp_path / "spool.db", 2500
    spool = Spool(path)
    for n in range(count):
        spool.enqueue(reading(n))
    spool.close()
    overwrite(path, 0, os.urandom(100))
    program = f"from edge_agent.spool.queue import Spool; Spool({str(path)!r})"
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) as salvaging:
        wait_until(lambda: saved(path) > 0, 20, "some readings")
        salvaging.kill()
    assert saved(path) < count
    (unfinished,) = [p for p in path.parent.glob("spool.db.corrupt-*") if "-wal" not in p.name]
    assert not set_aside_files(path)
    spool = Spool(path)
    assert numbers(spool.peek(count)) == list(range(count))
    assert spool.status()["lost"] == 0
    assert not unfinished.exists()
    spool.close()


def saved(path):
    """How many readings the fresh file has so far."""
    try:
        return read_status(path)["pending"]
    except SpoolError:
        return 0


def as_killed(path, folder, more):
    """The spool as an agent leaves it that was killed after some more readings."""
    folder.mkdir()
    spool = Spool(path)
    for n in range(COUNT, COUNT + more):
        spool.enqueue(reading(n))
    for suffix in ("", "-wal"):
        Path(f"{folder}/spool.db{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    spool.close()
    return folder / "spool.db"


def test_what_stood_in_the_log_only_is_saved_too(path, tmp_path):
    """The damage is in the file."""
    copy = as_killed(path, tmp_path / "copy", 20)
    overwrite(copy, 5 * PAGE_BYTES, b"\xff" * PAGE_BYTES)
    overwrite(copy, 0, os.urandom(100))
    spool = Spool(copy)
    found = numbers(spool.peek(2 * COUNT))
    assert found[-20:] == list(range(COUNT, COUNT + 20))
    assert len(found) >= len(WAITING)
    spool.close()


def test_a_flipped_byte_in_the_log_costs_that_reading_only(path, tmp_path):
    """SQLite itself would forget this reading and all that came after it, without a word."""
    copy = as_killed(path, tmp_path / "copy", 50)
    log = Path(f"{copy}-wal").read_bytes()
    overwrite(Path(f"{copy}-wal"), log.rindex(b'"pv_power_w":420,') + 3, b"X")
    spool = Spool(copy)
    assert numbers(spool.peek(2 * COUNT)) == [*WAITING, *range(COUNT, 420), *range(421, 450)]
    assert '"pvXpower_w":420,' in spool.status()["rejected"][0]["sample"]
    assert spool.status()["lost"] == 0
    spool.close()


def test_a_fresh_file_that_is_damaged_at_once_is_the_disks_fault(path):
    overwrite(path, 0, os.urandom(PAGE_BYTES))
    spool = Spool(path)
    let_it_read_again(path)
    overwrite(path, PAGE_BYTES, os.urandom(path.stat().st_size - PAGE_BYTES))
    assert spool.enqueue(reading(1)) is False
    assert len(list(path.parent.glob("spool.db.*-20*"))) == 1
    assert numbers(spool.peek(1)) == [1]
    spool.close()


@pytest.mark.parametrize("seed", [*range(4), pytest.param(99, marks=pytest.mark.full)])
def test_a_changed_byte_anywhere_never_costs_more_than_its_page(path, tmp_path, seed):
    chance, content = random.Random(seed), path.read_bytes()
    for trial in range(200 if seed == 99 else 15):
        copy = tmp_path / str(trial) / "spool.db"
        copy.parent.mkdir()
        copy.write_bytes(content)
        at = chance.randrange(len(content))
        overwrite(copy, at, bytes([content[at] ^ 1 << chance.randrange(8)]))
        spool = Spool(copy)
        found = numbers(spool.peek(2 * COUNT))
        found = numbers(spool.peek(2 * COUNT))
        status = spool.status()
        missing = set(WAITING) - set(found)
        assert len(missing) <= 2, f"byte {at}"
        assert len(found) == len(set(found)) == status["pending"]
        assert status["lost"] + status["set_aside"] >= len(missing), f"byte {at}"
        assert spool.enqueue(reading(COUNT)), f"byte {at}"
        spool.close()
