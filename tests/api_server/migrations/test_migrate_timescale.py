"""The migrations on TimescaleDB: both editions, and a database that gains it later."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from api_server.migrations import timescale as editions
from tests.api_server.data.test_rollups import refresh
from tests.api_server.migrations.test_migrate import ask, change, refusal, run
from tests.support import history
from tests.support.servers import Postgres

pytestmark = pytest.mark.slow

ROLLUPS = [
    f"{kind}_{width}"
    for kind in ("p1", "sungrow")
    for width in ("daily", "hourly", "monthly", "quarter_hourly")
]
NUMBERS = {
    "sungrow": "bucket, sample_count, round(avg_pv_power_w::numeric, 6), max_pv_power_w,"
    " round((import_total).last_kwh::numeric, 6), (export_total).first_ts",
    "p1": "bucket, sample_count, round(avg_power_w::numeric, 6), max_power_w,"
    " round((energy_import).last_kwh::numeric, 6), (energy_export).first_ts",
}


def caggs(url: str) -> list[str]:
    """The continuous aggregates that compute what is not refreshed yet."""
    query = (
        "SELECT view_name FROM timescaledb_information.continuous_aggregates"
        " WHERE NOT materialized_only ORDER BY 1"
    )
    return [name for (name,) in ask(url, query)]


def contents(url: str) -> dict[str, list[tuple]]:
    """What every rollup says."""
    return {
        name: ask(url, f"SELECT {NUMBERS[name.split('_')[0]]} FROM {name} ORDER BY bucket")
        for name in ROLLUPS
    }


def test_community(timescale: Postgres) -> None:
    """Hypertables of weeks, continuous aggregates that refresh everything, children first."""
    url = timescale.create_database()
    assert "0017_continuous_aggregates.sql  due" in run(url, "--dry-run").stdout
    first = run(url)
    assert first.returncode == 0, first.stderr
    second = run(url)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert caggs(url) == ROLLUPS
    chunks = ask(url, "SELECT time_interval::text FROM timescaledb_information.dimensions")
    assert chunks.count(("7 days",)) == 2
    policies = ask(
        url,
        "SELECT hypertable_name, schedule_interval::text, config->>'start_offset',"
        " extract(minute FROM initial_start)::integer"
        " FROM timescaledb_information.jobs"
        " WHERE proc_name = 'policy_refresh_continuous_aggregate' ORDER BY job_id",
    )
    assert sorted(name for name, *_ in policies) == ROLLUPS
    assert {offset for _, _, offset, _ in policies} == {None}
    assert {interval for _, interval, _, _ in policies} == {"00:10:00"}
    widths = ["quarter_hourly", "hourly", "daily", "monthly"]
    order = [widths.index(name.partition("_")[2]) for name, *_ in policies]
    assert order == sorted(order)
    assert [minute for *_, minute in policies] == [0, 0, 3, 3, 6, 6, 8, 8]
    compression = ask(
        url,
        "SELECT config->>'compress_after' FROM timescaledb_information.jobs"
        " WHERE proc_name = 'policy_compression'",
    )
    assert compression == [("7 days",)] * 2


def test_apache(timescale_apache: Postgres) -> None:
    """Hypertables and views; what is skipped says why."""
    url = timescale_apache.create_database()
    dry = run(url, "--dry-run").stdout
    assert "0017_continuous_aggregates.sql  skipped: TimescaleDB here is the Apache edition" in dry
    assert "0016_views.sql  due" in dry
    first = run(url)
    assert first.returncode == 0, first.stderr
    assert "skipped 0017_continuous_aggregates.sql: TimescaleDB here is the Apache" in first.stdout
    assert run(url).stdout == ""
    assert len(ask(url, "SELECT 1 FROM timescaledb_information.hypertables")) == 2


def test_a_database_that_gains_timescaledb(timescale: Postgres, server_folder: Path) -> None:
    """From plain to Apache to Community with samples in it: the rollups go on saying the same."""
    assert timescale.timescaledb  # or the test is skipped
    told = []
    for edition in (None, "apache", "community"):
        with Postgres(server_folder, edition) as server:
            if edition is None:
                url = server.create_database("growing")
                run(url)
                for kind in ("sungrow", "p1"):
                    start = datetime(2025, 10, 20, tzinfo=UTC)
                    history.insert(url, kind, history.make(kind, "device", start, 20, seed=7))
            url = server.url("growing")
            done = run(url)
            assert done.returncode == 0, done.stderr
            assert bool(done.stdout) == (edition is not None)
            told.append(contents(url))
            role = server.url("growing", "sunspool")
            assert ask(role, "SELECT count(*) FROM p1_daily") > [(0,)]
            if edition == "community":
                assert caggs(url) == ROLLUPS
                change(
                    url,
                    "INSERT INTO p1_samples (device_id, ts, power_w, import_power_w)"
                    " VALUES ('late', '2025-10-22T12:00Z', 5, 5)",
                )
                refresh(url)
                assert ask(url, "SELECT avg_power_w FROM p1_monthly WHERE device_id = 'late'") == [
                    (5.0,)
                ]
                change(url, "DELETE FROM p1_samples WHERE device_id = 'late'")
                refresh(url)
                told.append(contents(url))
                rebuilt = run(url, "--rebuild-rollups", SITE_TIMEZONE="America/St_Johns")
                assert rebuilt.returncode == 0, rebuilt.stderr
                assert caggs(url) == ROLLUPS
    assert told[0]["sungrow_daily"]
    assert told[1:] == told[:1] * 3


def test_a_database_whose_samples_were_dropped_keeps_its_rollups(
    timescale: Postgres, server_folder: Path
) -> None:
    """Continuous aggregates could not be filled with what they said."""
    assert timescale.timescaledb  # or the test is skipped
    told = []
    for edition in (None, "community"):
        with Postgres(server_folder, edition) as server:
            if edition is None:
                url = server.create_database("shrunk")
                run(url)
                for kind in ("sungrow", "p1"):
                    start = datetime(2025, 10, 20, tzinfo=UTC)
                    history.insert(url, kind, history.make(kind, "device", start, 3, seed=7))
                refresh(url, KEEP_SAMPLES_DAYS="40")
                assert ask(url, "SELECT count(*) FROM p1_samples") == [(0,)]
            url = server.url("shrunk")
            done = run(url)
            assert done.returncode == 0, done.stderr
            told.append(contents(url))
            refresh(url, KEEP_SAMPLES_DAYS="40")
            told.append(contents(url))
    assert told[0]["sungrow_daily"]
    assert told[1:] == told[:1] * 3
    assert "skipped 0017_continuous_aggregates.sql: samples were dropped here" in done.stdout


def test_an_extension_in_a_schema_of_its_own(timescale: Postgres) -> None:
    """A superuser may have put it there, and the owner may have no right to make one."""
    url = timescale.create_database()
    name = url.rpartition("/")[2]
    timescale.execute(f'REVOKE CREATE ON DATABASE "{name}" FROM sunspool_owner, PUBLIC')
    done = run(url)
    assert done.returncode == 0
    assert "skipped 0012_hypertables.sql: this role may not create the extension" in done.stdout
    timescale.execute("CREATE SCHEMA elsewhere", name)
    timescale.execute("GRANT USAGE ON SCHEMA elsewhere TO PUBLIC", name)
    timescale.execute("CREATE EXTENSION timescaledb SCHEMA elsewhere", name)
    done = run(url)
    assert done.returncode == 0, done.stderr
    assert caggs(url) == ROLLUPS


def test_retention_is_refused(timescale: Postgres) -> None:
    """With it, the refresh without a limit would erase history."""
    url = timescale.create_database()
    run(url)
    change(url, "SELECT add_retention_policy('p1_samples', interval '1 year')")
    for options in ((), ("--status",)):
        text = refusal(run(url, *options))
        assert "retention policy drops old rows of p1_samples" in text
    change(url, "SELECT remove_retention_policy('p1_samples')")
    assert run(url).returncode == 0


def test_a_library_that_is_missing_after_a_restart(
    timescale: Postgres, server_folder: Path
) -> None:
    """A database on TimescaleDB can not do without it."""
    assert timescale.timescaledb
    with Postgres(server_folder, "community") as server:
        url = server.create_database("lost")
        run(url)
    with Postgres(server_folder, None) as server:
        url = server.url("lost")
        assert "set shared_preload_libraries" in refusal(run(url, "--status"))


@pytest.mark.parametrize(
    ("installed", "default", "way"),
    [(None, "2.15.3", "upgrade its package"), ("2.18.0", "2.28.3", "ALTER EXTENSION")],
)
def test_old_versions_are_refused(installed: str | None, default: str, way: str) -> None:
    """They can lose rows; the text says what to do."""
    with pytest.raises(editions.Unusable, match=way):
        editions.refuse_old(installed, default)
    editions.refuse_old("2.18.1", default)
    editions.refuse_old(None, "2.19.3+dfsg")
