"""Applies sql/NNNN_subject.sql in order, each once and in a transaction of its own.

What a file needs of the database stands on its first lines (`-- requires: timescaledb`); a file
whose needs are not met is skipped, shown, and applied by a later run when they are. A file that
says `-- run again: for another zone` is fit to run again: a rebuild runs it, if it was applied.
Before a file that says `-- fill first:` its new rollups are filled, while the old ones serve.
"""

import argparse
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import connection as Connection

from api_server import config
from api_server.config import DatabaseSettings
from api_server.data import periods, postgres, refresh
from api_server.migrations import citus, history, rights, timescale
from api_server.migrations.history import COMMAND, ZONE, Migration, SchemaProblem
from edge_agent.shared import logs
from edge_agent.shared.environment import InvalidSettings

__all__ = ["SchemaProblem", "check", "main"]

LOCK = 0x53756E73706F6F6C  # "Sunspool": one migration at a time in a database
CONNECT_S = 10
RUN_AGAIN = "-- run again: for another zone\n"
FILL_FIRST = re.compile(r"^-- fill first: (.+)$", re.MULTILINE)
log = logging.getLogger("api_server.migrate")


def main(arguments: list[str]) -> int:
    """Do what the options say: 0 if the database is as it should be, else 1 and one line why."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--status", action="store_true", help="say what is applied, and stop")
    doing.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    doing.add_argument(
        "--rebuild-rollups", action="store_true", help="make the rollups anew, for SITE_TIMEZONE"
    )
    options = parser.parse_args(arguments)
    logs.set_up("INFO")
    try:
        settings = config.load_for_migration(os.environ)
        logs.set_up("INFO", [settings.migrate_database_url])
        with closing(connect(settings.migrate_database_url)) as conn:
            run = Run(conn, settings)
            if options.status or options.dry_run:
                run.report(dry=options.dry_run)
            else:
                run.migrate(rebuild=options.rebuild_rollups)
    except (InvalidSettings, SchemaProblem, timescale.Unusable, psycopg2.Error) as error:
        logs.event(log, logging.ERROR, "migrate_failed", " ".join(str(error).split()))
        return 1
    return 0


def check(settings: DatabaseSettings) -> None:
    """Raise SchemaProblem if the API can not work on its database; not if it is unreachable."""
    try:
        with closing(postgres.connect(settings.database_url, CONNECT_S)) as conn:
            conn.deadline = time.monotonic() + CONNECT_S
            behind = history.pending(conn)
            past = history.read(conn)
            wrong_licence = timescale.has_wrong_licence(conn)
            _tell_remarks(conn)
    except psycopg2.OperationalError:
        return
    except psycopg2.Error as error:
        text = " ".join(str(error).split())
        raise SchemaProblem(f"the database can not be used ({text}): run `{COMMAND}`") from error
    if behind:
        raise SchemaProblem(f"the database lacks {', '.join(behind)}: run `{COMMAND}`")
    history.check_zone(past, settings.site_timezone.key)
    if wrong_licence:  # what there is can be read all the same
        logs.event(log, logging.ERROR, "wrong_licence", timescale.WRONG_LICENCE)


def _tell_remarks(conn: Connection) -> None:
    """Log what the server remarked when it was connected to, like a changed collation."""
    for notice in conn.notices:
        logs.event(log, logging.WARNING, "database_notice", " ".join(notice.split()))


def connect(url: str) -> Connection:
    """A connection as its ordinary owner, for what may take long; it commits each statement."""
    conn = postgres.connect(url, CONNECT_S, name="sunspool-migrate")
    with conn.cursor() as cursor:
        # The server must notice when we were killed: it would go on, and hold the lock.
        cursor.execute(
            "SET client_min_messages = error; SET statement_timeout = 0;"
            " SET client_connection_check_interval = '2s'"
        )
    return conn


class Run:
    """One run of the command on one database."""

    def __init__(self, conn: Connection, settings: DatabaseSettings):
        self.conn = conn
        self.settings = settings
        self.zone = settings.site_timezone.key
        self.migrations = history.load()
        self.edition = timescale.Edition(conn)

    def migrate(self, rebuild: bool = False) -> None:
        """Apply everything that is due and can be; prints only what it does."""
        self._execute("SET lock_timeout = '15min'")
        self._execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        timescale.refuse_wrong_licence(self.conn)
        self._execute("SET lock_timeout = '1min'")  # readers queue behind a waiting ALTER
        past = history.read(self.conn)
        due = history.find_due(self.migrations, past)
        if not rebuild:
            history.check_zone(past, self.zone)
        if past.zone is None:
            with self._transaction():
                self._execute(history.TABLES)
                self._remember_zone()
        elif rebuild:
            self._rebuild(past)
        for migration in due:
            for tries_left in reversed(range(3)):
                try:
                    self._apply_or_skip(migration, past)
                    break
                except SchemaProblem as error:  # a reader may lock views in another order
                    if not (tries_left and isinstance(error.__cause__, errors.DeadlockDetected)):
                        raise
        with self._transaction():
            self._grant()
        self._refuse_retention()

    def report(self, dry: bool) -> None:
        """Print the state of every migration, or only what a run would do."""
        past = history.read(self.conn)
        due = history.find_due(self.migrations, past)
        for migration in self.migrations:
            if migration not in due:
                time: datetime = past.applied[migration.version][2]
                line = f"applied {time:%Y-%m-%d %H:%M:%S%z}"
            else:
                with self._transaction():
                    reason = self._lack(migration)
                line = f"skipped: {reason}" if reason else "due"
            if not dry or migration in due:
                print(f"{migration.file}  {line}")  # noqa: T201 - the result of the command
        if not dry:
            print(f"zone of the rollups: {past.zone or self.zone}")  # noqa: T201
            _tell_remarks(self.conn)
        history.check_zone(past, self.zone)
        timescale.refuse_wrong_licence(self.conn)
        self._refuse_retention()

    def _apply_or_skip(self, migration: Migration, past: history.Ledger) -> None:
        with self._transaction():
            reason = self._lack(migration)
        if reason is None:
            self._fill_first(migration)
        with self._transaction():
            if reason is None:
                self._execute_file(migration)
                citus.distribute(self.conn)
                self._execute(
                    "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
                    (migration.version, migration.name, migration.checksum),
                )
                self._execute("DELETE FROM schema_skipped WHERE version = %s", (migration.version,))
                self._grant()
            elif reason != past.skipped.get(migration.version):
                self._execute(
                    "INSERT INTO schema_skipped VALUES (%s, %s)"
                    " ON CONFLICT (version) DO UPDATE SET reason = excluded.reason",
                    (migration.version, reason),
                )
        if reason is None:
            print(f"applied {migration.file}", flush=True)  # noqa: T201
        elif reason != past.skipped.get(migration.version):
            print(f"skipped {migration.file}: {reason}", flush=True)  # noqa: T201

    def _rebuild(self, past: history.Ledger) -> None:
        """Run what makes the rollups again, if it was applied before this run."""
        with self._transaction():
            again = [
                migration
                for migration in self.migrations
                if migration.version in past.applied
                and RUN_AGAIN in migration.text
                and not self._lack(migration)  # or others have taken their place
            ]
        for migration in again:
            self._fill_first(migration)
            with self._transaction():
                self._execute_file(migration)
                if migration == again[-1]:
                    self._grant()
                    self._remember_zone()
        print(f"rebuilt the rollups for {self.zone}")  # noqa: T201

    def _fill_first(self, migration: Migration) -> None:
        """Fill the rollups that a file puts in their place, in transactions of their own."""
        found = FILL_FIRST.search(migration.text)
        if found:
            FILLS[found[1]](self.conn)

    def _lack(self, migration: Migration) -> str | None:
        reasons = map(self.edition.lack, migration.needs)
        return next((reason for reason in reasons if reason), None)

    def _execute_file(self, migration: Migration) -> None:
        text = self._fill_in(migration.text)
        try:
            self._execute(text)
        except psycopg2.Error as error:
            raise SchemaProblem(f"sql/{migration.file}: {error}") from error

    def _fill_in(self, text: str) -> str:
        """Replace :'name' by a literal, and :"schema" and :"extension" by their names."""
        literals = {
            ZONE: self.zone,
            "hour_zone": _hour_zone(self.settings.site_timezone),
            "midnight_twice": str(periods.repeats_midnight(self.settings.site_timezone)),
        }
        [(schema,)] = self._query("SELECT current_schema()", None)
        names = {"schema": schema, "extension": timescale.find_schema(self.conn)}
        for name, value in names.items():
            text = text.replace(f':"{name}"', sql.Identifier(value or schema).as_string(self.conn))
        return re.sub(
            r":'(\w+)'",
            lambda found: sql.Literal(literals[found[1]]).as_string(self.conn),
            text,
        )

    def _remember_zone(self) -> None:
        self._execute(
            "INSERT INTO schema_settings VALUES (%s, %s)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (ZONE, self.zone),
        )

    def _grant(self) -> None:
        rights.grant(self.conn, self.settings.api_role, rights.API)
        rights.grant(self.conn, self.settings.grafana_role, rights.LOOKING_ON)

    def _refuse_retention(self) -> None:
        tables = timescale.find_retention(self.conn)
        if tables:
            raise SchemaProblem(
                f"a retention policy drops old rows of {', '.join(tables)}; the rollups are "
                "refreshed without a limit and would forget that time as well: "
                f"SELECT remove_retention_policy('{tables[0]}')"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._execute("BEGIN")
        try:
            schema = timescale.find_schema(self.conn)
            if schema:  # an extension may be in a schema of its own
                self._execute(_SEARCH_BOTH, (schema,))
            yield
        except BaseException:
            if not self.conn.closed:
                self._execute("ROLLBACK")
            raise
        self._execute("COMMIT")

    def _execute(self, statement: Any, values: Any = None) -> None:
        with self.conn.cursor() as cursor:
            cursor.execute(statement, values)

    def _query(self, statement: str, values: Any) -> list[tuple]:
        with self.conn.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()


_SEARCH_BOTH = """
    SELECT set_config('search_path', quote_ident(current_schema()) || ', ' || quote_ident(%s), true)
"""


def _hour_zone(zone: ZoneInfo) -> str:
    """A zone without summer time whose hours begin in the same minutes as those of the zone."""
    minutes = int(datetime(2026, 1, 1, tzinfo=zone).utcoffset().total_seconds()) // 60 % 60
    return {30: "Asia/Kolkata", 45: "Asia/Kathmandu"}.get(minutes, "UTC")


FILLS = {"kept rollups": refresh.refresh, "continuous aggregates": timescale.fill}
