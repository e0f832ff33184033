"""A database of version 1.0.0 becomes one of today, and its history can be read all the while."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest
from psycopg2.errors import DeadlockDetected

from tests.api_server.data.test_rollups import (
    DEVICE,
    UNLIKE,
    Site,
    assert_all_frames,
)
from tests.api_server.migrations.test_migrate import ask, command, run
from tests.support import history
from tests.support.servers import ROOT, Postgres
from tests.support.truth import Truth

pytestmark = pytest.mark.slow

SCHEMA = ROOT / "tests/support/schema_1_0"
ROLLUPS = ("sungrow_daily", "sungrow_monthly", "p1_daily", "p1_monthly", "p1_quarter_hourly")


@pytest.fixture
def version_1_0(copy: Path) -> Path:
    """The program with the migrations that version 1.0.0 had."""
    shutil.rmtree(copy / "sql")
    shutil.copytree(SCHEMA, copy / "sql")
    return copy


def read_while(process: subprocess.Popen, url: str) -> Iterator[tuple[str, int, float]]:
    """Ask the rollups, one after the other, until a process ends: rows and seconds of each."""
    while process.poll() is None:
        for name in ROLLUPS:
            start = time.monotonic()
            with suppress(DeadlockDetected):  # the API, too, then asks again
                [(count,)] = ask(url, f"SELECT count(*) FROM {name} WHERE device_id = '{DEVICE}'")
                yield name, count, time.monotonic() - start


@pytest.mark.parametrize("family", UNLIKE)
@pytest.mark.parametrize("days", [20, pytest.param(400, marks=pytest.mark.full)])
def test_an_older_database(
    request: pytest.FixtureRequest, version_1_0: Path, family: str, days: int
) -> None:
    """The answers are those of today's rule; what is read meanwhile is never less than before."""
    server: Postgres = request.getfixturevalue(family)
    url = server.create_database()
    done = run(url, folder=version_1_0)
    assert done.returncode == 0, done.stderr
    start = datetime(2025, 3, 20, tzinfo=UTC)
    made = {}
    for kind in ("sungrow", "p1"):
        made[kind] = [
            {
                # Version 1.0 knew no registers of tariffs, and no load that is unknown.
                name: 250.0 if name == "load_power_w" and value is None else value
                for name, value in sample.items()
                if name[-6:-4] not in ("t1", "t2")
            }
            for sample in history.make(kind, DEVICE, start, days, seed=2)
        ]
        history.insert(url, kind, made[kind])
    refresh_1_0(url)
    before = {name: count for name, count, _ in read_while_nothing(url)}
    begun, longest = time.monotonic(), 0.0
    migration = subprocess.Popen(**command(url))
    for name, count, seconds in read_while(migration, url):
        assert count >= before[name] > 0
        assert seconds < 20  # not refused, nor behind a lock for long
        longest = max(longest, seconds)
    printed = migration.communicate()
    took = time.monotonic() - begun
    print(f"{family}, {days} days: {took:.1f} s, the slowest read meanwhile {longest:.2f} s")
    assert migration.returncode == 0, printed
    assert run(url).stdout == ""
    for kind, samples in made.items():
        site = Site(server, kind, "Europe/Brussels", url)
        assert_all_frames(site, Truth(kind, samples, rounded=False), random.Random(3))
    left = "SELECT count(*) FROM pg_type WHERE typname = 'counter_span_1_0'"
    assert ask(url, left) == [(0,)]
    server.drop_database(url.rpartition("/")[2])


def read_while_nothing(url: str) -> list[tuple[str, int, float]]:
    """What the rollups have now."""
    return [
        (name, ask(url, f"SELECT count(*) FROM {name} WHERE device_id = '{DEVICE}'")[0][0], 0)
        for name in ROLLUPS
    ]


def refresh_1_0(url: str) -> None:
    """Run the policies of version 1.0, where it had any."""
    if ask(url, "SELECT to_regclass('timescaledb_information.jobs')") == [(None,)]:
        return
    jobs = ask(
        url,
        "SELECT job_id FROM timescaledb_information.jobs"
        " WHERE proc_name = 'policy_refresh_continuous_aggregate' ORDER BY 1",
    )
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for job in jobs:
            cursor.execute("CALL run_job(%s)", job)
    connection.close()
