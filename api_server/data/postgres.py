"""A connection to PostgreSQL that keeps a deadline even when the server is frozen.

psycopg2 waits for ever inside libpq. These connections are asynchronous underneath and wait here,
with a limit; they are used like any other, and every statement is a transaction of its own.
"""

import select
import time
from typing import Any

import psycopg2
from psycopg2 import extensions

_KEEPALIVES = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class NoAnswer(psycopg2.OperationalError):
    """The server was silent until the deadline."""


class Connection(extensions.connection):
    """Ends by itself when a statement is not done by `deadline`, in seconds of the boot clock."""

    deadline = 0.0
    least_s = 0.0  # the server's own limit of a statement,
    limit_s = 0.0  # raised for those that may take longer

    def allow(self, seconds: float) -> None:
        """Give the statements that follow so many seconds; a server must first show it is alive
        if that is long."""
        limit_s = max(seconds, self.least_s)
        if limit_s > self.least_s or limit_s != self.limit_s:
            self.deadline = time.monotonic() + self.least_s
            with self.cursor() as cursor:
                cursor.execute("SET statement_timeout = %s", (round(limit_s * 1000),))
            self.limit_s = limit_s
        self.deadline = time.monotonic() + seconds + 0.5  # the server's own limit comes first

    @property
    def idle(self) -> bool:
        """Whether the server is silent, as it should be; a dying one says so, or hangs up."""
        waiting = select.poll()
        waiting.register(self.fileno(), select.POLLIN)
        return not waiting.poll(0)


class Cursor(extensions.cursor):
    """Executes and waits."""

    def execute(self, query: Any, values: Any = None) -> None:
        """Run a statement to its end; raises what the server says, or OperationalError in time."""
        super().execute(query, values)
        _wait(self.connection)


def connect(url: str, seconds: float, options: str) -> Connection:
    """Connect within so many seconds; `options` are added to those that the URL has."""
    known = extensions.parse_dsn(url)
    connection = psycopg2.connect(
        url,
        async_=True,
        connection_factory=Connection,
        cursor_factory=Cursor,
        options=f"{known.get('options', '')} {options}".strip(),
        fallback_application_name="sunspool-api",
        client_encoding="UTF8",
        **_KEEPALIVES,
    )
    connection.deadline = time.monotonic() + seconds
    _wait(connection)
    return connection


def _wait(connection: Connection) -> None:
    while (state := connection.poll()) != extensions.POLL_OK:
        waiting = select.poll()
        reading = state == extensions.POLL_READ
        waiting.register(connection.fileno(), select.POLLIN if reading else select.POLLOUT)
        left_s = connection.deadline - time.monotonic()
        if left_s <= 0 or not waiting.poll(left_s * 1000):
            connection.close()
            raise NoAnswer("no answer in time")
