"""An API under gunicorn on a migrated database, and who asks it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis as RedisClient

from tests.support.client import READERS, TOKENS, Client
from tests.support.servers import ROOT, Api, Postgres, Redis, migrated_database, open_folder


@pytest.fixture
def settings(migrated: str, redis: Redis) -> dict[str, str]:
    """Settings of an API with two devices, an other one and a reader, on empty servers."""
    RedisClient.from_url(redis.url).flushall()  # the newest samples are there by device alone
    return {
        "DATABASE_URL": migrated,
        "REDIS_URL": redis.url,
        "DEVICE_TOKENS": TOKENS,
        "READ_TOKENS": READERS,
        "MAX_REQUESTS_PER_MINUTE": "0",
    }


@pytest.fixture(scope="module")
def shared_api(postgres: Postgres, redis: Redis) -> Iterator[Api]:
    """One API for the tests of a module that do not mind each other's samples."""
    name = migrated_database(postgres)
    environ = {
        "DATABASE_URL": name,
        "REDIS_URL": redis.url,
        "DEVICE_TOKENS": TOKENS,
        "READ_TOKENS": READERS,
        "MAX_REQUESTS_PER_MINUTE": "0",
        "CORS_ORIGINS": "https://app.example",
    }
    with open_folder("sunspool-api-") as folder, Api(folder, environ) as api:
        yield api
    postgres.drop_database(name.rpartition("/")[2])


@pytest.fixture
def roof(shared_api: Api) -> Client:
    """The inverter's client."""
    return Client(shared_api.url)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the program whose migrations may be changed."""
    for part in ("api_server", "edge_agent", "sql"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.pyc"))
    return tmp_path
