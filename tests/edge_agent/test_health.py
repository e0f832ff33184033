"""What systemd is told, and how the health file is replaced."""

import json
import os
import resource
import socket
from threading import Event, Thread

import pytest

from edge_agent.health import HealthFile, Systemd
from edge_agent.left_behind import LeftBehind
from edge_agent.spool.queue import Spool
from tests.support.agent import sample, settings


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_each_word(tmp_path, abstract):
    name = f"@sunspool-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
        assert systemd.watchdog_s == 30
        systemd.ready()
        systemd.status("3\nsamples")
        systemd.alive()
        systemd.stopping()
        heard = [manager.recv(100) for _ in range(4)]
    assert heard == [b"READY=1", b"STATUS=3 samples", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_watchdog_of_another_process_is_not_ours():
    assert Systemd({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s == 0
    ours = Systemd({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())})
    assert ours.watchdog_s == 1


def test_without_systemd_or_with_a_deaf_one_nothing_happens(tmp_path, caplog):
    Systemd({}).ready()
    assert caplog.records == []
    caplog.set_level("DEBUG")
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert [record.event for record in caplog.records] == ["notify_failed"]


def test_a_reader_never_sees_half_a_health_file(tmp_path):
    path, done, seen = tmp_path / "new folder" / "health.json", Event(), []
    health = HealthFile(settings(tmp_path, HEALTH_PATH=path))
    health.write({"number": 0})

    def read():
        while not done.is_set():
            seen.append(json.loads(path.read_text())["number"])

    reader = Thread(target=read)
    reader.start()
    for number in range(500):
        health.write({"number": number, "text": "x" * 5000})
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert json.loads(path.read_text())["device_id"] == "house"


def test_half_a_health_file_never_takes_the_place_of_a_whole_one(tmp_path, caplog):
    path = tmp_path / "health.json"
    health = HealthFile(settings(tmp_path, HEALTH_PATH=path))
    health.write({"number": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        health.write({"number": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert json.loads(path.read_text())["number"] == 1
    assert [record.event for record in caplog.records] == ["health_failed"]
    health.write({"number": 3})
    assert json.loads(path.read_text())["number"] == 3


def test_readings_that_a_changed_device_id_left_behind_are_in_the_health(tmp_path, caplog):
    old = Spool(settings(tmp_path, SPOOL_PATH=tmp_path / "old" / "spool.db").spool_path)
    old.enqueue(sample(0))
    ours = settings(tmp_path, SPOOL_PATH=tmp_path / "house" / "spool.db")

    def warning():
        health = HealthFile(ours)
        health.write({})
        return json.loads(ours.health_path.read_text())["spool_warning"]

    assert warning() is None  # an agent works on it
    old.close()
    text = f"{tmp_path}/old/spool.db holds 1 readings that no agent sends"
    found = warning()
    assert found.startswith(text)
    assert caplog.messages == [found]
    elsewhere = settings(tmp_path, SPOOL_PATH=tmp_path / "spool.db")
    assert LeftBehind(elsewhere.spool_path, "house").warning is None
