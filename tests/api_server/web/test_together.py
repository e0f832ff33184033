"""Ingests that arrive at the same time share a transaction, and nothing else."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from time import monotonic
from typing import Any
from unittest.mock import Mock

import psycopg2
import pytest

from api_server.data.samples import LOCK
from api_server.devices import Device
from api_server.web import heads
from api_server.web.shortcut import Batch
from api_server.web.together import Together
from api_server.web.worker import ARRIVAL_S
from tests.support.client import INVERTER, METER
from tests.support.servers import Api, Postgres, Redis, migrated_database, open_folder, wait_until

INVERTERS = [f"roof{number}" for number in range(12)]
METERS = [f"meter{number}" for number in range(4)]
DEVICES = INVERTERS + METERS
TOKENS = ",".join(f"t-{one}:{one}:{'p1' if one in METERS else 'sungrow'}" for one in DEVICES)
TRANSACTIONS = "SELECT count(DISTINCT xmin::text) FROM sungrow_samples"
STORED = "SELECT device_id, count(*) FROM sungrow_samples GROUP BY 1 UNION ALL "
STORED += "SELECT device_id, count(*) FROM p1_samples GROUP BY 1"


@pytest.fixture(scope="module")
def api(postgres: Postgres, redis: Redis) -> Iterator[Api]:
    """One worker, to which all come."""
    url = migrated_database(postgres)
    env = {"DATABASE_URL": url, "REDIS_URL": redis.url, "DEVICE_TOKENS": TOKENS}
    with open_folder("sunspool-together-") as folder, Api(folder, env, workers=1) as api:
        yield api
    postgres.drop_database(url.rpartition("/")[2])


@pytest.fixture
def database(api: Api) -> Iterator[psycopg2.extensions.connection]:
    """A connection of the owner to tables without samples, each statement its own transaction."""
    with closing(psycopg2.connect(api.env["DATABASE_URL"])) as connection:
        connection.autocommit = True
        connection.cursor().execute("TRUNCATE sungrow_samples, p1_samples")
        yield connection


@pytest.fixture
def connect(api: Api, database) -> Iterator[Callable[..., socket.socket]]:
    """Makes connections; over each a request of a device has been sent, if one is named."""
    with ExitStack() as stack:

        def make(device: str = "", **options: Any) -> socket.socket:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", api.port), 10))
            sock.sendall(message(device, **options) if device else b"")
            return sock

        yield make


def message(
    device: str, minute: int = 0, samples: int = 3, more: str = "", told: Any = None
) -> bytes:
    """A whole request of a device."""
    form = METER if device in METERS else INVERTER
    times = [f"2026-06-01T12:{minute:02}:{second:02}Z" for second in range(samples)]
    sent = [{**form, "device_id": device, "ts": ts} for ts in times]
    body = json.dumps({"samples": sent, "agent": told})
    return (
        f"POST /v1/ingest HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer t-{device}\r\n"
        f"{more}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def answer(sock: socket.socket) -> tuple[int, dict[str, int], str | None]:
    """Status and body of the next answer, and what it says of the connection."""
    with closing(http.client.HTTPResponse(sock)) as response:
        response.fp.close()  # it would also take the beginning of the next answer
        response.fp = sock.makefile("rb", buffering=0)
        response.begin()
        return response.status, json.loads(response.read()), response.headers["Connection"]


def counts(new: int, again: int = 0, connection: str = "keep-alive") -> tuple:
    """The answer to samples that were stored."""
    told = {"inserted": new, "received": new + again, "duplicates": again}
    return 200, told, connection


def ask(database, query: str) -> list[tuple]:
    """The rows of a query."""
    with database.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def send_all(api, connect, database, **options: Any) -> dict[str, socket.socket]:
    """A request of each device; the first ones are held up until all have been sent."""
    with closing(psycopg2.connect(api.env["DATABASE_URL"])) as holder:
        holder.cursor().execute("LOCK TABLE sungrow_samples IN EXCLUSIVE MODE")
        sockets = {device: connect(device, **options) for device in DEVICES}
        blocked = (
            "SELECT FROM pg_locks WHERE relation = 'sungrow_samples'::regclass AND NOT granted"
        )
        wait_until(lambda: ask(database, blocked), 5, "a request to be held up")
    return sockets


def test_those_that_wait_share_a_transaction_and_each_is_told_its_own_counts(
    api, connect, database
):
    assert answer(connect("roof3")) == counts(3)
    told = {device: answer(sock) for device, sock in send_all(api, connect, database).items()}
    assert told == {device: counts(3) for device in DEVICES} | {"roof3": counts(0, 3)}
    assert dict(ask(database, STORED)) == dict.fromkeys(DEVICES, 3)
    assert ask(database, TRANSACTIONS)[0][0] < len(INVERTERS)


def test_a_batch_that_the_database_refuses_spoils_no_other(api, connect, database):
    cursor = database.cursor()
    cursor.execute("ALTER TABLE sungrow_samples ADD CONSTRAINT not5 CHECK (device_id <> 'roof5')")
    told = {device: answer(sock) for device, sock in send_all(api, connect, database).items()}
    cursor.execute("ALTER TABLE sungrow_samples DROP CONSTRAINT not5")
    assert told.pop("roof5")[0] == 503
    assert told == {device: counts(3) for device in told}
    assert dict(ask(database, STORED)) == dict.fromkeys(told, 3)


def test_a_device_whose_marks_are_moved_holds_up_no_other(api, connect, database):
    with closing(psycopg2.connect(api.env["DATABASE_URL"])) as alone:
        alone.cursor().execute("SELECT pg_advisory_xact_lock(%s, hashtext('roof2'))", (LOCK,))
        sockets = {device: connect(device) for device in DEVICES}
        waiting = sockets.pop("roof2")
        assert [answer(sock) for sock in sockets.values()] == [counts(3)] * len(sockets)
        assert dict(ask(database, STORED)) == dict.fromkeys(sockets, 3)
    assert answer(waiting) == counts(3)


def test_reports_that_cannot_be_written_are_not_waited_for_in_turn(api, connect, database):
    with closing(psycopg2.connect(api.env["DATABASE_URL"])) as holder:
        holder.cursor().execute("LOCK TABLE agents IN EXCLUSIVE MODE")
        sockets = send_all(api, connect, database, told={"version": "1"})
        assert [answer(sock) for sock in sockets.values()] == [counts(3)] * len(sockets)


def test_a_group_has_no_more_samples_than_one_request_may():
    sizes, groups = [600, 400, 1, 1000, 1, 2000], []
    batches = [
        Batch(Device(f"roof{number}", "sungrow"), {"ts": [0] * size}, None, None)
        for number, size in enumerate(sizes)
    ]
    shortcut = Mock(writer=lambda token: (b"", batches[int(token)].device))
    shortcut.read.side_effect = batches
    together = Together(shortcut, lambda _store, group: groups.append(group), Mock())
    for number in range(len(sizes)):
        whole = GOOD.replace(b"Bearer t", b"%d" % number).replace(b"12", b"1") + b"."
        assert together.offer(number, whole) is None
    for _ in sizes:
        together.go()
        if groups:
            together.settled()
    held = [[len(one.batch.columns["ts"]) for one in group] for group in groups]
    assert held == [[600, 400], [1], [1000], [1], [2000]]


def test_connections_that_are_kept_leave_room_for_others(api):
    env = {**api.env, "GUNICORN_CMD_ARGS": "--worker-connections 10"}
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("sunspool-room-"))
        port = stack.enter_context(Api(folder, env, workers=1)).port
        for device in INVERTERS:  # two more than it may have
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            sock.sendall(message(device))
            assert answer(sock)[0] == 200


def test_connections_that_clients_leave_open_hold_up_nobody(connect):
    left = [connect() for _ in range(8)]
    for sock in left:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    for sock in left:
        assert answer(sock)[::2] == (200, "close")
    assert answer(connect("roof0")) == counts(3)
    assert [sock.recv(1) for sock in left] == [b""] * len(left)


def test_requests_may_come_in_pieces_or_two_at_once_and_one_that_ends_is_refused(connect):
    whole, second, sock = message("roof0"), message("roof0", minute=1), connect()
    for piece in (whole[:40], whole[40:-500], whole[-500:-20], whole[-20:]):
        sock.sendall(piece)
    assert answer(sock) == counts(3)
    sock.sendall(whole + second)
    assert [answer(sock), answer(sock)] == [counts(0, 3), counts(3)]
    sock.sendall(whole[:-1])
    sock.shutdown(socket.SHUT_WR)
    assert answer(sock)[0] == 408


def test_the_rest_of_a_request_is_waited_for(connect):
    whole, sock = message("roof0"), connect()
    sock.sendall(whole[:-10])
    sock.settimeout(1.5)  # until a thread waits for it
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.sendall(whole[-10:])
    assert answer(sock) == counts(3)


@pytest.mark.full
def test_a_request_that_drips_is_refused_in_time(connect):
    whole, sock, began_s = message("roof0", samples=9), connect(), monotonic()
    head, _, body = whole.partition(b"\r\n\r\n")
    sock.sendall(head + b"\r\n\r\n")
    sock.settimeout(0.2)
    said = b""
    for byte in body[:100]:
        sock.sendall(bytes([byte]))
        with suppress(TimeoutError, ConnectionError):
            if said := sock.recv(100):
                break
    assert said.startswith(b"HTTP/1.1 408 ")
    assert monotonic() - began_s < ARRIVAL_S + 2


def test_a_connection_is_kept_or_closed_as_it_was_asked(connect):
    sock = connect("roof0", more="Connection: keep-alive\r\n")
    assert answer(sock) == counts(3)
    sock.sendall(message("roof0", more="Connection: close\r\n"))
    assert answer(sock) == counts(0, 3, "close")
    assert sock.recv(1) == b""


GOOD = (
    b"POST /v1/ingest HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\nContent-Length: 12\r\n\r\n"
)


def test_an_ordinary_head_is_read():
    head = heads.read(GOOD + b"{}")
    assert head == heads.Head("Bearer t", False, True, len(GOOD), len(GOOD) + 12)
    zipped = GOOD.replace(b"Host: a", b"host: a\r\nContent-Encoding: gzip\r\nConnection: close")
    assert heads.read(zipped)[1:3] == (True, False)


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b"Host: a", b"Host: a\r\nHost: a"),
        (b"Host: a\r\n", b""),
        (b"Host: a", b"Host : a"),
        (b"Host: a", b"Host: a\r\n folded"),
        (b"Host: a", b"Host: a\nTransfer-Encoding: chunked"),
        (b"Host: a", b"Host: a\r\nTransfer-Encoding: chunked"),
        (b"Host: a", b"Host: a\r\nContent-Length: 12"),
        (b"Host: a", b"Host: a\r\ncontent-length: 13"),
        (b"Host: a", b"Host: a\r\nExpect: 100-continue"),
        (b"Host: a", b"Host: a\r\nConnection: upgrade"),
        (b"Host: a", b"Host: a\r\nContent-Encoding: br"),
        (b"Host: a", b"Host: a\r\nX_Forwarded_For: 1"),
        (b"Host: a", b"Host: \xe9"),
        (b"12", b"+12"),
        (b"12", b"1_2"),
        (b"12", b"1234567890"),
        (b"12", b"\xb2"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"POST", b"GET"),
        (b"/v1/ingest", b"/v1/ingest?a"),
        (b"\r\n\r\n", b"\r\n"),
    ],
)
def test_any_other_head_is_left_to_gunicorn(part, other):
    assert heads.read(GOOD.replace(part, other, 1) + b'{"samples":0}') is None
