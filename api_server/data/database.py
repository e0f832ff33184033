"""The database: a connection per thread, replaced when it breaks.

Whatever the database does, a request gets its answer or DatabaseUnavailable within seconds.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import errors

from api_server.data.postgres import Connection, NoAnswer, committed, connect

ANSWER_S = 4
LOCK_S = 2
HISTORY_S = 25  # until the rollups of a database that was just filled or converted are kept
TRIES = 3
OPTIONS = (
    # What we gave up waiting for ends soon after we hung up.
    f"-c client_connection_check_interval=1s -c lock_timeout={LOCK_S}s"
    " -c idle_in_transaction_session_timeout=60s"
    # A sample that was answered for must survive a power cut, whatever the server's default is.
    " -c timezone=UTC -c synchronous_commit=on"
    # Compiling a query of the rollups takes ten times as long as running it.
    " -c jit=off"
)


class DatabaseUnavailable(Exception):
    """The database gives no answer now; the same request may succeed in a few seconds."""

    def __init__(self, error: psycopg2.Error, passing: bool):
        super().__init__(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        self.passing = passing  # worth a second try at once
        self.refused = error.pgcode is not None  # the database itself said no


class Store:
    """Access to the database for all threads of a process; connects on first use."""

    def __init__(self, url: str):
        self._url = url
        self._local = threading.local()
        self.distributed = False  # as far as is known: devices are on several nodes

    @contextmanager
    def connection(self, seconds: float = ANSWER_S) -> Iterator[Connection]:
        """This thread's connection, each statement its own transaction, for so many seconds.

        One that broke while it was idle is replaced before. Raises DatabaseUnavailable.
        """
        connection, fresh = getattr(self._local, "connection", None), False
        try:
            if connection is None or connection.closed or not connection.idle:
                self._drop()
                fresh = True
                connection = self._local.connection = connect(
                    self._url, min(seconds, ANSWER_S), OPTIONS
                )
            elif seconds > ANSWER_S:  # before it is waited for so long, it must be alive
                connection.deadline = time.monotonic() + ANSWER_S
                connection.cursor().execute("SELECT")
            connection.deadline = time.monotonic() + seconds
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

    def transaction(self, work: Callable[[Any], Any], seconds: float = ANSWER_S) -> Any:
        """Like `run`, with all statements of the work in one transaction, committed after it."""

        def whole(cursor: Any) -> Any:
            cursor.execute("BEGIN")
            try:
                result = work(cursor)
            except BaseException as error:
                if not isinstance(error, psycopg2.Error):  # that one closes the connection
                    cursor.execute("ROLLBACK")
                raise
            committed(cursor, "COMMIT")
            return result

        return self.run(whole, seconds)

    def _drop(self) -> None:
        connection, self._local.connection = getattr(self._local, "connection", None), None
        if connection is not None:
            connection.close()


def _passing(error: psycopg2.Error, fresh: bool) -> bool:
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure):
        return True
    broken = error.pgcode is None or error.pgcode.startswith("57P")
    return broken and not fresh and not isinstance(error, NoAnswer)
