"""The database: a connection per thread, replaced when it breaks, and the SQL of the samples.

Whatever the database does, a request gets its answer or DatabaseUnavailable within seconds.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import errors

from api_server.data.postgres import Connection, NoAnswer, connect
from edge_agent.shared.samples import KINDS, Kind

ANSWER_S = 4
LOCK_S = 2
HISTORY_S = 25  # without continuous aggregates history is read sample by sample
# At once and process. With those that wait for their turn they leave two of its threads to
# samples: whoever comes beyond is sent away.
HISTORY_READS = 4
HISTORY_WAITING = 2
HISTORY_WAIT_S = 3
TRIES = 3
WORTH_A_LOOK = 50  # a smaller batch is inserted as quickly as it is looked for
OPTIONS = (
    f"-c statement_timeout={ANSWER_S}s -c lock_timeout={LOCK_S}s"
    " -c idle_in_transaction_session_timeout=60s"
    # A sample that was answered for must survive a power cut, whatever the server's default is.
    " -c timezone=UTC -c synchronous_commit=on"
    # Compiling a query of the rollups takes ten times as long as running it.
    " -c jit=off"
)
RECENT = (timedelta(days=1), timedelta(days=30))  # to look in few chunks first, for its newest row

_INSERT = """
INSERT INTO {table} ({names})
SELECT %s, new.* FROM unnest({arrays}) AS new ON CONFLICT DO NOTHING
"""
# One pass over what is there, which is far cheaper than to try to insert it again. Of a span of
# years no more is read than the batch has, and one row to see that there are more.
_SAME = """
SELECT {same} FROM (
    SELECT * FROM {table} WHERE device_id = %s AND ts BETWEEN %s AND %s ORDER BY ts LIMIT %s
) AS old
"""
# A look-up per row (OFFSET 0 keeps it one), in the chunks between the first time and the last.
_DIFFERING = """
SELECT count(*) FROM unnest({arrays}) AS new ({values}) WHERE EXISTS (
    SELECT FROM {table} AS old
    WHERE old.device_id = %s AND old.ts BETWEEN %s AND %s AND old.ts = new.ts
    AND ({old}) IS DISTINCT FROM ({new}) OFFSET 0
)
"""
_NEWEST = "SELECT {names} FROM {table} WHERE device_id = %s AND ts > %s ORDER BY ts DESC LIMIT 1"


class DatabaseUnavailable(Exception):
    """The database gives no answer now; the same request may succeed in a few seconds."""

    def __init__(self, error: psycopg2.Error, passing: bool):
        super().__init__(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        self.passing = passing  # worth a second try at once


class Busy(Exception):
    """Too much history is being read already."""


class Inserted(NamedTuple):
    """What became of a batch: rows new in the table, and known ones that came with other values."""

    new: int
    differing: int


class Store:
    """Access to the database for all threads of a process; connects on first use."""

    def __init__(self, url: str):
        self._url = url
        self._local = threading.local()
        # What this process has stored of each device: what is newer needs not be looked for.
        self._newest: dict[str, datetime] = {}
        self._admitted = threading.BoundedSemaphore(HISTORY_READS + HISTORY_WAITING)
        self._history = threading.BoundedSemaphore(HISTORY_READS)

    @contextmanager
    def connection(self, seconds: float = ANSWER_S) -> Iterator[Connection]:
        """This thread's connection, each statement its own transaction; raises DatabaseUnavailable.

        A connection that broke while it was idle is replaced before it is handed out.
        """
        connection, fresh = getattr(self._local, "connection", None), False
        try:
            if connection is None or connection.closed or not connection.idle:
                self._drop()
                fresh = True
                connection = self._local.connection = connect(
                    self._url, min(seconds, ANSWER_S), OPTIONS
                )
                connection.least_s = connection.limit_s = ANSWER_S
            connection.allow(seconds)
            yield connection
        except psycopg2.Error as error:
            self._drop()
            raise DatabaseUnavailable(error, _passing(error, fresh)) from error

    def run(self, work: Callable[[Any], Any], seconds: float = ANSWER_S) -> Any:
        """Return work(cursor), tried again if it met a deadlock or a connection that just broke.

        It must be fit to run twice.
        """
        ends = time.monotonic() + seconds
        for tries_left in reversed(range(TRIES)):
            try:
                with self.connection(ends - time.monotonic()) as connection:
                    return work(connection.cursor())
            except DatabaseUnavailable as error:
                if not (error.passing and tries_left and time.monotonic() < ends - seconds / 4):
                    raise
        raise AssertionError("the last try returns or raises")

    def read_history(self, work: Callable[[Any], Any]) -> Any:
        """Like `run`, for what may take long; raises Busy as well."""
        with _place(self._admitted, 0), _place(self._history, HISTORY_WAIT_S):
            return self.run(work, HISTORY_S)

    def _drop(self) -> None:
        connection, self._local.connection = getattr(self._local, "connection", None), None
        if connection is not None:
            connection.close()

    def insert(self, kind: Kind, columns: dict[str, list[Any]]) -> Inserted:
        """Store samples of one device, given as one list per column, and commit.

        Known keys keep their values.
        """
        columns = _by_time(columns)
        device_id, times = columns["device_id"][0], columns["ts"]
        arrays = [_times(times)]
        for field in kind.fields:
            arrays.append(_AS_ARRAY.get(field.type, _numbers)(columns[field.name]))

        span = (device_id, times[0], times[-1])
        newest = self._newest.get(device_id)
        old = newest is not None and times[-1] <= newest and len(times) >= WORTH_A_LOOK

        def work(cursor: Any) -> Inserted:
            if old:  # its answer was lost, maybe, and it comes again
                cursor.execute(_sql(_SAME, kind.name), [*arrays, *span, len(times) + 1])
                if cursor.fetchone()[0]:
                    return Inserted(0, 0)
            cursor.execute(_sql(_INSERT, kind.name), [device_id, *arrays])
            new = cursor.rowcount
            if new == len(times):
                return Inserted(new, 0)
            cursor.execute(_sql(_DIFFERING, kind.name), [*arrays, *span])
            return Inserted(new, cursor.fetchone()[0])

        inserted = self.run(work)
        self._newest[device_id] = max(times[-1], newest or times[-1])
        return inserted

    def newest(self, kind: Kind, device_id: str) -> dict[str, Any] | None:
        """The newest sample of a device by its time, or None."""

        def work(cursor: Any) -> tuple | None:
            now = datetime.now(UTC)
            for since in (*(now - recent for recent in RECENT), "-infinity"):
                cursor.execute(_sql(_NEWEST, kind.name), (device_id, since))
                row = cursor.fetchone()
                if row:
                    return row
            return None

        row = self.run(work)
        return dict(zip(kind.columns, row, strict=True)) if row else None


@contextmanager
def _place(places: threading.Semaphore, seconds: float) -> Iterator[None]:
    if not places.acquire(timeout=seconds):
        raise Busy
    try:
        yield
    finally:
        places.release()


def _passing(error: psycopg2.Error, fresh: bool) -> bool:
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure):
        return True
    broken = error.pgcode is None or error.pgcode.startswith("57P")
    return broken and not fresh and not isinstance(error, NoAnswer)


def _by_time(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same samples, oldest first: batches that overlap then never wait for each other."""
    times = columns["ts"]
    order = sorted(range(len(times)), key=times.__getitem__)
    if order == list(range(len(times))):
        return columns
    return {name: [values[place] for place in order] for name, values in columns.items()}


@cache
def _sql(template: str, kind_name: str) -> str:
    kind = KINDS[kind_name]
    values = ("ts", *(field.name for field in kind.fields))
    types = ("timestamptz", *(field.sql_type for field in kind.fields))
    return template.format(
        table=f"{kind.name}_samples",
        names=", ".join(kind.columns),
        values=", ".join(values),
        arrays=", ".join(f"%s::{type_}[]" for type_ in types),
        same=" AND ".join(
            f"array_agg({name}) = %s::{type_}[]" for name, type_ in zip(values, types, strict=True)
        ),
        old=", ".join(f"old.{name}" for name in values),
        new=", ".join(f"new.{name}" for name in values),
    )


# Columns as the text of PostgreSQL's arrays: far faster to make and to read than a literal each.
# Nothing in a checked sample needs quotes.
def _numbers(values: list[Any]) -> str:
    if values.count(values[0]) == len(values):  # what is not measured, and what hardly changes
        return "{" + ",".join([repr(values[0])] * len(values)).replace("None", "NULL") + "}"
    return "{" + repr(values)[1:-1].replace("None", "NULL") + "}"


def _times(values: list[Any]) -> str:
    return "{" + ",".join("NULL" if time is None else time.isoformat() for time in values) + "}"


def _texts(values: list[Any]) -> str:
    return "{" + ",".join("NULL" if text is None else f'"{text}"' for text in values) + "}"


_AS_ARRAY = {"time": _times, "text": _texts}
