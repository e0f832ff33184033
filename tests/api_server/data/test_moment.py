"""Values that many viewers ask for at the same time: asked for once, and never old."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from api_server.data import moment
from api_server.data.cache import Cache
from tests.support.servers import Redis

START = datetime(2026, 6, 1, tzinfo=UTC)
NOW = START + timedelta(hours=10)
KEY, DEVICE = "viewed:roof", "viewed-roof"


class Viewer:
    """Reads one value, and counts how often that had to be asked for."""

    def __init__(self, url: str, database: str = "one"):
        self.cache, self.asked = Cache(url, 5, database), 0
        self.cache.forget({DEVICE: [KEY]})

    def read(self, seconds: float = 0, start: datetime = START, key: str = KEY) -> int:
        return self.read_with(self.count, seconds, start, key)

    def read_with(
        self,
        ask: Callable[[], int],
        seconds: float = 0,
        start: datetime = START,
        key: str = KEY,
    ) -> int:
        return moment.read(self.cache, key, start, NOW + timedelta(seconds=seconds), ask)

    def count(self) -> int:
        self.asked += 1
        return self.asked


@pytest.fixture
def viewer(redis: Redis) -> Viewer:
    return Viewer(redis.url)


def test_it_is_asked_for_once_in_five_seconds(viewer):
    assert [viewer.read(seconds) for seconds in (0, 0.1, 4.9, -0.1)] == [1, 1, 1, 1]
    assert [viewer.read(seconds) for seconds in (5, 9.9, 10)] == [2, 2, 3]


def test_it_is_gone_from_redis_as_soon(viewer, redis):
    viewer.read()
    assert 0 < viewer.cache._server().pttl(f"one:{KEY}") <= 5000


def test_who_sends_has_it_forgotten(viewer):
    viewer.read()
    viewer.cache.forget({DEVICE: [KEY]})
    assert viewer.read() == 2


def test_what_came_while_it_was_asked_for_is_not_hidden(viewer):
    def ask() -> int:
        viewer.cache.forget({DEVICE: [KEY]})  # an ingest, after the database was read
        return 77

    assert viewer.read_with(ask) == 77
    assert viewer.read() == 1


def test_another_period_or_site_or_database_has_its_own(viewer, redis):
    viewer.read()
    assert viewer.read(start=START + timedelta(days=1)) == 2
    assert viewer.read(start=START) == 3
    viewer.cache.forget({DEVICE: ["viewed:barn"]})
    assert viewer.read(key="viewed:barn") == 4
    other = Viewer(redis.url, "two")
    assert (other.read(), viewer.read()) == (1, 3)


def test_nothing_is_a_value_too(viewer):
    assert viewer.read_with(lambda: None) is None
    assert viewer.read() is None


def test_without_redis_everyone_asks():
    viewer = Viewer("redis://127.0.0.1:1/0")
    assert [viewer.read(), viewer.read()] == [1, 2]


@pytest.mark.parametrize("text", ["[]", "7", "{}", '{"at": null, "start": 1}', "\xff", '"lease"'])
def test_nonsense_is_not_believed(viewer, text):
    viewer.cache.keep(KEY, text, 60)
    assert viewer.read() == 1
    assert viewer.read() == 1
