"""Whether the database is spread over the nodes of a Citus cluster, and what that still needs.

It is asked with nothing that is denied to its ordinary owner.
"""

from psycopg2.extensions import connection as Connection

_STATE = """
    SELECT installed_version IS NOT NULL,
        EXISTS (SELECT FROM pg_settings WHERE name = 'citus.shard_count')
    FROM pg_available_extensions WHERE name = 'citus'
"""
_WORKER = "SELECT FROM pg_dist_node WHERE noderole = 'primary' AND shouldhaveshards"
_REFUSED = """
    SELECT nodename || ':' || nodeport, result
    FROM run_command_on_workers('SELECT 1') WHERE NOT success LIMIT 1
"""


def distribute(conn: Connection) -> None:
    """Distribute the tables that are new, in a database where the others are."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT to_regproc('distribute_tables') IS NOT NULL")
        if cursor.fetchone()[0]:
            cursor.execute("SELECT distribute_tables()")


def lack(conn: Connection) -> str | None:
    """Why nothing can be distributed here, with what a superuser has to run; None if it can."""
    with conn.cursor() as cursor:
        cursor.execute(_STATE)
        created, loaded = cursor.fetchone() or (None, None)
        if created is None:
            return "Citus is not installed on this server"
        if not created:
            if not loaded:
                return "Citus is installed but not in shared_preload_libraries"
            return (
                "Citus is not in this database: a superuser has to run, in this database on every "
                "node, CREATE EXTENSION citus"
            )
        cursor.execute(_WORKER)
        if not cursor.rowcount:
            return (
                "Citus has no worker here: a superuser has to run, for each, "
                "SELECT citus_add_node('HOST', 5432)"
            )
        cursor.execute(_REFUSED)
        refused = cursor.fetchone()
    if refused:
        return f"the worker {refused[0]} does not take this role ({' '.join(refused[1].split())})"
    return None
