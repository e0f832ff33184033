"""The migrations as cron runs them: what they do, print, refuse and survive."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from api_server import config
from api_server.migrations import history, migrate
from api_server.migrations.history import SchemaProblem, load
from edge_agent.shared.samples import KINDS
from tests.support.servers import ROOT, Postgres, wait_until
from tests.support.servers.process import environment

pytestmark = pytest.mark.slow

NEWEST = load()[-1].version
Done = subprocess.CompletedProcess


def run(url: str, *options: str, folder: Path = ROOT, **settings: str) -> Done:
    """Run the command to its end."""
    return subprocess.run(**command(url, *options, folder=folder, **settings), timeout=90)


def command(url: str, *options: str, folder: Path = ROOT, **settings: str) -> dict[str, Any]:
    """How the command is run."""
    return {
        "args": [sys.executable, "-m", "api_server.migrate", *options],
        "cwd": folder,
        "env": environment({"DATABASE_URL": url, **settings}),
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


def refusal(done: Done) -> str:
    """The one line that says why it failed."""
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return json.loads(lines[0])["msg"]


def ask(url: str, query: str) -> list[tuple]:
    """The rows of a query."""
    with psycopg2.connect(url) as conn, conn.cursor() as cursor:
        cursor.execute(query)
        rows = cursor.fetchall() if cursor.description else []
    conn.close()
    return rows


def change(url: str, statement: str) -> None:
    """Run a statement and commit."""
    ask(url, statement)


def applied(url: str) -> list[str]:
    """The names of the applied migrations, in order."""
    return [name for (name,) in ask(url, "SELECT name FROM schema_migrations ORDER BY version")]


def test_an_empty_database_is_migrated_once(database: str) -> None:
    """The second run has nothing to do and nothing to say."""
    first = run(database)
    assert (first.returncode, first.stderr) == (0, "")
    assert "applied 0011_samples.sql" in first.stdout
    assert "skipped 0012_hypertables.sql: TimescaleDB" in first.stdout
    assert applied(database)[:2] == ["new_tables", "samples"]
    second = run(database)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_looking_changes_nothing(database: str) -> None:
    """--status and --dry-run say what is due, with exit 0, before and after."""
    for option in ("--status", "--dry-run"):
        done = run(database, option)
        assert done.returncode == 0
        assert "0011_samples.sql  due" in done.stdout
    assert ask(database, "SELECT to_regclass('schema_migrations')") == [(None,)]
    run(database)
    status, dry = run(database, "--status"), run(database, "--dry-run")
    assert re.search(r"0011_samples\.sql  applied \d{4}-", status.stdout)
    assert "0012_hypertables.sql  skipped: TimescaleDB" in status.stdout
    assert (status.returncode, dry.returncode) == (0, 0)
    assert "due" not in status.stdout + dry.stdout


def test_two_at_once(database: str) -> None:
    """One does it, the other waits for it and finds nothing due."""
    both = [subprocess.Popen(**command(database)) for _ in range(2)]
    printed = sorted(process.communicate(timeout=60) for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert printed[0] == ("", "")
    assert "applied 0011" in printed[1][0]


def test_killed_in_the_middle(database: str, copy: Path) -> None:
    """What was half done is undone, and done by the next run."""
    slow = copy / f"sql/{NEWEST + 1:04}_slow.sql"
    slow.write_text("CREATE TABLE half (done integer); SELECT pg_sleep(60);")
    process = subprocess.Popen(**command(database, folder=copy))
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%half%pg_sleep%' AND pid <> "
    wait_until(lambda: ask(database, sleeping + "pg_backend_pid()"), 30, "the slow migration")
    process.kill()
    process.communicate(timeout=10)
    assert "slow" not in applied(database)
    assert "samples" in applied(database)
    slow.write_text("CREATE TABLE half (done integer);")
    done = run(database, folder=copy)
    assert (done.returncode, done.stdout) == (0, f"applied {slow.name}\n")


def test_a_failing_file_stops_the_run(database: str, copy: Path) -> None:
    """It is named, leaves nothing behind and runs when it is mended; later files wait for it."""
    bad = copy / f"sql/{NEWEST + 1:04}_bad.sql"
    bad.write_text("CREATE TABLE half (done integer); SELECT 1 / 0;")
    (copy / f"sql/{NEWEST + 2:04}_later.sql").write_text("CREATE TABLE later (done integer);")
    text = refusal(run(database, folder=copy))
    assert bad.name in text
    assert "division by zero" in text
    assert ask(database, "SELECT to_regclass('half'), to_regclass('later')") == [(None, None)]
    bad.write_text("CREATE TABLE half (done integer);")
    assert run(database, folder=copy).returncode == 0
    assert applied(database)[-2:] == ["bad", "later"]


def test_the_past_is_not_changed(migrated: str, copy: Path) -> None:
    """A changed file, one numbered below an applied one, and one from the future are refused."""
    samples = copy / "sql/0011_samples.sql"
    original = samples.read_text()
    samples.write_text(original + "-- touched\n")
    assert "0011_samples.sql was changed" in refusal(run(migrated, folder=copy))
    samples.write_text(original)
    low = copy / "sql/0010_low.sql"
    low.write_text("CREATE TABLE low (done integer);")
    assert "0010_low.sql is numbered below" in refusal(run(migrated, folder=copy))
    low.unlink()
    samples.unlink()
    assert "0011_samples, which this version" in refusal(run(migrated, folder=copy))


def test_files_that_can_not_be_ordered(migrated: str, copy: Path) -> None:
    """Two with one number and one without a number are refused."""
    (copy / "sql/0011_twin.sql").write_text("SELECT 1;")
    assert "have the same number" in refusal(run(migrated, folder=copy))
    (copy / "sql/0011_twin.sql").rename(copy / "sql/nameless.sql")
    assert "NNNN_subject.sql" in refusal(run(migrated, folder=copy))


def test_a_database_that_is_not_there(postgres: Postgres) -> None:
    """One line says so, without the password."""
    url = postgres.url("nowhere").replace("127.0.0.1", "127.0.0.2")
    secret = re.search(r":([^:@]+)@", url)
    text = refusal(run(url))
    assert "127.0.0.2" in text
    assert secret is None or secret[1] not in text
    assert "DATABASE_URL is required" in refusal(run(""))


def test_the_tables_have_the_fields_of_the_samples(migrated: str) -> None:
    """Names and types, and which may be null."""
    for kind in KINDS.values():
        rows = ask(
            migrated,
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
            f" WHERE table_name = '{kind.name}_samples'",
        )
        assert set(rows) == {
            ("device_id", "text", "NO"),
            ("ts", "timestamp with time zone", "NO"),
            *(
                (
                    field.name,
                    field.sql_type,
                    "YES" if field.nullable and field.default is None else "NO",
                )
                for field in kind.fields
            ),
        }


def test_the_limits_of_a_counter_are_those_of_its_kind() -> None:
    """The migrations spell them; samples.py defines them."""
    kinds = {f"{kind.max_power_w}, {kind.counter_step_kwh}" for kind in KINDS.values()}
    spelled = {found for one in load() for found in re.findall(r"'(\d{4,}, \d+\.\d+)'", one.text)}
    assert spelled == kinds


def test_the_role_of_the_api_may_read_and_insert(postgres: Postgres, migrated: str) -> None:
    """All that it needs and no more; a role that is made later is granted by the next run."""
    url = postgres.url(migrated.rpartition("/")[2], "sunspool")
    insert = "INSERT INTO p1_samples (device_id, ts, power_w, import_power_w)"
    change(url, f"{insert} VALUES ('m', now(), 1, 1)")
    for kind in KINDS:
        for width in ("hourly", "daily", "monthly", "quarter_hourly"):
            ask(url, f"SELECT * FROM {kind}_{width}")
    with psycopg2.connect(url) as conn:
        assert history.pending(conn) == []
    conn.close()
    for statement in ("DELETE FROM p1_samples", "UPDATE schema_migrations SET checksum = ''"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            change(url, statement)
    postgres.execute("CREATE ROLE late_role LOGIN")
    done = run(migrated, API_ROLE="late_role")
    assert (done.returncode, done.stdout) == (0, "")
    [(may,)] = ask(migrated, "SELECT has_table_privilege('late_role', 'p1_daily', 'SELECT')")
    assert may
    postgres.execute("DROP OWNED BY late_role", migrated.rpartition("/")[2])
    postgres.execute("DROP ROLE late_role")


def test_the_api_does_not_start_on_an_old_database(database: str) -> None:
    """It names the command; an unreachable database is no reason not to start."""
    settings = config.load_for_migration({"DATABASE_URL": database})
    with pytest.raises(SchemaProblem, match=r"python -m api_server\.migrate"):
        migrate.check(settings)
    run(database)
    migrate.check(settings)
    assert run(database).stdout == ""
    away = config.load_for_migration({"DATABASE_URL": "postgresql://127.0.0.1:1/none"})
    migrate.check(away)


def test_another_zone_needs_a_rebuild(migrated: str) -> None:
    """The API and the migration refuse another zone until the rollups are rebuilt for it."""
    settings = {"DATABASE_URL": migrated, "SITE_TIMEZONE": "Asia/Kolkata"}
    with pytest.raises(SchemaProblem, match="--rebuild-rollups"):
        migrate.check(config.load_for_migration(settings))
    assert "Europe/Brussels" in refusal(run(migrated, SITE_TIMEZONE="Asia/Kolkata"))
    change(
        migrated,
        "INSERT INTO p1_samples (device_id, ts, power_w, import_power_w)"
        " VALUES ('m', '2025-06-01T20:00Z', 1, 1)",
    )
    done = run(migrated, "--rebuild-rollups", SITE_TIMEZONE="Asia/Kolkata")
    assert (done.returncode, done.stdout) == (0, "rebuilt the rollups for Asia/Kolkata\n")
    migrate.check(config.load_for_migration(settings))
    [(day, hour)] = ask(
        migrated,
        "SELECT p1_daily.bucket AT TIME ZONE 'UTC', p1_hourly.bucket AT TIME ZONE 'UTC'"
        " FROM p1_daily, p1_hourly",
    )
    assert (str(day), str(hour)) == ("2025-06-01 18:30:00", "2025-06-01 19:30:00")
