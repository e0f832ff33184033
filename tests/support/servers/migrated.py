"""Migrated databases; most are copied, for the migrations take seconds."""

from tests.support.servers.citus import CitusCluster
from tests.support.servers.postgres import Postgres
from tests.support.servers.programs import migrate

ZONE = "Europe/Brussels"
TEMPLATE = "migrated_template"


def migrated_database(server: Postgres | CitusCluster, zone: str = ZONE) -> str:
    """Make a database as the migrations leave it and return its URL.

    Those in the usual zone are copies of one that is migrated first. A database on Citus is spread
    over several servers and cannot be copied, and in the copy of one with continuous aggregates
    TimescaleDB would run no job for a minute.
    """
    copied = isinstance(server, Postgres) and server.timescaledb != "community"
    if copied and zone == ZONE:
        return server.create_database(template=_template(server))
    url = server.create_database()
    migrate(url, SITE_TIMEZONE=zone)
    return url


def _template(server: Postgres) -> str:
    if not server.query("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)):
        url = server.create_database("being_migrated")
        migrate(url, SITE_TIMEZONE=ZONE)
        # Nobody may be connected to what is copied; TimescaleDB has a process in each database.
        server.execute('ALTER DATABASE "being_migrated" ALLOW_CONNECTIONS false')
        server.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = 'being_migrated'"
        )
        server.execute(f'ALTER DATABASE "being_migrated" RENAME TO "{TEMPLATE}"')
    return TEMPLATE
