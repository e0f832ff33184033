"""The store: statements in one transaction, or each in its own, and always with a deadline."""

import io
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest

from api_server.data.database import ANSWER_S, HISTORY_S, DatabaseUnavailable, Store
from tests.support.history import copy
from tests.support.servers import Postgres, free_port, wait_until

pytestmark = pytest.mark.slow

TABLE = "CREATE TABLE one (number integer PRIMARY KEY)"


@pytest.fixture
def store(database: str) -> Store:
    """A store on an empty database with a table."""
    store = Store(database)
    store.run(lambda cursor: cursor.execute(TABLE))
    return store


def numbers(store: Store) -> list[int]:
    """What the table holds."""

    def work(cursor: Any) -> list[int]:
        cursor.execute("SELECT number FROM one ORDER BY 1")
        return [number for (number,) in cursor.fetchall()]

    return store.run(work)


def test_a_transaction_is_committed_as_a_whole(store, database):
    def work(cursor: Any) -> int:
        cursor.execute("INSERT INTO one VALUES (1)")
        assert numbers(Store(database)) == []
        cursor.execute("INSERT INTO one VALUES (2)")
        return 7

    assert store.transaction(work) == 7
    assert numbers(Store(database)) == [1, 2]


def test_what_the_database_refuses_undoes_the_whole_transaction(store):
    def work(cursor: Any) -> None:
        cursor.execute("INSERT INTO one VALUES (1)")
        cursor.execute("INSERT INTO one VALUES (1)")

    with pytest.raises(DatabaseUnavailable, match="UniqueViolation"):
        store.transaction(work)
    assert numbers(store) == []


def test_an_error_of_the_work_undoes_the_whole_transaction(store):
    def work(cursor: Any) -> None:
        cursor.execute("INSERT INTO one VALUES (1)")
        raise LookupError

    with pytest.raises(LookupError):
        store.transaction(work)
    assert numbers(store) == []


def test_a_commit_that_a_node_may_have_missed_is_run_again(store):
    """Citus only warns when its worker dies while it commits, as this trigger does."""

    def prepare(cursor: Any) -> None:
        cursor.execute("""
            CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE WARNING 'failed to commit transaction on worker:5432'; RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER late AFTER INSERT ON one
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION warn();
        """)

    def work(cursor: Any) -> int:
        cursor.execute("INSERT INTO one VALUES (1) ON CONFLICT DO NOTHING")
        return cursor.rowcount

    store.run(prepare)
    assert store.transaction(work) == 0  # it was run again, and found that it had been committed
    assert numbers(store) == [1]


def test_a_transaction_whose_connection_is_lost_is_run_again(store, postgres):
    tries = []

    def work(cursor: Any) -> None:
        cursor.execute("INSERT INTO one VALUES (1)")
        tries.append(cursor.connection.info.backend_pid)
        if len(tries) == 1:
            postgres.query("SELECT pg_terminate_backend(%s, 5000)", (tries[0],))
        cursor.execute("INSERT INTO one VALUES (2)")

    store.transaction(work)
    assert len(tries) == 2
    assert numbers(store) == [1, 2]


def pids(postgres: Postgres, database: str) -> list[int]:
    """The processes of a database's connections."""
    name = database.rpartition("/")[2]
    query = "SELECT pid FROM pg_stat_activity WHERE datname = %s"
    return [pid for (pid,) in postgres.query(query, (name,))]


@contextmanager
def frozen(*family: int) -> Iterator[None]:
    """Processes that are stopped meanwhile."""
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("seconds", [0.5, HISTORY_S])
def test_a_frozen_backend_is_given_up_in_time(store, database, postgres, seconds):
    """However long the statement might take: a server must first be alive."""
    numbers(store)
    with frozen(*pids(postgres, database)):
        start = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="NoAnswer"):
            store.run(lambda cursor: cursor.execute("SELECT 1"), seconds)
        assert time.monotonic() - start < ANSWER_S + 1
        assert numbers(store) == []  # on a new connection


def test_a_frozen_postmaster_is_given_up_in_time(database, postgres):
    with frozen(postgres.pid):
        start = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="no answer in time"):
            numbers(Store(database))
        assert time.monotonic() - start < ANSWER_S + 1


def test_what_is_given_up_ends_on_the_server_too(store, database, postgres):
    with pytest.raises(DatabaseUnavailable, match="NoAnswer"):
        store.run(lambda cursor: cursor.execute("SELECT pg_sleep(60)"), 0.3)
    wait_until(lambda: not pids(postgres, database), 10, "the statement to end")


def test_a_short_statement_after_a_long_one_has_its_own_deadline(store):
    store.run(lambda cursor: cursor.execute("SELECT 1"), HISTORY_S)
    start = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        store.run(lambda cursor: cursor.execute("SELECT pg_sleep(60)"), 1)
    assert time.monotonic() - start < 2


def test_copy_is_done_where_no_callback_waits(store, database):
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.ProgrammingError, match="asynchronous callback"):
            cursor.copy_expert("COPY one FROM STDIN", io.StringIO("8\n9\n"))
        copy(cursor, "COPY one FROM STDIN", io.StringIO("8\n9\n"))
    connection.close()
    assert numbers(store) == [8, 9]


def test_a_server_that_is_away_is_named(postgres, database):
    port = free_port()
    with pytest.raises(DatabaseUnavailable, match=f"127.0.0.1, port {port}"):
        numbers(Store(database.replace(str(postgres.port), str(port))))
