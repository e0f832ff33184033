"""What a database remarks when it is connected to, and one under another licence."""

import json
from collections.abc import Iterator

import psycopg2
import pytest

from tests.api_server.migrations.test_migrate import refusal, run
from tests.conftest import _need
from tests.support.client import INVERTER, METER, READERS, TOKENS, Client
from tests.support.servers import Api, Postgres, Redis, migrate, open_folder

pytestmark = pytest.mark.slow

# As recorded by an older library, and by one that this machine does not have at all.
VERSIONS = ("2.36", "153.88", "none")


@pytest.fixture(params=VERSIONS)
def remarking(migrated: str, postgres: Postgres, request: pytest.FixtureRequest) -> str:
    """A database whose collation was made by another version of the C library."""
    name = migrated.rpartition("/")[2]
    postgres.execute(
        f"UPDATE pg_database SET datcollversion = '{request.param}' WHERE datname = '{name}'"
    )
    return migrated


def test_a_migration_with_nothing_due_stays_silent(remarking: str) -> None:
    done = run(remarking)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_status_says_it_once_as_json(remarking: str) -> None:
    done = run(remarking, "--status")
    [line] = map(json.loads, done.stderr.splitlines())
    assert done.returncode == 0
    assert (line["level"], line["event"]) == ("WARNING", "database_notice")
    assert "collation version" in line["msg"]


def test_the_start_of_the_api_says_it_once_as_json(
    remarking: str, settings: dict[str, str], server_folder
) -> None:
    with Api(server_folder, {**settings, "DATABASE_URL": remarking}) as api:
        for _ in range(20):
            assert Client(api.url).get("/v1/realtime?device_id=roof").status == 404
        lines = [json.loads(line) for line in api.log().splitlines()]
    assert [line["event"] for line in lines].count("database_notice") == 1


@pytest.fixture(scope="module")
def community() -> Iterator[tuple[Postgres, str]]:
    """A Community database with samples, whose server now runs under the Apache licence."""
    _need("timescaledb-tsl-*.so", "install TimescaleDB Community (packages of timescale.com)")
    with open_folder("sunspool-lic-") as folder, Postgres(folder, "community") as server:
        url = server.create_database()
        migrate(url)
        with psycopg2.connect(url) as conn, conn.cursor() as cursor:
            cursor.execute(
                "INSERT INTO sungrow_samples (device_id, ts, pv_power_w) VALUES ('roof', now(), 7)"
            )
        conn.close()
        server.stop()
        server.timescaledb = "apache"
        server.start()
        yield server, url


def assert_says_both_ways_out(text: str) -> None:
    assert "Apache licence" in text
    assert "timescaledb.license = 'timescale'" in text
    assert "restore a backup into a new database" in text


@pytest.mark.parametrize("options", [(), ("--status",), ("--dry-run",)])
def test_the_migration_refuses_another_licence(community, options) -> None:
    assert_says_both_ways_out(refusal(run(community[1], *options)))


def test_the_api_says_so_at_its_start_and_in_its_health(community, redis: Redis, tmp_path) -> None:
    server, url = community
    env = {
        "DATABASE_URL": url,
        "REDIS_URL": redis.url,
        "DEVICE_TOKENS": TOKENS,
        "READ_TOKENS": READERS,
    }
    with open_folder("sunspool-api-") as folder, Api(folder, env) as api:
        lines = [json.loads(line) for line in api.log().splitlines()]
        [line] = [line for line in lines if line["event"] == "wrong_licence"]
        assert line["level"] == "ERROR"
        assert_says_both_ways_out(line["msg"])
        health = Client(api.url, None).get("/health")
        assert health.status == 503
        assert int(health.headers["Retry-After"]) > 0
        assert (health.json["status"], health.json["db"]) == ("down", "ok")
        assert health.json["schema"] == "unusable"
        assert_says_both_ways_out(health.json["detail"])
        assert Client(api.url).post({**INVERTER, "ts": "2026-06-01T12:00:00Z"}).status == 503
        assert Client(api.url, "meter-token").post(METER).status == 503
        assert Client(api.url).get("/v1/realtime?device_id=roof").json["pv_power_w"] == 7
        server.stop()
        server.timescaledb = "community"
        server.start()
        health = Client(api.url, None).get("/health")
        assert (health.status, health.json["status"]) == (200, "ok")
        assert Client(api.url).post(INVERTER).status == 200
    assert run(url).returncode == 0
