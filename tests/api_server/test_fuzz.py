"""Bytes, headers and values that nobody should send: always a JSON error, never a trace of them."""

import json
import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.client import INVERTER, Client
from tests.support.servers import wait_until

pytestmark = pytest.mark.slow

MARKER = "c0ffee-do-not-echo"
NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, "1e-999", "0x10"]
OTHERS = ["null", "true", '""', "[]", "{}", '"1"', f'"{MARKER}"', '"\\ud800"', '"\\u0000"']
TIMES = [
    "1970-01-01T00:00:00Z",
    "2099-01-01T00:00:00Z",
    "infinity",
    "2026-06-30T23:59:60Z",
    "2026-06-01T12:00:00",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    MARKER,
]
PARAMETERS = ["", "day", "DAY", "all", "\0", "%", MARKER, "1" * 500, "é", "' OR 1=1 --", "-1"]
ROUNDS = 1000


def resident_kb(pid: int) -> int:
    """The memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


def bad_body(chance: random.Random) -> bytes:
    """An ingest body with one thing wrong, or many."""
    sample = json.dumps(INVERTER)
    field = chance.choice([*INVERTER, "pv_total_kwh", "sample_count", "running_state"])
    value = chance.choice(NUMBERS + OTHERS + [f'"{time}"' for time in TIMES])
    broken = json.dumps({**INVERTER, field: MARKER}).replace(f'"{MARKER}"', value, 1)
    bodies = [
        f'{{"samples": [{broken}]}}',
        f'{{"samples": [{sample}, {broken}, {value}]}}',
        f'{{"samples": [{sample[:-1]}, "ts": {value}}}]}}',
        f'{{"samples": {value}}}',
        value,
        "[" * chance.choice([10, 100_000]),
        '{"samples":' * 2000,
        chance.randbytes(chance.randrange(2000)).decode("latin-1"),
        f'{{"samples": [{sample}]}}'[: chance.randrange(200)],
    ]
    return chance.choice(bodies).encode("utf-8", "surrogatepass")


def assert_harmless(answer, stored_is_fine: bool) -> None:
    """A JSON answer below 500 that says nothing of what was sent."""
    assert answer.status < 500, answer.text
    assert answer.headers["Content-Type"] == "application/json", answer.text
    assert stored_is_fine or answer.status >= 400 or answer.json
    assert MARKER not in answer.text
    assert "Traceback" not in answer.text


def test_no_body_is_ever_more_than_an_error(shared_api):
    chance, roof = random.Random(7), Client(shared_api.url)
    statuses: dict[int, int] = {}
    wait_until(lambda: len(shared_api.worker_pids()) == 2, 20, "both workers")
    before: dict[int, int] = {}
    for number in range(ROUNDS):
        if number == ROUNDS // 5:  # by then each has used its threads and its largest buffers
            before = {pid: resident_kb(pid) for pid in shared_api.worker_pids()}
        answer = roof.ask("POST", "/v1/ingest", bad_body(chance))
        assert_harmless(answer, stored_is_fine=True)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    print(f"bodies: {ROUNDS} sent, answers by status: {statuses}")
    assert set(statuses) <= {200, 403, 413, 422}
    assert statuses[422] > ROUNDS / 2
    assert before.keys() == set(shared_api.worker_pids())
    assert max(resident_kb(pid) - memory for pid, memory in before.items()) < 20_000


def test_no_parameter_is_ever_more_than_an_error(shared_api):
    chance, roof = random.Random(8), Client(shared_api.url)
    statuses: dict[int, int] = {}
    paths = ["/v1/realtime", "/v1/series", "/v1/daily-energy", "/v1/capacity/month/2026-06"]
    paths += ["/v1/capacity/now", "/v1/capacity/year", "/v1/cost"]
    for _ in range(ROUNDS):
        names = ["device_id", "frame", "date", "bucket", "complete", MARKER]
        query = "&".join(
            f"{name}={http_quote(chance.choice([*PARAMETERS, 'roof']))}"
            for name in chance.sample(names, chance.randrange(1, 6))
        )
        path = chance.choice(
            [*paths, f"/v1/capacity/month/{http_quote(chance.choice(PARAMETERS))}"]
        )
        answer = roof.get(f"{path}?{query}")
        assert_harmless(answer, stored_is_fine=True)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    print(f"parameters: {ROUNDS} sent, answers by status: {statuses}")
    assert set(statuses) <= {200, 400, 403, 404, 422}


def http_quote(text: str) -> str:
    """Percent-encode everything, badly formed text too."""
    return "".join(f"%{byte:02x}" for byte in text.encode()) if text != "%" else "%"


LOGIN = b"Authorization: Bearer roof-token\r\n"
SECRET = MARKER.encode()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\n" + LOGIN + LOGIN + b"\r\n",
        b"GET /v1/realtime HTTP/1.1\r\nHost: " + SECRET + b" <\r\n" + LOGIN + b"\r\n",
        b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nAuthorization Bearer " + SECRET + b"\r\n\r\n",
        b"GET /" + SECRET + b" HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: /" + SECRET + b"\r\n\r\n",
        b"GET /" + SECRET + b"\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //v1//realtime?device_id=" + SECRET + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://" + SECRET + b"/v1/realtime HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"TRACE /v1/ingest HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"\r\n",
        b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"Content-Length: 99\r\n\r\n{}",
        b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"Content-Length: 1\r\n\r\n{}",
        b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\n"
        + LOGIN
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + SECRET,
        b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + SECRET + b"\r\n\r\n",
        b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\nExpect: " + SECRET + b"\r\n\r\n",
        b"G\0T /" + SECRET + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_what_is_hardly_http_is_refused_and_the_next_request_is_served(shared_api, request_bytes):
    with socket.create_connection(("127.0.0.1", shared_api.port), timeout=10) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request_bytes)
            connection.shutdown(socket.SHUT_WR)
        said = b""
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                said += piece
    if said:
        status, _, rest = said.partition(b"\r\n")
        assert 400 <= int(status.split()[1]) < 500, status
        assert b"Content-Type: application/json" in rest
    assert SECRET not in said
    assert MARKER not in shared_api.log()
    assert Client(shared_api.url, None).get("/").status == 200


@pytest.mark.full
def test_clients_that_drip_hold_no_thread_for_long(shared_api):
    head = b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer roof-token\r\n"
    with ExitStack() as stack:
        dripping = []
        for number in range(40):
            connection = socket.create_connection(("127.0.0.1", shared_api.port), timeout=10)
            dripping.append(stack.enter_context(connection))
            connection.sendall(head + (b"Content-Length: 1000\r\n\r\n{" if number % 2 else b""))

        def served() -> bool:
            for connection in dripping:
                with suppress(OSError):
                    connection.send(b"x")
            with suppress(TimeoutError):
                return Client(shared_api.url, None).get("/").status == 200
            return False

        wait_until(lambda: all(served() for _ in range(5)), 100, "the API to get free")
        assert served()
