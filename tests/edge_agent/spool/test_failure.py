"""A disk that fails: readings wait in memory, the handle is never trusted again."""

import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.spool.file import REOPEN_AFTER_S
from edge_agent.spool.queue import Spool, SpoolBroken, SpoolError
from tests.support.readings import reading

pytestmark = pytest.mark.slow

OWN = ("pytes", "popen")  # how the folders of a run of tests begin, whoever may enter them
ROOT = Path(__file__).parents[3]
NOBODY = 65534

ENQUEUE = """
import json, sys, time
from edge_agent.spool.queue import Spool
from tests.support.readings import reading
spool = Spool(sys.argv[1])
stored = []
for n in range(int(sys.argv[2])):
    stored.append(spool.enqueue(reading(n)))
    time.sleep(0 if stored[-1] else 0.1)
spool.close()
print(json.dumps(stored))
"""

RETRY = """
import json, sys, time
from edge_agent.spool.queue import Spool
from tests.support.readings import reading
spool = Spool(sys.argv[1])
failed = None
for n in range(60):
    if not spool.enqueue(reading(n)) and failed is None:
        failed = n
        time.sleep(1.1)
aside = [entry.id for entry in spool.peek(99) if entry.sample["pv_power_w"] == failed]
spool.set_aside([(id_, "no") for id_ in aside])
print(json.dumps([spool.status()["set_aside"], spool.retry()]))
spool.close()
"""

PLACE = """
import json, sys, time
from edge_agent.clock import Clock, ReadingTime
from edge_agent.poller import place_held
from edge_agent.spool.queue import Spool
from tests.support.agent import START, sample
spool = Spool(sys.argv[1])
for n in range(60):
    spool.enqueue(sample(n), ReadingTime(START, 5.0 * n, "boot", trusted=False))
now = ReadingTime(START, 0.0, "boot", trusted=True)
for n in range(20):
    spool.place(now)
    time.sleep(0.1)
print(json.dumps([entry.sample["ts"] for entry in spool.peek(9999)]))
spool.close()
"""


@pytest.fixture
def path(tmp_path):
    """Where the spool of a test lies."""
    return tmp_path / "spool.db"


def numbers(path):
    """What is on the disk afterwards."""
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute("SELECT payload FROM samples ORDER BY id").fetchall()
    return [json.loads(payload)["pv_power_w"] for (payload,) in rows]


def run_with_faults(program, call, error, when, *arguments):
    """What a program prints while the kernel fails some of its calls; skips without strace."""
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    fault = f"inject={call}:error={error}:when={when}"
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", fault]
    program = [sys.executable, "-c", program, *arguments]
    done = subprocess.run([*command, *program], cwd=ROOT, capture_output=True, timeout=120)
    assert b"Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("call", "error"), [("fdatasync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC")]
)
def test_failing_writes_cost_nothing_once_they_work_again(path, call, error):
    """The kernel fails five calls in the middle of work."""
    stored = run_with_faults(ENQUEUE, call, error, "100..104", path, "200")
    assert False in stored, "nothing failed"
    assert stored[-1] is True
    # A commit that failed may have reached the log all the same: then the server sees it twice.
    assert list(dict.fromkeys(numbers(path))) == list(range(200))
    assert len(numbers(path)) <= 202


def test_a_reading_of_a_failed_commit_can_be_set_aside_and_come_back(path):
    assert run_with_faults(RETRY, "fdatasync", "EIO", "30..31", path) in ([1, 1], [2, 2])
    assert sorted(set(numbers(path))) == list(range(60))


def test_a_placement_that_fails_is_done_again(path):
    times = run_with_faults(PLACE, "fdatasync", "EIO", "62..64", path)
    assert len(set(times)) == 60
    assert times[0] == "2026-11-21T12:00:00.000001Z"


def test_a_file_that_may_not_grow(path):
    """As on a disk quota: EFBIG is neither a full disk nor a failing one."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    command = [sys.executable, "-c", ENQUEUE, path, "200"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, preexec_fn=limit, timeout=120)
    stored = json.loads(done.stdout)
    assert stored[0] is True
    found = numbers(path)
    assert found == list(range(len(found)))
    assert len(found) >= sum(stored)


def test_after_minutes_of_failure_the_process_is_told_to_end(path):
    spool = Spool(path, patience_s=0.5)
    assert spool.enqueue(reading(0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        assert spool.enqueue(reading(1)) is False
        assert [entry.sample["pv_power_w"] for entry in spool.peek(9)] == [1]
        with pytest.raises(SpoolBroken, match="could not be used"):
            enqueue_for_seconds(spool)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    time.sleep(REOPEN_AFTER_S)
    spool.close()
    assert numbers(path)[:3] == [0, 1, 2], "memory was written in the end"


def enqueue_for_seconds(spool):
    """Store fifty readings, ten a second."""
    for n in range(2, 52):
        spool.enqueue(reading(n))
        time.sleep(0.1)


AS_NOBODY = f"""
import os, sys
from edge_agent.spool.queue import Spool, SpoolError
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
try:
    Spool(sys.argv[1])
except SpoolError as error:
    print(error)
"""


@pytest.mark.parametrize("denied", ["file", "folder", "parent"])
def test_a_spool_without_the_right_to_write_is_refused_at_the_start(tmp_path, denied):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for folder in (tmp_path, *(one for one in tmp_path.parents if one.name[:5] in OWN)):
        folder.chmod(0o755)
    path = tmp_path / "device" / "spool.db"
    if denied != "parent":
        Spool(path).close()
    if denied == "file":
        os.chown(path.parent, NOBODY, NOBODY)
    command = [sys.executable, "-c", AS_NOBODY, path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert str(path.parent) in done.stdout, done.stderr
    assert "readonly" in done.stdout or "ermission" in done.stdout or "unable" in done.stdout


def test_a_disk_that_turned_read_only_is_waited_for(small_disk):
    path = small_disk / "spool.db"
    spool = Spool(path)
    spool.enqueue(reading(0))
    spool.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    spool = Spool(path)
    assert spool.enqueue(reading(1)) is False
    assert spool.status()["pending"] == 1
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    time.sleep(REOPEN_AFTER_S)
    assert spool.enqueue(reading(2)) is True
    assert spool.status()["pending"] == 3
    spool.close()
    assert numbers(path) == [0, 1, 2]


@pytest.fixture
def failing_disk(tmp_path):
    """An ext4 of its own, and the file that makes the kernel find an error on it."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    try:
        quietly("truncate", "-s", "64M", image)
        quietly("mkfs.ext4", "-q", image)
        quietly("mount", "-o", "loop,errors=remount-ro", image, folder)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount an ext4, and only where there are loop devices")
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    device = Path(next(mount[0] for mount in mounts if mount[1] == str(folder))).name
    yield folder, Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
    quietly("umount", "-l", folder)


def quietly(*command):
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


def test_a_disk_that_fails_under_way_loses_nothing_confirmed(failing_disk):
    """As with a dying card: the kernel makes it read-only; a check repairs it later."""
    folder, trigger = failing_disk
    path = folder / "spool.db"
    spool = Spool(path, patience_s=2)
    for n in range(10):
        assert spool.enqueue(reading(n))
    trigger.write_text("1")
    assert spool.enqueue(reading(10)) is False
    (entry,) = spool.peek(99)
    spool.ack([entry.id])
    assert spool.status()["pending"] == 10
    with pytest.raises(SpoolBroken):
        enqueue_for_seconds(spool)
    spool.close()
    restarted = Spool(path)
    assert restarted.enqueue(reading(99)) is False
    restarted.close()
    quietly("umount", folder)
    subprocess.run(["fsck.ext4", "-p", folder.parent / "image"], capture_output=True)
    quietly("mount", "-o", "loop", folder.parent / "image", folder)
    assert numbers(path) == list(range(10))


def test_a_folder_that_can_not_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="cannot make the folder"):
        Spool(tmp_path / "file" / "spool.db")
