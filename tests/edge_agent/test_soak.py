"""A week on a fast clock with random faults: nothing grows, nothing is lost."""

import json
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from tests.simulators.homewizard import MeterSimulator
from tests.simulators.ingest_server import ACCEPT, IngestServer, Reply
from tests.simulators.proxy import Fault, FaultProxy
from tests.support.agent import CountingMeter, p1_environ, reading
from tests.support.servers import ROOT
from tests.support.servers.process import environment

pytestmark = pytest.mark.slow

WEEK = 7 * 24 * 3600 // 5
FAULTS = [
    Reply(200, b"<html></html>"),
    Reply(413),
    Reply(429, b"", {"Retry-After": "0"}),
    Reply(500, b"", store=True),
    Reply(503),
    Reply(reset=True),
]


@pytest.mark.parametrize("polls", [2000, pytest.param(WEEK, marks=pytest.mark.full)])
def test_a_week_changes_nothing(tmp_path, tls, ca, polls):
    dice = random.Random(polls)
    measure = CountingMeter()
    with (
        MeterSimulator(measure) as meter,
        IngestServer(tls) as server,
        FaultProxy(meter.port) as line,
        FaultProxy(server.port) as uplink,
    ):
        server.rule = lambda request: dice.choice(FAULTS) if dice.random() < 0.2 else ACCEPT
        env = p1_environ(
            line.port, uplink.port, ca.file, POLL_INTERVAL_S=5, MIN_BACKOFF_S=0.01, BATCH_SIZE=100
        ) | {"MAX_BACKOFF_S": "0.05", "SPOOL_PATH": str(tmp_path / "spool.db")}
        command = [sys.executable, "-m", "tests.support.soak", "--polls", str(polls)]
        with (tmp_path / "looks").open("w") as out:
            soak = subprocess.Popen(command, cwd=ROOT, env=environment(env), stdout=out)
        while soak.poll() is None:
            for proxy in (line, uplink):
                cut = Fault(cut_after=dice.randrange(6000))
                proxy.down = cut if dice.random() < 0.1 else Fault()
            time.sleep(0.05)
    assert soak.returncode == 0
    looks = [json.loads(line) for line in (tmp_path / "looks").read_text().splitlines()]
    settled, last = looks[4], looks[-1]
    assert last["pending"] == 0
    assert last["rss_kb"] <= min(45_000, settled["rss_kb"] + 3000)
    assert max(look["threads"] for look in looks) == 2
    assert max(look["files"] for look in looks) <= 12
    assert max(look["wal_kb"] for look in looks) <= 4096
    stored = [reading(sample) for sample in server.stored.values()]
    assert len(stored) == len(set(stored))
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db:
        accepted = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'samples'").fetchone()[
            0
        ]
    print(f"served {measure.served}, accepted {accepted}, in the database {len(stored)}")
    print(f"settled: {settled}", f"at the end: {last}", sep="\n")
    assert len(stored) == accepted > 0.8 * measure.served
