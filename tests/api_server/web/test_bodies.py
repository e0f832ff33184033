"""A body that is refused: its sender gets the answer, however much he sends."""

import http.client
import ssl
from collections.abc import Iterator

import pytest

from tests.support.client import INVERTER, METER, READERS, TOKENS, Client
from tests.support.servers import Api, Redis, open_folder

pytestmark = pytest.mark.slow

MIB = 1 << 20


@pytest.fixture(scope="module")
def secure(tls, redis: Redis) -> Iterator[Api]:
    """An API that speaks TLS itself; it needs no database to refuse."""
    env = {
        "DATABASE_URL": "postgresql:///none?host=/nowhere",
        "REDIS_URL": redis.url,
        "DEVICE_TOKENS": TOKENS,
        "READ_TOKENS": READERS,
    }
    with open_folder("sunspool-huge-") as folder, Api(folder, env, tls=tls) as api:
        yield api


def post(api: Api, size: int, token: str, path: str = "/v1/ingest", chunked: bool = False) -> int:
    """The status of a request whose body is sent whole before the answer is read."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", api.port, context=context, timeout=30)
    body = iter([bytes(65_536)] * (size // 65_536)) if chunked else bytes(size)
    try:
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("POST", path, body, headers, encode_chunked=chunked)
        answer = connection.getresponse()
        assert answer.getheader("Content-Type") == "application/json"
        assert answer.read().startswith(b'{"detail":')
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize("size", [4 * MIB, 8 * MIB, 16 * MIB, 32 * MIB])
@pytest.mark.parametrize(("token", "status"), [("roof-token", 413), ("wrong", 401)])
def test_the_answer_to_a_huge_body_arrives_over_tls(secure, token, status, size):
    assert post(secure, size, token) == status


@pytest.mark.parametrize(
    ("token", "path", "chunked", "status"),
    [
        ("roof-token", "/v1/ingest", True, 411),
        ("wrong", "/v1/ingest", True, 401),
        ("reader-token", "/v1/ingest", False, 413),
        ("roof-token", "/nowhere", False, 404),
        ("roof-token", "/v1/realtime", False, 405),
        ("wrong", "/v1/realtime", True, 401),
    ],
)
def test_whatever_is_refused_is_read_on(secure, token, path, chunked, status):
    for _ in range(3):
        assert post(secure, 9 * MIB, token, path, chunked) == status


def test_the_next_request_on_another_connection_is_served(shared_api):
    meter = Client(shared_api.url, "meter-token")
    assert meter.ask("POST", "/v1/ingest", bytes(20 * MIB)).status == 413
    assert meter.post(METER).status == 200
    assert Client(shared_api.url).post(INVERTER).status == 200
