"""Who asks too often or fails too often waits: he only."""

import random
import secrets
from collections.abc import Iterator

import pytest

from api_server.web.limits import FAILED_LOGINS
from tests.support.client import Client
from tests.support.servers import Api, Redis, open_folder, wait_until

pytestmark = pytest.mark.slow

PATH = "/v1/realtime?device_id=roof"
LIMIT = 5


@pytest.fixture
def limited(settings: dict[str, str]) -> Iterator[Api]:
    """An API that allows a few requests, with tokens that no other test has counted."""
    tokens = f"one-{secrets.token_hex(4)}:roof,two-{secrets.token_hex(4)}:roof"
    changes = {
        "DEVICE_TOKENS": tokens,
        "READ_TOKENS": "",
        "MAX_REQUESTS_PER_MINUTE": str(LIMIT),
    }
    with open_folder("sunspool-limit-") as folder, Api(folder, {**settings, **changes}) as api:
        yield api


def clients(api: Api) -> list[Client]:
    """One for each token."""
    return [Client(api.url, one.split(":")[0]) for one in api.env["DEVICE_TOKENS"].split(",")]


def test_a_token_that_asks_too_often_waits_and_the_others_do_not(limited):
    runaway, other = clients(limited)
    # Two windows at most, should a minute end meanwhile.
    statuses = [runaway.get(PATH).status for _ in range(3 * LIMIT)]
    assert statuses[:LIMIT] == [404] * LIMIT
    assert LIMIT <= statuses.count(429) <= 2 * LIMIT
    assert set(statuses) == {404, 429}
    refused = runaway.post() if statuses[-1] == 429 else runaway.get(PATH)
    if refused.status == 429:
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert set(refused.json) == {"detail"}
    assert other.get(PATH).status == 404


def fail_until_refused(client, address):
    """Log in with a wrong token; Redis, which counts, may be left alone for some seconds."""
    statuses = [client.get(PATH, X_Forwarded_For=address).status for _ in range(FAILED_LOGINS)]
    assert statuses == [401] * FAILED_LOGINS
    later = set()
    wait_until(
        lambda: later.add(client.get(PATH, X_Forwarded_For=address).status) or 429 in later,
        60,
        "the address to be refused",
    )
    assert later <= {401, 429}


def test_an_address_that_fails_too_often_waits_but_who_has_a_token_is_served(limited):
    good, _ = clients(limited)
    stranger = f"10.0.{random.randrange(250)}.{random.randrange(250)}"
    wrong = Client(limited.url, "wrong")
    fail_until_refused(wrong, f"1.2.3.4, {stranger}")
    assert good.get(PATH, X_Forwarded_For=stranger).status == 404
    assert wrong.get(PATH, X_Forwarded_For=f"{stranger}, 1.2.3.4").status == 401


@pytest.mark.parametrize("setting", ["0", "1000000"])
def test_failed_logins_are_limited_however_often_a_token_may_ask(settings, setting):
    with open_folder("sunspool-limit-") as folder:
        env = {**settings, "MAX_REQUESTS_PER_MINUTE": setting}
        with Api(folder, env) as api:
            address = f"10.1.{random.randrange(250)}.{random.randrange(250)}"
            wrong = Client(api.url, "wrong")
            fail_until_refused(wrong, address)
            assert [Client(api.url).get(PATH).status for _ in range(20)] == [404] * 20


def test_without_redis_nobody_is_limited(limited, settings):
    with open_folder("sunspool-redis-") as folder, Redis(folder) as redis:
        env = {**limited.env, "REDIS_URL": redis.url}
        with Api(folder / "api", env) as api:
            client, _ = clients(api)
            redis.kill()
            assert {client.get(PATH).status for _ in range(3 * LIMIT)} == {404}
