"""PostgreSQL or Redis in trouble: a quick honest answer, and health again without a restart."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from edge_agent.shared.samples import format_time
from tests.support.client import INVERTER, READERS, TOKENS, Client
from tests.support.servers import Api, Postgres, Redis, free_port, open_folder, run, wait_until
from tests.support.servers.process import children

pytestmark = pytest.mark.slow

LIMIT_S = 6.5  # what the contract promises is 5 s; these machines are busy
QUERY = "/v1/realtime?device_id=roof"


class Site:
    """A database, a Redis and an API of a test's own."""

    def __init__(self, postgres: Postgres, redis: Redis, api: Api):
        self.postgres, self.redis, self.api = postgres, redis, api
        self.roof = Client(api.url)
        self.seconds = 0

    def sample(self) -> dict:
        """A sample that was not there before."""
        self.seconds += 1
        ts = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)
        return {**INVERTER, "ts": format_time(ts)}

    def post(self):
        """Ingest one."""
        return self.roof.post(self.sample())

    def assert_refused(self) -> None:
        """Both ways answer 503 in time, saying when to come back."""
        for ask in (self.post, lambda: self.roof.get("/v1/series?device_id=roof&frame=day")):
            start = time.monotonic()
            answer = ask()
            assert time.monotonic() - start < LIMIT_S
            assert answer.status == 503, answer.text
            assert int(answer.headers["Retry-After"]) > 0
            assert set(answer.json) == {"detail"}

    def assert_heals(self) -> None:
        """Samples are taken again, soon, by the same processes."""
        workers = self.api.worker_pids()
        wait_until(lambda: self.post().status == 200, 20, "the API to heal")
        assert [self.post().status for _ in range(12)] == [200] * 12
        assert self.api.worker_pids() == workers


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """All of it, private: the tests kill it."""
    with (
        open_folder("sunspool-out-") as folder,
        Postgres(folder / "pg", durable=True) as postgres,
        Redis(folder / "redis") as redis,
    ):
        env = {
            "DATABASE_URL": postgres.create_database("site"),
            "REDIS_URL": redis.url,
            "DEVICE_TOKENS": TOKENS,
            "READ_TOKENS": READERS,
            "MAX_REQUESTS_PER_MINUTE": "0",
            "CACHE_TTL_S": "1",
        }
        run_migration(env)
        with Api(folder / "api", env) as api:
            yield Site(postgres, redis, api)


def run_migration(env: dict[str, str]) -> None:
    """Migrate the database of these settings."""
    run([sys.executable, "-m", "api_server.migrate"], env={**os.environ, **env})


def test_a_database_that_is_down_or_restarted(site):
    assert site.post().status == 200
    site.postgres.kill()
    site.assert_refused()
    health = site.roof.get("/health")
    assert (health.status, health.json["db"]) == (503, "down")
    assert site.roof.get("/").status == 200
    site.postgres.start()
    site.assert_heals()
    site.postgres.stop()
    site.postgres.start()
    # An idle connection that the restart broke costs no request.
    assert [site.post().status for _ in range(32)] == [200] * 32


def test_a_database_that_is_frozen(site):
    family = [site.postgres.pid, *children(site.postgres.pid)]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        site.assert_refused()
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)
    site.assert_heals()


@contextmanager
def superuser(site: Site, statement: str) -> Iterator[None]:
    """A transaction of the superuser that stays open after one statement."""
    url = site.postgres.url("site", "postgres")
    with closing(psycopg2.connect(url)) as connection:
        connection.cursor().execute(statement)
        yield
        connection.rollback()


def test_a_table_that_is_locked(site):
    with superuser(site, "LOCK TABLE sungrow_samples IN ACCESS EXCLUSIVE MODE"):
        site.assert_refused()
    site.assert_heals()


def test_no_connections_left(site):
    role = urlsplit(site.api.env["DATABASE_URL"]).username
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    site.postgres.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    site.postgres.execute(end)
    try:
        site.assert_refused()
    finally:
        site.postgres.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
    site.assert_heals()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk with little room, mounted for the test; only root can."""
    with open_folder("sunspool-disk-") as folder:
        options = ["-t", "tmpfs", "-o", "size=120m,mode=711", "tmpfs", folder]
        mount = shutil.which("mount") or "false"
        if subprocess.run([mount, *options], capture_output=True).returncode:
            pytest.skip("mounting a small disk needs root")
        yield folder
        run(["umount", "--lazy", folder])


def test_a_disk_that_is_full(site, small_disk):
    with Postgres(small_disk / "pg") as postgres:
        env = {**site.api.env, "DATABASE_URL": postgres.create_database("full")}
        run_migration(env)
        with Api(site.api.folder / "full", env) as api:
            full = Site(postgres, site.redis, api)
            assert full.post().status == 200
            # Also the segments of the log that are there already must be used up.
            filler = small_disk / "filler"
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"x" * 65_536)

            def refused() -> bool:
                batch[:] = [full.sample() for _ in range(1000)]
                return full.roof.post(*batch).status == 503

            batch: list[dict] = []
            wait_until(refused, 60, "the disk to be full")
            answer = full.roof.post(*batch)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            filler.unlink()
            if not postgres.running:
                postgres.start()
            full.assert_heals()
            assert full.roof.post(*batch).json["received"] == 1000


def test_a_database_that_only_reads(site):
    site.postgres.execute("ALTER DATABASE site SET default_transaction_read_only = on")
    site.postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'site'"
    )
    try:
        answer = site.post()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    finally:
        site.postgres.execute("ALTER DATABASE site RESET default_transaction_read_only")
        site.postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'site'"
        )
    site.assert_heals()


def test_redis_down_frozen_or_full_changes_nothing_but_speed(site):
    def works() -> None:
        for _ in range(4):
            start = time.monotonic()
            assert site.post().status == 200
            latest = site.roof.get(QUERY)
            assert latest.status == 200
            newest = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=site.seconds)
            assert latest.json["ts"] == format_time(newest)
            assert time.monotonic() - start < LIMIT_S

    site.redis.kill()
    works()
    assert site.roof.get("/health").json["status"] == "degraded"
    assert site.roof.get("/health").status == 200
    site.redis.start()
    wait_until(lambda: site.roof.get("/health").json["redis"] == "ok", 20, "Redis to be seen again")
    os.kill(site.redis.pid, signal.SIGSTOP)
    try:
        works()
    finally:
        os.kill(site.redis.pid, signal.SIGCONT)


def test_the_api_starts_without_a_database_and_heals(site):
    port = free_port()
    env = {**site.api.env, "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{port}/site"}
    with Api(site.api.folder / "second", env) as api:
        answer = Client(api.url).get(QUERY + "&x=1")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert Client(api.url, None).get("/").status == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"DEVICE_TOKENS": "hunter2"}, "DEVICE_TOKENS"),
        ({"REDIS_URL": ""}, "REDIS_URL"),
        ({"DATABASE_URL": "", "SITE_TIMEZONE": "Mars"}, "SITE_TIMEZONE"),
        ({"SITE_TIMEZONE": "Asia/Tokyo"}, "SITE_TIMEZONE"),
        ({"unmigrated": "yes"}, "python -m api_server.migrate"),
    ],
)
def test_what_can_not_work_ends_gunicorn_and_says_what_to_do(site, change, said):
    if change.pop("unmigrated", None):
        change["DATABASE_URL"] = site.postgres.create_database()
    api = Api(site.api.folder / "broken", {**site.api.env, **change})
    api.launch()
    assert api.process.wait(20) != 0
    assert said in api.log()
    assert "hunter2" not in api.log()
    assert "Booting worker" not in api.log()
