"""The API on a Citus cluster: what lies where, whether answers are true, nodes that die or join."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl

import pytest

from tests.api_server.data import test_balance, test_rollups
from tests.support import history
from tests.support.client import INVERTER, METER, Client
from tests.support.home import KINDS, Home, TrueBalance, make_samples
from tests.support.servers import Api, CitusCluster, Redis, migrate, open_folder, wait_until
from tests.support.truth import Truth

pytestmark = pytest.mark.slow

DEVICES = [f"device{number}" for number in range(12)]
LOCAL = {"schema_migrations", "schema_settings", "schema_skipped"}
BATCH = 20


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
def test_a_database_that_gains_citus_later(citus: CitusCluster) -> None:
    """The migration says what a superuser has to run, and then distributes what there is."""
    url = citus.coordinator.create_database("later")
    assert "skipped 0032_citus.sql: Citus is not in this database: a superuser" in migrate(url)
    made = history.make("p1", "meter", datetime(2026, 9, 1, tzinfo=UTC), 3, seed=1)
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
    assert migrate(url) == "applied 0032_citus.sql\n"
    assert read() == before
    test_rollups.refresh(url)
    assert read() == before
    assert migrate(url) == ""


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


def test_a_request_goes_to_one_shard(database: Database, home: Home) -> None:
    """Whatever is asked of a device; what is asked of several goes to one for each."""
    log = database.cluster.coordinator.log_file
    app = Home(database, DATABASE_URL=f"{database.url}?options=-ccitus.log_remote_commands%3Don")
    groups = dict(database.query("SELECT shardid::text, shardminvalue FROM pg_dist_shard"))

    def shards() -> set[str]:
        """Since it was last asked."""
        told = log.read_text()[shards.read :]
        shards.read += len(told)
        return {groups[one] for one in re.findall(r"_(10\d{4})\b", told) if one in groups}

    shards.read = len(log.read_text())
    now = datetime.now(UTC).isoformat()
    for base, token in ((INVERTER, "r"), (METER, "m")):
        body = {"samples": [base | {"ts": now}], "agent": {"poll_interval_s": 5}}
        for _ in range(2):
            answer = app.app.test_client().post(
                "/v1/ingest", json=body, headers={"Authorization": f"Bearer {token}"}
            )
            assert (answer.status_code, len(shards())) == (200, 1)
    today = date.today()
    for path in (
        "realtime?device_id=roof",
        "realtime?device_id=meter",
        "series?device_id=roof&frame=day",
        "series?device_id=roof&frame=all",
        "series?device_id=meter&frame=month",
        f"capacity/month/{today:%Y-%m}?device_id=meter",
        "capacity/year?device_id=meter",
        "daily-energy?device_id=meter",
        "cost?device_id=meter&frame=year",
        f"samples?device_id=roof&from={today}&to={today + timedelta(days=1)}",
        "completeness?device_id=roof",
    ):
        route, _, query = path.partition("?")
        assert app.ask(f"/v1/{route}", **dict(parse_qsl(query))).status_code == 200, path
        assert len(shards()) == 1, path
    devices = {one["device_id"]: one for one in app.get("/v1/devices")["devices"]}
    assert devices["roof"]["newest_ts"][:10] == now[:10]
    assert len(shards()) <= len(devices)


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


@pytest.fixture
def api(database: Database, redis: Redis) -> Iterator[Api]:
    """The API under gunicorn, for many devices."""
    environ = {
        "DATABASE_URL": database.url,
        "REDIS_URL": redis.url,
        "DEVICE_TOKENS": ",".join(f"token-{name}:{name}" for name in DEVICES),
        "MAX_REQUESTS_PER_MINUTE": "0",
    }
    database.query("DELETE FROM sungrow_samples WHERE device_id LIKE 'device%%' RETURNING 1")
    with open_folder("sunspool-citus-api-") as folder, Api(folder, environ) as api:
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
