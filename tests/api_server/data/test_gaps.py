"""Today's gaps: what is kept of closed periods says the same as all samples."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from api_server.data import closed, completeness
from api_server.data.cache import Cache
from api_server.data.completeness import Day
from api_server.data.database import Store
from api_server.devices import Device
from tests.support import history
from tests.support.servers import Redis

ZONE = ZoneInfo("Europe/Brussels")
METER = Device("gaps-meter", "p1")
SECOND = timedelta(seconds=1)
NOBODY = Cache("redis://127.0.0.1:1/0", 5)


@pytest.fixture
def store(migrated: str) -> Store:
    return Store(migrated)


@pytest.fixture
def cache(redis: Redis) -> Cache:
    cache = Cache(redis.url, 5)
    cache.forget({METER.device_id: ["gaps:gaps-meter"]})
    return cache


def insert(url: str, *times: datetime) -> None:
    sample = {"device_id": METER.device_id, "power_w": 1, "import_power_w": 1}
    history.insert(url, "p1", [{**sample, "ts": ts} for ts in times])


def read(store: Store, cache: Cache, now: datetime, interval_s: float = 1) -> Day:
    agent = {"poll_interval_s": interval_s}
    today = now.astimezone(ZONE).date()
    return completeness.read(store, cache, agent, METER, today, ZONE, now)


@pytest.mark.parametrize(
    ("seed", "start"),
    [
        (1, datetime(2026, 6, 1, 22, tzinfo=UTC)),
        (2, datetime(2026, 3, 28, 23, tzinfo=UTC)),  # a day of 23 hours
        (3, datetime(2026, 10, 24, 22, tzinfo=UTC)),  # and one of 25
    ],
)
def test_a_day_read_as_it_goes_on_is_the_day_read_at_once(store, cache, migrated, seed, start):
    """Samples come in order and late, the first ever one in the middle of the day too."""
    chance = random.Random(seed)
    now = start + timedelta(hours=chance.randrange(3))
    while now < start + timedelta(hours=27):
        now += chance.choice((7, 300, 4000, 9000)) * SECOND
        times = {now - chance.choice((0, 1, 3, 4, 50, 200, 3000)) * SECOND for _ in range(2)}
        insert(migrated, *times)
        cache.forget({METER.device_id: closed.outdated(METER.device_id, min(times), now)})
        known = read(store, cache, now)
        assert known == read(store, NOBODY, now)
    assert known.sample_count


def test_closed_periods_are_read_once_for_each_interval(store, cache, migrated):
    start = datetime(2026, 6, 1, 22, tzinfo=UTC)
    now = start + timedelta(hours=2, minutes=2)
    insert(migrated, *(start + 60 * n * SECOND for n in range(122)))
    assert len(read(store, cache, now).gaps) == 122
    # What comes without anyone being told is not looked for again, but for the open period.
    insert(migrated, start + 90 * SECOND, now - 30 * SECOND)
    assert (read(store, cache, now).sample_count, len(read(store, cache, now).gaps)) == (123, 123)
    assert (read(store, cache, now, 30).sample_count, read(store, cache, now, 30).gaps) == (124, [])
