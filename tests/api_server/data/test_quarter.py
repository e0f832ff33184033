"""The running quarter for many viewers: one of them asks the database, until the meter sends."""

from datetime import UTC, datetime, timedelta

import pytest

from api_server import config
from api_server.data import capacity, quarter
from api_server.data.cache import Cache
from api_server.data.database import Store
from tests.support import history
from tests.support.servers import Redis

START = datetime(2026, 6, 1, 10, tzinfo=UTC)
NOW = START + timedelta(minutes=5)
METER = "viewed-meter"


def sample(minute: float, watts: int) -> dict:
    ts = START + timedelta(minutes=minute)
    return {"device_id": METER, "ts": ts, "power_w": watts, "import_power_w": watts}


class Viewer:
    """Asks for the quarter of a meter."""

    def __init__(self, url: str, redis_url: str):
        environ = {"DATABASE_URL": url, "REDIS_URL": redis_url, "DEVICE_TOKENS": f"t:{METER}:p1"}
        self.settings = config.load(environ)
        self.store, self.cache, self.url = Store(url), Cache(redis_url, 5), url
        self.cache.forget({METER: []})

    def average_w(self, now: datetime = NOW) -> float | None:
        """What it is told of the quarter so far."""
        answer = quarter.read(self.store, self.cache, self.settings, METER, now)
        assert answer is None or answer.keys() == self.api(now).keys()
        return answer and answer["average_w"]

    def api(self, now: datetime = NOW) -> dict:
        """What the API answers."""
        return capacity.now(self.store, self.cache, self.settings, METER, now)

    def send(self, *samples: dict) -> None:
        """Have samples come without anyone being told."""
        history.insert(self.url, "p1", list(samples))


@pytest.fixture
def viewer(migrated: str, redis: Redis) -> Viewer:
    return Viewer(migrated, redis.url)


def test_the_second_viewer_costs_the_database_nothing(viewer):
    viewer.send(sample(1, 1000))
    assert viewer.average_w() == 1000
    viewer.send(sample(2, 3000))
    assert viewer.average_w() == 1000
    assert viewer.api()["average_w"] == 2000


def test_a_sample_that_comes_in_is_seen_at_once(viewer):
    viewer.send(sample(1, 1000))
    viewer.average_w()
    viewer.send(sample(2, 3000))
    viewer.cache.forget({METER: []})
    assert viewer.average_w() == 2000


def test_the_next_quarter_begins_anew(viewer):
    viewer.send(sample(1, 1000))
    viewer.average_w()
    assert viewer.average_w(NOW + timedelta(minutes=15)) is None


def test_without_redis_everyone_asks(migrated):
    viewer = Viewer(migrated, "redis://127.0.0.1:1/0")
    viewer.send(sample(1, 1000))
    viewer.average_w()
    viewer.send(sample(2, 3000))
    assert viewer.average_w() == 2000


def test_nonsense_in_redis_is_not_believed(viewer):
    viewer.send(sample(1, 1000))
    for text in ("[]", "{}", '{"quarter_start": 1, "quarter_end": null}', "\xff"):
        viewer.cache.keep(f"quarter:{METER}", text, 60)
        assert viewer.average_w() == 1000
