"""PostgreSQL: a connection per thread, replaced when it breaks, and the SQL of the samples.

Whatever the database does, a request gets its answer or DatabaseUnavailable within seconds.
"""

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import errors, extensions

from edge_agent.samples import Kind

CONNECT_S = 2
STATEMENT_S = 4
DEADLINE_S = 4.5  # of a frozen server, which can not keep its own timeouts
OPTIONS = (
    f"-c statement_timeout={STATEMENT_S * 1000} -c lock_timeout={STATEMENT_S * 500}"
    f" -c idle_in_transaction_session_timeout={STATEMENT_S * 5000} -c timezone=UTC"
)
# A defect of ours, not of the database: everything else that it raises passes with time.
OUR_FAULT = (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.IntegrityError)

_INSERT = """
INSERT INTO {table} ({names})
SELECT {names} FROM unnest({arrays}) AS new ({names}) ORDER BY ts
ON CONFLICT DO NOTHING
"""
_DIFFERING = """
SELECT count(*) FROM unnest({arrays}) AS new ({names}) JOIN {table} old USING (device_id, ts)
WHERE ({old}) IS DISTINCT FROM ({new})
"""
_NEWEST = "SELECT {names} FROM {table} WHERE device_id = %s {bound} ORDER BY ts DESC LIMIT 1"


class DatabaseUnavailable(Exception):
    """The database gives no answer now; the same request may succeed in a few seconds."""


class Inserted(NamedTuple):
    """What became of a batch: rows new in the table, and known ones that came with other values."""

    new: int
    differing: int


class Store:
    """Access to the database for all threads of a process; connects on first use."""

    def __init__(self, url: str):
        self._url = url
        self._local = threading.local()
        extensions.set_wait_callback(_wait_with_deadline)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """This thread's connection, in autocommit; raises DatabaseUnavailable.

        A connection that broke while it was idle is replaced before it is handed out.
        """
        connection = self._connected()
        try:
            yield connection
        except OUR_FAULT as error:
            if not isinstance(error, _PASSING):
                raise
            raise DatabaseUnavailable(str(error)) from error
        except psycopg2.Error as error:
            self._drop()
            raise DatabaseUnavailable(str(error)) from error

    def run(self, work: Callable[[Any], Any]) -> Any:
        """Call work(cursor), and once more if the connection was broken: it must be repeatable."""
        fresh = getattr(self._local, "connection", None) is None
        try:
            return self._run(work)
        except DatabaseUnavailable:
            if fresh or getattr(self._local, "connection", None) is not None:
                raise
            return self._run(work)

    def _run(self, work: Callable[[Any], Any]) -> Any:
        with self.connection() as connection, connection.cursor() as cursor:
            return work(cursor)

    def _connected(self) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            try:
                connection = psycopg2.connect(
                    self._url,
                    connect_timeout=CONNECT_S,
                    options=OPTIONS,
                    application_name="sunspool-api",
                )
                connection.autocommit = True
            except psycopg2.Error as error:
                raise DatabaseUnavailable(str(error)) from error
            self._local.connection = connection
        return connection

    def _drop(self) -> None:
        connection, self._local.connection = self._local.connection, None
        if connection is not None:
            connection.close()

    def insert(self, kind: Kind, columns: dict[str, list[Any]]) -> Inserted:
        """Store samples given as one list per column and commit; known keys keep their values."""
        arrays = [_array(columns[name]) for name in kind.columns]

        def work(cursor: Any) -> Inserted:
            cursor.execute(_sql(_INSERT, kind), arrays)
            new = cursor.rowcount
            if new == len(columns["ts"]):
                return Inserted(new, 0)
            cursor.execute(_sql(_DIFFERING, kind), arrays)
            return Inserted(new, cursor.fetchone()[0])

        return self.run(work)

    def newest(self, kind: Kind, device_id: str) -> dict[str, Any] | None:
        """The newest sample of a device by its time, or None."""

        def work(cursor: Any) -> tuple | None:
            # With a bound in time only the latest chunks are looked at.
            for bound in ("AND ts > now() - interval '1 day'", ""):
                names, table = ", ".join(kind.columns), f"{kind.name}_samples"
                cursor.execute(_NEWEST.format(names=names, table=table, bound=bound), (device_id,))
                row = cursor.fetchone()
                if row:
                    return row
            return None

        row = self.run(work)
        return dict(zip(kind.columns, row, strict=True)) if row else None


def _sql(template: str, kind: Kind) -> str:
    types = ["text", "timestamptz", *(field.sql_type for field in kind.fields)]
    values = kind.columns[2:]
    return template.format(
        table=f"{kind.name}_samples",
        names=", ".join(kind.columns),
        arrays=", ".join(f"%s::{type_}[]" for type_ in types),
        old=", ".join(f"old.{name}" for name in values),
        new=", ".join(f"new.{name}" for name in values),
    )


def _array(values: list[Any]) -> str:
    """A column as the text of a PostgreSQL array; no value of a checked sample needs quotes."""
    return "{" + ",".join(map(_literal, values)) + "}"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _wait_with_deadline(connection: Any) -> None:
    """Wait for PostgreSQL as libpq would, but not for ever: a frozen server keeps no timeout."""
    ends = time.monotonic() + DEADLINE_S
    while True:
        state = connection.poll()
        if state == extensions.POLL_OK:
            return
        left = ends - time.monotonic()
        descriptor = connection.fileno()
        reading = state == extensions.POLL_READ
        ready = left > 0 and select.select(
            [descriptor] if reading else [], [] if reading else [descriptor], [], left
        )
        if not ready or not any(ready):
            connection.close()
            raise psycopg2.OperationalError(f"no answer within {DEADLINE_S} s")


# These say that the database is in trouble though psycopg2 files them under mistakes of ours.
_PASSING = (errors.UndefinedTable, errors.InsufficientPrivilege, errors.InFailedSqlTransaction)
