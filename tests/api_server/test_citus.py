"""The API on a Citus cluster: what lies where, whether answers are true, nodes that die or join."""

import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from flask import Flask

from api_server import config, create_app
from api_server.alerts.__main__ import make_look
from api_server.data.database import Store
from tests.api_server.data import test_balance, test_rollups
from tests.api_server.migrations import test_migrate
from tests.simulators.message_sink import MessageSink
from tests.support import history
from tests.support.client import INVERTER, METER, Client
from tests.support.home import KINDS, Home, TrueBalance, make_samples
from tests.support.servers import (
    ROOT,
    Api,
    CitusCluster,
    Redis,
    migrate,
    open_folder,
    wait_until,
)
from tests.support.servers.process import environment
from tests.support.truth import Truth

pytestmark = pytest.mark.slow

DEVICES = [f"device{number}" for number in range(12)]
LOCAL = {"schema_migrations", "schema_settings", "schema_skipped"}
BATCH = 20
REMOTE = "-ccitus.log_remote_commands%3Don"


class Database:
    """One migrated database for all tests here, in place of one for each."""

    def __init__(self, cluster: CitusCluster):
        self.cluster = cluster
        self.url = cluster.create_database()
        self.said = migrate(self.url)

    @property
    def name(self) -> str:
        """Its name."""
        return self.url.rpartition("/")[2]

    def create_database(self) -> str:
        """The one there is."""
        return self.url

    def drop_database(self, _name: str) -> None:
        """It serves the next test."""

    def query(self, sql: str, *values: object) -> list[tuple]:
        """The rows of one statement, as the superuser."""
        return self.cluster.coordinator.query(sql, values or None, self.name)


@pytest.fixture(scope="module")
def database(citus: CitusCluster) -> Database:
    """A migrated database on the cluster."""
    return Database(citus)


def test_everything_of_a_device_is_distributed_together(database: Database) -> None:
    """And what only migrations write is where they run."""
    ours = "relnamespace = 'public'::regnamespace AND relkind = 'r'"
    tables = {name for (name,) in database.query(f"SELECT relname FROM pg_class WHERE {ours}")}
    distributed = database.query(
        "SELECT table_name::text, distribution_column, colocation_id FROM citus_tables"
    )
    assert {name for name, _, _ in distributed} == tables - LOCAL
    assert {column for _, column, _ in distributed} == {"device_id"}
    assert len({group for _, _, group in distributed}) == 1
    assert "applied 0032_citus.sql" in database.said
    assert migrate(database.url) == ""


@pytest.mark.full
def test_a_database_that_gains_citus_later(citus: CitusCluster, copy: Path) -> None:
    """The migration says what a superuser has to run, and then distributes what there is, and
    each table that comes later; another zone is rebuilt as everywhere."""
    url = citus.coordinator.create_database("later")
    assert "skipped 0032_citus.sql: Citus is not in this database: a superuser" in migrate(url)
    begin = datetime(2026, 9, 1, tzinfo=UTC)
    made = history.make("p1", test_rollups.DEVICE, begin, 3, seed=1)
    history.insert(url, "p1", made)
    levels = ("quarter_hourly", "hourly", "daily", "monthly")

    def read() -> list[list[tuple]]:
        queries = (f"SELECT * FROM p1_{level} ORDER BY bucket" for level in levels)
        return [citus.coordinator.query(query, None, "later") for query in queries]

    before = read()
    for worker in citus.workers:
        worker.create_database("later")
    citus.create_extension("later")
    assert "SELECT citus_add_node('HOST', 5432)" in migrate(url)
    citus.join_workers("later")
    said = migrate(url)
    assert said.startswith("applied 0032_citus.sql\napplied 0047_citus_nodes.sql\n")
    assert "skipped" not in said
    assert read() == before
    test_rollups.refresh(url)
    assert read() == before
    assert migrate(url) == ""
    zone = "Asia/Kolkata"
    assert test_migrate.run(url, "--rebuild-rollups", SITE_TIMEZONE=zone).returncode == 0
    site = test_rollups.Site(citus, "p1", zone, url)
    test_rollups.assert_all_frames(site, Truth("p1", made), random.Random(1))
    (copy / "sql/9999_later.sql").write_text("CREATE TABLE later (device_id text PRIMARY KEY)")
    assert test_migrate.run(url, folder=copy, SITE_TIMEZONE=zone).returncode == 0
    distributed = "SELECT count(DISTINCT colocation_id) FROM citus_tables WHERE table_name IN"
    found = citus.coordinator.query(f"{distributed} ('later'::regclass, 'agents')", None, "later")
    assert found == [(1,)]


@pytest.fixture
def home(database: Database) -> Home:
    """A site of a meter and two inverters."""
    return Home(database)


@pytest.mark.full
def test_every_bucket_and_its_balance_are_true(home: Home, database: Database) -> None:
    """Before and after refreshes; a tenth of the samples arrives after the first."""
    month = date.today().replace(day=1) - timedelta(days=1)  # of the month before
    begin = datetime(month.year, month.month, 3, tzinfo=UTC)
    made = make_samples(begin, 5, seed=3)
    truth = TrueBalance(made, home.zone)

    def compare() -> None:
        span = month.replace(day=1), month + timedelta(days=1)
        for width in ("hour", "day"):
            test_balance.compare(home, truth, "month", f"{month:%Y-%m}", *span, width)

    for device_id, samples in made.items():
        history.insert(home.url, KINDS[device_id], samples[: len(samples) * 9 // 10])
    test_rollups.refresh(home.url)
    for device_id, samples in made.items():
        history.send(home.url, KINDS[device_id], samples[len(samples) * 9 // 10 :])
    compare()
    test_rollups.refresh(home.url)
    compare()
    for device_id, kind in KINDS.items():
        told = home.get(
            "/v1/series", device_id=device_id, frame="month", date=f"{month:%Y-%m}", bucket="day"
        )
        edges = home.midnight(month.replace(day=1)), home.midnight(month + timedelta(days=1))
        true = Truth(kind, made[device_id]).series(*edges, "day", home.zone)
        test_rollups.assert_same(told["series"], true)
        assert views(database, device_id, kind) == len({one["ts"] for one in made[device_id]})


def views(database: Database, device_id: str, kind: str) -> int:
    """How many samples of a device each of the rollups has that everybody may read."""
    weight = "count(*)" if kind == "p1" else "sum(sample_count)"
    [(true,)] = database.query(
        f"SELECT {weight} FROM {kind}_samples WHERE device_id = %s", device_id
    )
    for level in ("quarter_hourly", "hourly", "daily", "monthly"):
        found = database.query(
            f"SELECT sum(sample_count) FROM {kind}_{level} WHERE device_id = %s", device_id
        )
        assert found == [(true,)], level
    [(count,)] = database.query(
        f"SELECT count(*) FROM {kind}_samples WHERE device_id = %s", device_id
    )
    return count


class Watched(Home):
    """A home whose database logs what it sends to its workers."""

    def __init__(self, database: Database):
        super().__init__(database, DATABASE_URL=f"{database.url}?options={REMOTE}")
        self.log = database.cluster.coordinator.log_file
        self.read = len(self.log.read_text())
        found = database.query("SELECT shardid::text, shardminvalue FROM pg_dist_shard")
        self.groups = dict(found)

    def told(self) -> str:
        """What was sent since this was asked."""
        told = self.log.read_text()[self.read :]
        self.read += len(told)
        return told

    def find_shards(self, told: str) -> set[str]:
        """Those that it names."""
        return {self.groups[n] for n in re.findall(r"_(10\d{4})\b", told) if n in self.groups}

    def send(self, token: str, body: dict[str, Any]) -> str:
        """Ingest; what that sent."""
        self.told()
        headers = {"Authorization": f"Bearer {token}"}
        answer = self.app.test_client().post("/v1/ingest", json=body, headers=headers)
        assert answer.status_code == 200, answer.json
        return self.told()


def test_an_ingest_is_one_command_to_one_worker(database: Database, home: Home) -> None:
    """Of either kind, also of late samples; the report of its agent goes to one shard."""
    watched = Watched(database)
    for base, token in ((INVERTER, "r"), (METER, "m")):
        for age in (timedelta(), timedelta(hours=2)):
            sample = base | {"ts": (datetime.now(UTC) - age).isoformat()}
            told = watched.send(token, {"samples": [sample]})
            assert re.findall(r"issuing (.{13})", told) == ["SELECT public"], told
            assert "SELECT public.store_" in told
        report = {"samples": [sample], "agent": {"poll_interval_s": 5}}
        assert len(watched.find_shards(watched.send(token, report))) == 1


def test_a_request_goes_to_one_shard(database: Database, home: Home) -> None:
    """Whatever is asked of a device; what is asked of several goes to one for each."""
    now, today = datetime.now(UTC), date.today()
    for device_id, base in (("roof", INVERTER), ("meter", METER)):
        history.send(home.url, KINDS[device_id], [base | {"device_id": device_id, "ts": now}])
    watched = Watched(database)
    paths = (
        "realtime?device_id=roof",
        "realtime?device_id=meter",
        "series?device_id=roof&frame=day",
        "series?device_id=roof&frame=all",
        "series?device_id=meter&frame=month",
        f"capacity/month/{today:%Y-%m}?device_id=meter",
        "capacity/now?device_id=meter",
        "capacity/year?device_id=meter",
        "daily-energy?device_id=meter",
        "cost?device_id=meter&frame=year",
        f"samples?device_id=roof&from={today}&to={today + timedelta(days=1)}",
        "completeness?device_id=roof",
        f"battery?device_id=roof&date={today.year}",
        f"strings?device_id=roof&date={today}",
        "alerts?device_id=roof",
        "balance?site=home&frame=day",
        "balance/now?site=home",
        "devices",
    )
    for path in paths:
        route, _, query = path.partition("?")
        assert watched.ask(f"/v1/{route}", **dict(parse_qsl(query))).status_code == 200, path
        assert (
            0
            < len(watched.find_shards(watched.told()))
            <= (1 if "device_id" in query else len(KINDS))
        ), path
    told = watched.get("/v1/devices")["devices"]
    assert all(one["age_s"] < 60 for one in told if one["device_id"] in ("roof", "meter"))


def test_a_plan_of_one_device_has_one_task(database: Database) -> None:
    """Of its samples, and of every rollup as others read it, with what is not kept yet."""
    for kind in ("sungrow", "p1"):
        for table in ("samples", "quarter_hourly", "hourly", "daily", "monthly"):
            plan = database.query(
                f"EXPLAIN SELECT * FROM {kind}_{table} WHERE device_id = 'roof' LIMIT 1"
            )
            counts = re.findall(r"Task Count: (\d+)", str(plan))
            assert set(counts) == {"1"}, (kind, table)


class Fleet:
    """Devices that send batch after batch until each is confirmed, like agents do."""

    def __init__(self, api: Api):
        self.api = api
        self.sent: dict[str, int] = dict.fromkeys(DEVICES, 0)
        self.refusals: dict[str, list[tuple[int, str | None]]] = {name: [] for name in DEVICES}
        self.refused_since: dict[str, list[int]] = {name: [] for name in DEVICES}
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._send, args=(name,)) for name in DEVICES]

    def __enter__(self) -> "Fleet":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _send(self, device_id: str) -> None:
        client = Client(self.api.url, f"token-{device_id}")
        start = datetime(2026, 6, 1, tzinfo=UTC)
        while not self.stop.is_set():
            first = self.sent[device_id]
            times = (start + n * timedelta(seconds=5) for n in range(first, first + BATCH))
            samples = [INVERTER | {"device_id": device_id, "ts": ts.isoformat()} for ts in times]
            while (answer := client.post(*samples)).status != 200:
                self.refusals[device_id].append((answer.status, answer.headers["Retry-After"]))
                self.refused_since[device_id].append(answer.status)
                self.stop.wait(0.1)
            self.sent[device_id] = first + BATCH

    def wait_for_more(self, names: set[str], batches: int = 3) -> None:
        """Until each of the devices has so many more batches confirmed."""
        before = dict(self.sent)
        wait_until(
            lambda: all(self.sent[name] >= before[name] + batches * BATCH for name in names),
            60,
            f"{sorted(names)} to go on",
        )

    def assert_all_stored(self, database: Database) -> None:
        """What was confirmed is there, once."""
        found = database.query(
            "SELECT device_id, count(*), count(DISTINCT ts), max(ts) - min(ts) FROM sungrow_samples"
            " WHERE device_id LIKE 'device%%' GROUP BY 1"
        )
        for device_id, rows, times, length in found:
            assert rows == times == self.sent[device_id], device_id
            assert length == (rows - 1) * timedelta(seconds=5)
        assert {row[0] for row in found} == set(DEVICES)


def settings(database: Database, redis: Redis) -> dict[str, str]:
    """Of an API for many devices."""
    return {
        "DATABASE_URL": database.url,
        "REDIS_URL": redis.url,
        "DEVICE_TOKENS": ",".join(f"token-{name}:{name}" for name in DEVICES),
        "MAX_REQUESTS_PER_MINUTE": "0",
    }


@pytest.fixture
def api(database: Database, redis: Redis) -> Iterator[Api]:
    """The API under gunicorn, for many devices."""
    database.query("DELETE FROM sungrow_samples WHERE device_id LIKE 'device%%' RETURNING 1")
    with (
        open_folder("sunspool-citus-api-") as folder,
        Api(folder, settings(database, redis)) as api,
    ):
        yield api


def devices_of(database: Database, port: int) -> set[str]:
    """Those whose samples are on the worker at a port."""
    found = database.query(
        "SELECT name FROM unnest(%s) AS name JOIN pg_dist_placement AS placement"
        " ON shardid = get_shard_id_for_distribution_column('sungrow_samples', name)"
        " JOIN pg_dist_node USING (groupid) WHERE nodeport = %s",
        DEVICES,
        port,
    )
    return {name for (name,) in found}


def test_what_is_answered_is_on_the_disk_of_its_worker(
    citus: CitusCluster, database: Database
) -> None:
    """Though these servers are told not to wait for their disks."""
    for worker in citus.workers:
        assert worker.query("SHOW synchronous_commit") == [("off",)]
        assert worker.query("SHOW synchronous_commit", None, database.name) == [("on",)]


@pytest.mark.full
def test_a_worker_that_dies_stops_its_own_devices_only(
    database: Database, api: Api, citus: CitusCluster
) -> None:
    """Killed amidst batches: 503 with Retry-After until it is back; nothing is lost or doubled."""
    victim = citus.workers[0]
    lost = devices_of(database, victim.port)
    assert 0 < len(lost) < len(DEVICES)
    with Fleet(api) as fleet:
        for _ in range(3):
            fleet.wait_for_more(set(DEVICES))
            for name in lost:
                fleet.refused_since[name].clear()
            victim.kill()
            try:
                wait_until(lambda: all(map(fleet.refused_since.get, lost)), 20, "refusals")
                fleet.wait_for_more(set(DEVICES) - lost)
            finally:
                victim.start()
        fleet.wait_for_more(set(DEVICES))
    refused = {name: fleet.refusals[name] for name in DEVICES if fleet.refusals[name]}
    assert set(refused) == lost
    assert {status for all_of in refused.values() for status, _ in all_of} == {503}
    assert all(int(wait or 0) > 0 for all_of in refused.values() for _, wait in all_of)
    fleet.assert_all_stored(database)


def test_the_others_are_looked_after_while_a_worker_is_away(
    database: Database, citus: CitusCluster, redis: Redis
) -> None:
    """Their rollups are kept, their series answered, their gauges told, and what is wrong."""
    victim = citus.workers[0]
    lost = devices_of(database, victim.port)
    now = datetime.now(UTC)
    database.query("DELETE FROM sungrow_samples WHERE device_id LIKE 'device%%' RETURNING 1")
    for name in DEVICES:
        fault = INVERTER | {"device_id": name, "alarms": "13049.30"}
        times = [now - timedelta(seconds=age) for age in (7200, 90, 60, 30, 1)]
        history.send(database.url, "sungrow", [fault | {"ts": at} for at in times])
    near = set(DEVICES) - lost
    environ = settings(database, redis)
    app = create_app(environ)
    database.query("DELETE FROM alerts RETURNING 1")
    victim.kill()
    try:
        assert tell_of_faults(environ) == near
        look = make_look(config.load(environ), Store(database.url), [])
        look.run(now + timedelta(hours=1), judge_silence=True)
        done = run_command("rollups", environ)
        assert (done.returncode, "a node that does not answer" in done.stderr) == (1, True)
        for name in DEVICES:
            answer = app.test_client().get(
                f"/v1/series?device_id={name}&frame=day",
                headers={"Authorization": f"Bearer token-{name}"},
            )
            assert answer.status_code == (503 if name in lost else 200), name
            assert ("Retry-After" in answer.headers) == (name in lost)
        wait_until(lambda: tell_metrics(app), 20, "the gauges")
        text = tell_metrics(app)
        assert set(re.findall(r'sample_age_seconds{device="(\w+)"}', text)) == near
    finally:
        victim.start()
    assert tell_of_faults(environ) == lost
    silent = "SELECT device_id FROM alerts WHERE rule = 'silence' AND device_id LIKE 'device%%'"
    for later_s, named in ((30, near), (90, near | lost)):  # they may send what they have first
        look.run(now + timedelta(hours=1, seconds=later_s), judge_silence=True)
        assert {name for (name,) in database.query(silent)} == named
    kept = database.query("SELECT device_id FROM rollup_state WHERE kept_until > '2020-01-01'")
    assert {name for (name,) in kept} & set(DEVICES) == near
    done = run_command("rollups", environ)
    assert (done.returncode, done.stderr) == (0, "")


def test_alerts_are_opened(database: Database, redis: Redis) -> None:
    """Of devices on all workers, with a meter whose quarter is looked at."""
    now = datetime.now(UTC)
    ages = [timedelta(seconds=age) for age in (90, 60, 30, 1)]
    for name in DEVICES:
        faulty = INVERTER | {"device_id": name, "alarms": "13049.30"}
        history.send(database.url, "sungrow", [faulty | {"ts": now - age} for age in ages])
    meter = METER | {"device_id": "garage", "import_power_w": 9000}
    history.send(database.url, "p1", [meter | {"ts": now - age} for age in ages])
    environ = settings(database, redis)
    environ["DEVICE_TOKENS"] += ",token-garage:garage:p1"
    done = run_command("alerts", environ, "--once")
    assert done.returncode == 0, done.stderr
    opened = database.query("SELECT device_id FROM alerts WHERE rule = 'fault'")
    assert {name for (name,) in opened} >= set(DEVICES)


def tell_of_faults(environ: dict[str, str]) -> set[str]:
    """The devices that one look, and what it sends, names."""
    with MessageSink() as sink:
        urls = {"ALERT_URLS": sink.url("topic")}
        done = run_command("alerts", environ | urls, "--once")
        assert (done.returncode, "database_unavailable" in done.stderr) == (0, False), done.stderr
        return set(re.findall(r"device\d+", " ".join(sink.messages)))


def tell_metrics(app: Flask) -> str:
    """The metrics once the database was asked for them; a scrape does not wait for long."""
    text = app.test_client().get("/metrics").text
    return text if "sunspool_database_up 1.0" in text else ""


def run_command(name: str, environ: dict[str, str], *options: str) -> subprocess.CompletedProcess:
    """Run a command of the server to its end."""
    return subprocess.run(
        [sys.executable, "-m", f"api_server.{name}", *options],
        cwd=ROOT,
        env=environment(environ),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.full
def test_a_worker_joins_and_shards_move_under_load(
    database: Database, api: Api, citus: CitusCluster
) -> None:
    """No batch fails but with Retry-After, none is lost or doubled."""
    with Fleet(api) as fleet:
        fleet.wait_for_more(set(DEVICES))
        worker = citus.add_worker(database.name)
        database.query("SELECT rebalance_table_shards()")
        fleet.wait_for_more(set(DEVICES))
    assert devices_of(database, worker.port)
    for refused in fleet.refusals.values():
        assert all(status == 503 and int(wait or 0) > 0 for status, wait in refused), refused
    fleet.assert_all_stored(database)
