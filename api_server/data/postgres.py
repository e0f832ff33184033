"""Connections to PostgreSQL that keep a deadline even when the server is frozen.

psycopg2 waits for ever inside libpq, unless a callback waits in its place: then on every
connection of the process, also on those that were not made here, which have no deadline. With a
callback it refuses COPY, for which a process of its own is needed. What a server remarks while
it is connected to (a changed collation) is in `notices`; libpq itself would print it on stderr.
"""

import math
import select
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
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


class NodeAway(psycopg2.OperationalError):
    """Some devices could not be reached; what was to be done is done for the others."""


class NotCommitted(psycopg2.OperationalError):
    """A node of the database broke while it committed; whether it has is not known."""


class Connection(extensions.connection):
    """Breaks when a statement is not done by `deadline`, in seconds of the boot clock."""

    def __init__(self, *arguments: Any, seconds: float, **options: Any):
        self.deadline = time.monotonic() + seconds
        super().__init__(*arguments, **options)
        self.autocommit = True
        self.deadline = math.inf

    @property
    def idle(self) -> bool:
        """Whether the server is silent, as it should be; a dying one says so, or hangs up."""
        waiting = select.poll()
        waiting.register(self.fileno(), select.POLLIN)
        return not waiting.poll(0)


def connect(url: str, seconds: float, options: str = "", name: str = "sunspool-api") -> Connection:
    """Connect within so many seconds, each statement its own transaction.

    `options` are added to those that the URL has; statements have no deadline yet.
    """
    extensions.set_wait_callback(_wait)
    known = extensions.parse_dsn(url)
    try:
        return psycopg2.connect(
            url,
            connection_factory=partial(Connection, seconds=seconds),
            options=f"{known.get('options', '')} {options}".strip(),
            fallback_application_name=name,
            client_encoding="UTF8",
            # Without being asked, libpq loads Kerberos and asks it first: 1.5 MB of each worker.
            gssencmode=known.get("gssencmode", "disable"),
            **_KEEPALIVES,
        )
    except psycopg2.OperationalError as error:  # without a word of where
        where = f"{known.get('host', 'the local socket')}, port {known.get('port', 5432)}"
        raise type(error)(f"{where}: {error}") from None


def committed(cursor: Any, statement: str, values: Any = None) -> tuple:
    """Run a statement that commits, for certain, or raise; its first row, if it has one.

    Citus commits on the worker first, and when that one dies meanwhile it warns and succeeds.
    """
    notices = cursor.connection.notices
    del notices[:]
    cursor.execute(statement, values)
    broken = [notice for notice in notices if "failed to commit transaction" in notice]
    if broken:
        raise NotCommitted(broken[0])
    return cursor.fetchone() if cursor.description else ()


def array(values: list[Any]) -> str:
    """Values as the text of PostgreSQL's array, of which JSON's differs by its brackets only.

    Far faster to make and to read than a literal for each value.
    """
    text = msgspec.json.encode(values)
    if b"e-" in text or b"-0.0" in text:
        # Of what is too small for a real PostgreSQL takes only 0; and 0 has no sign.
        tiny = [isinstance(value, float) and abs(value) < 1e-37 for value in values]
        values = [0 if is_tiny else value for value, is_tiny in zip(values, tiny, strict=True)]
        text = msgspec.json.encode(values)
    return f"{{{text[1:-1].decode()}}}"


def for_each(connection: Connection, devices: Iterable[tuple], work: Callable[..., None]) -> None:
    """Call work(device_id, ...) with each of the tuples, also after it failed for others.

    An id that is None stands for devices of a node that is away. Raises NodeAway in the end.
    """
    missed = []
    for device_id, *rest in devices:
        if device_id is None:
            missed.append("some devices are on a node that does not answer")
            continue
        try:
            work(device_id, *rest)
        except psycopg2.OperationalError as error:
            if connection.closed:
                raise
            connection.cursor().execute("ROLLBACK")
            missed.append(f"{device_id}: {str(error).partition(chr(10))[0]}")
    if missed:
        raise NodeAway(f"done is all that could be reached: {'; '.join(missed[:3])}")


def _wait(connection: extensions.connection) -> None:
    """Wait in psycopg2's place; it closes the connection itself if this raises."""
    deadline = getattr(connection, "deadline", math.inf)
    while (state := connection.poll()) != extensions.POLL_OK:
        waiting = select.poll()
        reading = state == extensions.POLL_READ
        waiting.register(connection.fileno(), select.POLLIN if reading else select.POLLOUT)
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not waiting.poll(None if left_s == math.inf else left_s * 1000):
            raise NoAnswer("no answer in time")
