"""A look at the spool from another process: as anybody who may read, without touching anything."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.spool.queue import Spool, SpoolError
from edge_agent.spool.status import read_status, request_retry, retry_set_aside
from tests.support.readings import reading

OWN = ("pytes", "popen")  # how the folders of a run of tests begin, whoever may enter them
ROOT = Path(__file__).parents[3]
NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    """A spool in a folder that everybody may read."""
    for folder in (tmp_path, *(one for one in tmp_path.parents if one.name[:5] in OWN)):
        folder.chmod(0o755)
    return tmp_path / "device" / "spool.db"


@pytest.fixture
def spool(path):
    """A running agent's spool: five wait, one was refused."""
    spool = Spool(path)
    for n in range(6):
        spool.enqueue(reading(n))
    spool.set_aside([(spool.peek(9)[2].id, "no")])
    yield spool
    spool.close()


LOOK_AS_NOBODY = f"""
import json, os, sys
from edge_agent.spool.status import read_status
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
print(json.dumps(read_status(sys.argv[1])))
"""


def status_as_nobody(path):
    """What a user without any right to write reads."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    command = [sys.executable, "-c", LOOK_AS_NOBODY, path]
    return json.loads(subprocess.run(command, check=True, cwd=ROOT, capture_output=True).stdout)


def left_by_a_killed_agent(path):
    """A copy of the files as they are in use."""
    left = path.parent.parent / "left"
    shutil.copytree(path.parent, left)
    return left / path.name


def test_it_is_the_status_of_the_running_agent_at_every_moment(spool, path):
    assert read_status(path) == spool.status()
    assert (read_status(path)["pending"], read_status(path)["set_aside"]) == (5, 1)
    assert read_status(path)["rejected"][0]["sample"] == reading(2)
    spool.ack([entry.id for entry in spool.peek(9)])
    assert read_status(path) == spool.status()
    spool.enqueue(reading(6))
    assert read_status(path)["oldest_ts"] == reading(6)["ts"]


def test_another_user_may_look_beside_a_running_agent(spool, path):
    assert status_as_nobody(path) == spool.status()


def test_after_the_agent_has_ended(spool, path):
    expected = spool.status()
    spool.close()
    before = sorted(os.listdir(path.parent))
    assert status_as_nobody(path) == expected
    assert read_status(path) == expected
    assert sorted(os.listdir(path.parent)) == before


def test_after_the_agent_was_killed(spool, path):
    left = left_by_a_killed_agent(path)
    assert status_as_nobody(left) == spool.status()
    assert read_status(left) == spool.status()
    again = Spool(left)
    assert again.status() == spool.status()
    again.close()


def test_nothing_there_yet(tmp_path):
    empty = {"pending": 0, "set_aside": 0, "oldest_ts": None, "rejected": [], "thinned": 0}
    assert read_status(tmp_path / "none.db").items() >= empty.items()
    (tmp_path / "zero.db").touch()
    assert read_status(tmp_path / "zero.db").items() >= empty.items()
    assert os.listdir(tmp_path) == ["zero.db"]


def test_what_can_not_be_read_is_said(tmp_path):
    (tmp_path / "spool.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(SpoolError, match=r"spool\.db: file is not a database"):
        read_status(tmp_path / "spool.db")
    with pytest.raises(SpoolError, match="unable to open"):
        read_status(tmp_path)


def test_the_file_is_not_opened_for_writing(spool, path, tmp_path):
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    program = f"from edge_agent.spool.status import read_status; read_status({str(path)!r})"
    output = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=openat", "-o", output, sys.executable, "-c", program]
    subprocess.run(command, check=True, cwd=ROOT)
    opened = [line for line in output.read_text().splitlines() if 'spool.db"' in line]
    assert opened
    assert all("O_RDONLY" in line for line in opened)


@pytest.mark.slow
def test_a_look_does_not_hold_the_agent_up(spool, path):
    """Readers come and go while the log is written from its beginning again and again."""
    for n in range(10, 1500):
        assert spool.enqueue(reading(n))
        if n % 50 == 0:
            assert read_status(path)["pending"] == spool.status()["pending"]
            spool.ack([entry.id for entry in spool.peek(500)])
    assert Path(f"{path}-wal").stat().st_size < 2 * 2**20


def test_a_running_agent_is_asked_to_retry(spool, path):
    assert spool.retry_requested() is False
    assert retry_set_aside(path, max_mb=1) is None
    assert spool.status()["set_aside"] == 1
    assert spool.retry_requested() is True
    assert spool.retry() == 1
    assert spool.retry_requested() is False
    request_retry(path)
    assert spool.retry_requested() is True


def test_without_an_agent_the_retry_is_done_at_once(spool, path):
    spool.close()
    assert retry_set_aside(path, max_mb=1) == 1
    assert read_status(path)["pending"] == 6
    assert retry_set_aside(path, max_mb=1) == 0
    assert retry_set_aside(path.with_name("none.db"), max_mb=1) == 0
    assert not path.with_name("none.db").exists()


@pytest.mark.slow
def test_a_retry_thins_nothing_that_the_agent_would_keep(path):
    spool = Spool(path, max_mb=4)
    for n in range(2200):
        spool.enqueue(reading(n))
    spool.close()
    assert retry_set_aside(path, max_mb=4) == 0
    assert read_status(path)["pending"] == 2200


def test_asking_without_the_right_is_an_error_in_words(tmp_path):
    with pytest.raises(SpoolError, match="cannot ask the agent"):
        request_retry(tmp_path / "no folder" / "spool.db")
