"""What may be done with tables and views by the API, and by those who look on with Grafana."""

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

# The names of tables by what may be done with them.
API = {
    "SELECT": r"^(sungrow|p1|schema|rollup|alert)_|^(agents|alerts)$",
    "INSERT": r"^(sungrow_samples|p1_samples|rollup_marks|agents|alerts|alert_\w+)$",
    "UPDATE": r"^(agents|alerts|alert_\w+)$",
    "DELETE": r"^alerts$",
}
LOOKING_ON = {"SELECT": r"^(sungrow|p1|rollup)_|^(agents|alerts)$"}  # schema_* holds a secret

_MISSING = """
    SELECT relname, permission
    FROM pg_class, unnest(%(permissions)s, %(names)s) AS wanted (permission, name)
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v')
    AND pg_has_role(current_user, relowner, 'USAGE') AND relname ~ name
    AND NOT has_table_privilege(%(role)s, pg_class.oid, permission)
"""


def grant(conn: Connection, role: str, rights: dict[str, str]) -> None:
    """Give a role what it lacks of its rights, if there is such a role; its owner needs none."""
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_roles WHERE rolname = %s AND rolname <> current_user", (role,)
        )
        if not cursor.rowcount:
            return
        values = {"role": role, "permissions": list(rights), "names": list(rights.values())}
        cursor.execute(_MISSING, values)
        for table, permission in cursor.fetchall():
            statement = sql.SQL("GRANT {} ON {} TO {}")
            cursor.execute(
                statement.format(sql.SQL(permission), sql.Identifier(table), sql.Identifier(role))
            )
