"""What the database can do: no TimescaleDB, its Apache edition or its Community edition.

The database itself is asked, with nothing that is denied to its ordinary owner.
"""

import re
from typing import Any

from psycopg2 import errors, sql
from psycopg2.extensions import connection as Connection

from api_server.migrations import citus
from edge_agent.shared.samples import KINDS

MINIMUM = (2, 18, 1)  # before it an insert with ON CONFLICT into compressed chunks can lose rows

# Without the preloaded library CREATE EXTENSION ends the connection, so it must be known before;
# SHOW shared_preload_libraries is denied to an ordinary role, but the loader's own setting shows.
_EXTENSION = """
    SELECT installed_version, default_version,
        EXISTS (SELECT FROM pg_settings WHERE name = 'timescaledb.disable_load') AS preloaded,
        (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
        OR has_database_privilege(current_database(), 'CREATE') AND EXISTS (
            SELECT FROM pg_available_extension_versions AS one
            WHERE one.name = 'timescaledb' AND one.version = default_version
            AND (trusted OR NOT superuser)) AS may_create
    FROM pg_available_extensions WHERE name = 'timescaledb'
"""
_SCHEMA = """
    SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname = 'timescaledb'
"""
# What only the Community edition makes; asked without the extension's own views, which may be away.
_WRONG_LICENCE = """
    SELECT current_setting('timescaledb.license', true) = 'apache' AND EXISTS (
        SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = '_timescaledb_internal'
        AND relname ~ '^_(materialized|compressed)_hypertable_'
    )
"""
WRONG_LICENCE = (
    "this database was made with TimescaleDB Community and the server now runs it under the Apache "
    "licence, where no sample can be stored: install the Community package (packages of "
    "timescale.com), set timescaledb.license = 'timescale' and restart PostgreSQL; or restore a "
    "backup into a new database, which then does without"
)
_PROBE = """
    CREATE EXTENSION IF NOT EXISTS timescaledb;
    CREATE TABLE sunspool_probe (ts timestamptz NOT NULL);
    SELECT create_hypertable('sunspool_probe', 'ts');
    CREATE MATERIALIZED VIEW sunspool_probe_hourly WITH (timescaledb.continuous) AS
    SELECT time_bucket('1 hour', ts) AS bucket FROM sunspool_probe GROUP BY 1 WITH NO DATA;
"""
_DROPPED = """
    SELECT EXISTS (
        SELECT FROM (
            SELECT device_id, min(bucket) AS bucket FROM {kind}_kept_quarter_hourly GROUP BY 1
        ) AS kept WHERE NOT EXISTS (
            SELECT FROM {kind}_samples
            WHERE device_id = kept.device_id AND ts < bucket + interval '15 minutes'
        )
    )
"""
_RETENTION = """
    SELECT hypertable_name FROM timescaledb_information.jobs
    WHERE proc_name = 'policy_retention' AND hypertable_name IN ('sungrow_samples', 'p1_samples')
    ORDER BY 1
"""


_NEW = """
    SELECT view_name FROM timescaledb_information.continuous_aggregates JOIN unnest(ARRAY[
        'quarter_hourly', 'hourly', 'daily', 'monthly'
    ]) WITH ORDINALITY AS level (name, place) ON view_name ~ ('^(sungrow|p1)_new_' || name)
    WHERE view_schema = current_schema() ORDER BY place
"""
# From 2.28 on a refresh commits after every ten buckets unless it is told otherwise, thousands of
# times for a history of years.
_LARGE_BATCHES = """, options => '{"buckets_per_batch": 1000}'"""
_COMMITS_OFTEN = """
    SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'
    AND string_to_array(substring(extversion FROM '^[0-9.]+'), '.')::integer[] >= '{2,28}'
"""


class Unusable(Exception):
    """TimescaleDB is there in a state that nothing should be built on; the text says what to do."""


class Edition:
    """What one run of the migration found out about its database."""

    def __init__(self, conn: Connection):
        self.conn = conn
        self._refusal: str | None = None
        self._tried = False

    def lack(self, need: str) -> str | None:
        """Why this database has not what a migration needs, or None if it has.

        Needs are `timescaledb`, `continuous aggregates`, `citus`, `tables of samples` and, with
        `no ` before, their opposites.
        The caller is in a transaction. Raises Unusable.
        """
        if need.startswith("no "):
            return None if self.lack(need[3:]) else f"this database has {need[3:]}"
        if need == "tables of samples":
            return None if _has_samples(self.conn) else "this database has no tables of samples"
        if need == "citus":
            return citus.lack(self.conn)
        missing = _extension_lack(self.conn)
        if missing or need == "timescaledb":
            return missing
        if not self._tried:  # once: a session that took the extension back can not try again
            self._refusal = _continuous_aggregates_lack(self.conn)
            self._tried = True
        return self._refusal


def find_schema(conn: Connection) -> str | None:
    """The schema that TimescaleDB's functions are in, None without the extension."""
    with conn.cursor() as cursor:
        cursor.execute(_SCHEMA)
        row = cursor.fetchone()
    return row[0] if row else None


def fill(conn: Connection) -> None:
    """Fill the new continuous aggregates up to what real time will give, finer ones first."""
    with conn.cursor() as cursor:
        cursor.execute(_COMMITS_OFTEN)
        options = sql.SQL(_LARGE_BATCHES if cursor.fetchone()[0] else "")
        call = sql.SQL("CALL {}.refresh_continuous_aggregate(%s, NULL, now() - %s::interval{})")
        refresh = call.format(sql.Identifier(find_schema(conn)), options)
        cursor.execute(_NEW)
        for (name,) in cursor.fetchall():
            end = "1 hour" if name.endswith("hourly") else "1 day"
            cursor.execute(refresh, (name, end))


def find_retention(conn: Connection) -> list[str]:
    """The tables of samples from which a policy drops old chunks."""
    if not find_schema(conn):
        return []
    with conn.cursor() as cursor:
        cursor.execute(_RETENTION)
        return [name for (name,) in cursor.fetchall()]


def has_wrong_licence(conn: Connection) -> bool:
    """Whether a Community database is served under the Apache licence: WRONG_LICENCE."""
    with conn.cursor() as cursor:
        cursor.execute(_WRONG_LICENCE)
        return bool(cursor.fetchone()[0])


def refuse_wrong_licence(conn: Connection) -> None:
    """Raise Unusable for it."""
    if has_wrong_licence(conn):
        raise Unusable(WRONG_LICENCE)


def _has_samples(conn: Connection) -> bool:
    with conn.cursor() as cursor:
        cursor.execute("SELECT to_regclass('p1_samples') IS NOT NULL")
        return cursor.fetchone()[0]


def _extension_lack(conn: Connection) -> str | None:
    with conn.cursor() as cursor:
        cursor.execute(_EXTENSION)
        row = cursor.fetchone()
    if row is None:
        return "TimescaleDB is not installed on this server"
    installed, default, preloaded, may_create = row
    if not preloaded:
        if installed:
            raise Unusable(
                "this database uses TimescaleDB, and the server does not preload it: "
                "set shared_preload_libraries = 'timescaledb' and restart PostgreSQL"
            )
        return "TimescaleDB is installed but not in shared_preload_libraries"
    refuse_old(installed, default)
    if not installed and not may_create:
        return "this role may not create the extension timescaledb: a superuser has to"
    return None


def refuse_old(installed: str | None, default: str) -> None:
    """Raise Unusable for a version below the minimum, with the way out."""
    if _number(installed or default) >= MINIMUM:
        return
    least = ".".join(map(str, MINIMUM))
    way = "upgrade its package"
    if installed and _number(default) >= MINIMUM:
        way = "let a superuser run ALTER EXTENSION timescaledb UPDATE as the first of a session"
    raise Unusable(
        f"TimescaleDB {installed or default} can lose rows; {least} is the least: {way}, "
        "or take it out of shared_preload_libraries of a server that does not use it"
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version)[:3])


def _continuous_aggregates_lack(conn: Connection) -> str | None:
    """Try one, if there is none yet: the Apache edition knows the statement and refuses it."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT to_regclass('timescaledb_information.continuous_aggregates')")
        if cursor.fetchone()[0]:
            cursor.execute("SELECT FROM timescaledb_information.continuous_aggregates LIMIT 1")
            if cursor.rowcount:
                return None
        if _samples_were_dropped(cursor):
            return "samples were dropped here, whose rollups only the kept tables have"
        cursor.execute("SAVEPOINT probe")
        try:
            cursor.execute(_PROBE)
        except errors.FeatureNotSupported:
            return "TimescaleDB here is the Apache edition, which has no continuous aggregates"
        finally:
            cursor.execute("ROLLBACK TO SAVEPOINT probe")
    return None


def _samples_were_dropped(cursor: Any) -> bool:
    """Whether more is kept than could be made of the samples that there are."""
    cursor.execute("SELECT to_regclass('p1_kept_quarter_hourly') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return False
    for kind in KINDS:
        cursor.execute(_DROPPED.format(kind=kind))
        if cursor.fetchone()[0]:
            return True
    return False
