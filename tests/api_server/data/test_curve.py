"""Today's curve: means of 5 minutes, read once, and read again where late samples came."""

from datetime import UTC, datetime, timedelta

import pytest

from api_server.data import closed, curve
from api_server.data.cache import Cache
from api_server.data.database import Store
from api_server.devices import Site
from tests.support import history
from tests.support.servers import Redis

START = datetime(2026, 6, 1, tzinfo=UTC)
NOW = START + timedelta(hours=2, minutes=2)
MINUTE = timedelta(minutes=1)
SITE = Site("home", "curve-meter", ("curve-roof",))


@pytest.fixture
def store(migrated: str) -> Store:
    return Store(migrated)


@pytest.fixture
def cache(redis: Redis) -> Cache:
    cache = Cache(redis.url, 5)
    for device_id in SITE.device_ids:
        cache.forget({device_id: [f"curve:{device_id}", f"battery:{device_id}"]})
    return cache


def meter(minute: float, watts: int) -> dict:
    ts = START + minute * MINUTE
    powers = {"power_w": watts, "import_power_w": max(watts, 0)}
    return {"device_id": "curve-meter", "ts": ts, **powers}


def roof(minute: float, pv: float, battery: float | None, count: int = 1, **more) -> dict:
    return {
        "device_id": "curve-roof",
        "ts": START + minute * MINUTE,
        "pv_power_w": pv,
        "battery_power_w": battery,
        "load_power_w": 0,
        "sample_count": count,
        "battery_soc_pct": None,
        "charge_total_kwh": None,
        **more,
    }


def read(store: Store, cache: Cache, now: datetime = NOW) -> list[dict]:
    return curve.read(store, cache, SITE, START, now)


def test_means_are_weighted_and_the_home_is_what_is_left(store, cache, migrated):
    history.insert(migrated, "p1", [meter(0, 100), meter(1, 300), meter(10, -50)])
    inverter = [
        roof(0, 1000, 400, 3, battery_soc_pct=50),
        roof(4.9, 2000, 800, battery_soc_pct=54),
        roof(10, 500, None, charge_total_kwh=7),
    ]
    history.insert(migrated, "sungrow", inverter)
    first, second = read(store, cache)
    assert first == {
        "start": START.timestamp(),
        "pv_power_w": 1250,
        "battery_power_w": 500,
        "grid_power_w": 200,
        "home_power_w": 950,
        "battery_soc_pct": 51,
    }
    assert second["start"] == (START + 10 * MINUTE).timestamp()
    assert second["pv_power_w"] == 500
    assert second["battery_power_w"] is second["home_power_w"] is None


def test_a_house_without_a_battery_has_a_home(store, cache, migrated):
    history.insert(migrated, "p1", [meter(0, -100)])
    history.insert(migrated, "sungrow", [roof(0, 400, None)])
    assert read(store, cache)[0]["home_power_w"] == 300
    assert read(store, cache)[0]["battery_power_w"] == 0
    history.insert(migrated, "sungrow", [roof(121, 400, None, battery_soc_pct=40)])  # it has one
    assert read(store, cache)[0]["battery_power_w"] is None


def test_closed_periods_are_read_once(store, cache, migrated):
    history.insert(migrated, "p1", [meter(n, n) for n in range(122)])
    before = read(store, cache)
    # What comes without anyone being told is not looked for again, but for the open period.
    history.insert(migrated, "p1", [meter(1.5, 9000), meter(121.5, 9000)])
    after = read(store, cache)
    assert after[:-1] == before[:-1]
    assert after[-1]["grid_power_w"] > before[-1]["grid_power_w"]


def test_late_samples_have_their_periods_read_again(store, cache, migrated):
    history.insert(migrated, "p1", [meter(n, 0) for n in range(122)])
    read(store, cache)
    history.insert(migrated, "p1", [meter(1.5, 600)])
    cache.forget({"curve-meter": closed.outdated("curve-meter", START + 1.5 * MINUTE, NOW)})
    assert read(store, cache)[0]["grid_power_w"] == 100


def test_samples_of_the_open_period_cost_nothing(store, cache, migrated):
    history.insert(migrated, "p1", [meter(n, 0) for n in range(122)])
    read(store, cache)
    kept = cache.recall("curve:curve-meter")
    cache.forget({"curve-meter": closed.outdated("curve-meter", NOW - timedelta(seconds=30), NOW)})
    assert cache.recall("curve:curve-meter") == kept is not None


def test_a_period_closes_when_its_time_has_come(store, cache, migrated):
    history.insert(migrated, "p1", [meter(n, n) for n in range(122)])
    read(store, cache)
    history.insert(migrated, "p1", [meter(n, n) for n in range(122, 140)])
    later = read(store, cache, NOW + 20 * MINUTE)
    assert [one["grid_power_w"] for one in later[23:26]] == [117, 122, 127]
    assert read(store, cache, NOW + 20 * MINUTE) == later


def test_every_hour_all_periods_are_read_again(store, cache, migrated):
    """Whatever a Redis comes back with is not shown for the rest of the day."""
    history.insert(migrated, "p1", [meter(n, 0) for n in range(122)])
    read(store, cache)
    history.insert(migrated, "p1", [meter(1.5, 600)])
    hour = [read(store, cache, NOW + minute * MINUTE)[0] for minute in (0, 30, 59, 60)]
    assert [one["grid_power_w"] for one in hour] == [0, 0, 0, 100]


def test_another_day_begins_anew(store, cache, migrated):
    history.insert(migrated, "p1", [meter(n, 0) for n in range(122)])
    read(store, cache)
    tomorrow = START + timedelta(days=1)
    assert curve.read(store, cache, SITE, tomorrow, tomorrow + MINUTE) == []


def test_what_comes_while_one_reads_is_not_lost(store, cache, migrated):
    """A cached value is replaced only if nobody has had it forgotten meanwhile."""
    history.insert(migrated, "p1", [meter(n, 0) for n in range(122)])
    claim = cache.claim("curve:curve-meter")
    cache.forget({"curve-meter": closed.outdated("curve-meter", START, NOW)})
    cache.replace("curve:curve-meter", claim, "{}", 60)
    assert cache.recall("curve:curve-meter") is None


def test_without_redis_every_period_is_read(store, migrated):
    history.insert(migrated, "p1", [meter(n, n) for n in range(122)])
    nobody = Cache("redis://127.0.0.1:1/0", 5)
    assert len(read(store, nobody)) == 25
