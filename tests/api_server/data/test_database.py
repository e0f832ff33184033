"""The store: several statements in one transaction, or each in its own."""

from typing import Any

import pytest

from api_server.data.database import DatabaseUnavailable, Store

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
