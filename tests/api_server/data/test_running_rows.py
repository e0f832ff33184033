"""The balance of a period that runs: what is kept of its closed quarters says the same as all."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from api_server.data import balance, closed
from api_server.data.cache import Cache
from api_server.data.database import Store
from api_server.data.frames import Frame
from api_server.devices import Site
from tests.support import history
from tests.support.servers import Redis

ZONE = ZoneInfo("Europe/Brussels")
SITE = Site("home", "rows-meter", ("rows-roof",))
MINUTE = timedelta(minutes=1)
STEPS = (2, 10, 14, 17, 200, 1500)  # minutes from one look to the next


class House:
    """Two devices whose counters rise, fall, jump and are not known, as chance wants it."""

    def __init__(self, url: str, chance: random.Random):
        self._url, self._chance = url, chance
        self._kwh = {"p1": 100.0, "sungrow": 50.0}

    def send(self, *times: datetime) -> None:
        """A sample of each device at each of these times."""
        for kind in self._kwh:
            history.insert(self._url, kind, [self._sample(kind, ts) for ts in times])

    def _sample(self, kind: str, ts: datetime) -> dict:
        self._kwh[kind] += self._chance.choice((0, 0.1, 0.3))
        if self._chance.random() < 0.02:
            self._kwh[kind] = self._chance.choice((0.0, 900.0))
        kwh = self._chance.choice((self._kwh[kind],) * 9 + (None,))
        if kind == "p1":
            powers = {"power_w": 1, "import_power_w": 1}
            return {
                "device_id": SITE.meter,
                "ts": ts,
                **powers,
                "energy_import_kwh": kwh,
                "energy_export_kwh": 5.0,
            }
        device = {"device_id": SITE.inverters[0], "ts": ts, "pv_power_w": 1}
        has_battery = ts.date().isoformat() > "2026-10-25"
        told = {"charge_total_kwh": kwh, "discharge_total_kwh": 2.0} if has_battery else {}
        no_battery = dict.fromkeys(("charge_total_kwh", "discharge_total_kwh"))
        return {**device, "pv_total_kwh": kwh, **no_battery, **told}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_period_read_as_it_goes_on_is_the_period_read_at_once(migrated, redis: Redis, seed):
    """Over a night of 25 hours and the end of a month, with late samples and a first battery."""
    chance = random.Random(seed)
    store, cache = Store(migrated), Cache(redis.url, 5, f"rows-{seed}")
    house, now = House(migrated, chance), datetime(2026, 10, 24, 19, 50, tzinfo=UTC)
    house.send(now - timedelta(days=70), now - timedelta(days=20), now - timedelta(days=1))
    for _ in range(8):
        length = chance.choice(STEPS)
        house.send(*(now + minute * MINUTE for minute in range(1, length, 1 + length // 20)))
        now += length * MINUTE
        if chance.random() < 0.2:
            late = now - chance.choice((20, 400, 200_000)) * MINUTE
            house.send(late)
            cache.forget({one: closed.outdated(one, late, now) for one in SITE.device_ids})
        for name in closed.ROWS:
            frame = Frame(*name.split(":"))
            known = balance.answer(store, SITE, frame, ZONE, now, cache)
            assert known == balance.answer(store, SITE, frame, ZONE, now), (name, now)
            assert known["series"]


def test_closed_quarters_are_read_once(migrated, redis: Redis):
    store, cache = Store(migrated), Cache(redis.url, 5, "rows")
    house, now = House(migrated, random.Random(0)), datetime(2026, 6, 1, 12, 2, tzinfo=UTC)
    house.send(*(now - minute * MINUTE for minute in range(1, 60)))

    def exported(cache: Cache | None = cache) -> float:
        [row] = balance.answer(store, SITE, Frame("day", "day"), ZONE, now, cache)["series"]
        return row["grid_export_kwh"]

    def tell(minutes: float, kwh: float) -> None:
        sample = {"device_id": SITE.meter, "power_w": 1, "import_power_w": 1}
        ts = now - minutes * MINUTE
        history.insert(migrated, "p1", [{**sample, "ts": ts, "energy_export_kwh": kwh}])

    assert exported() == exported(None) == 0
    # What comes without anyone being told is not looked for again, but for the open quarter.
    tell(90, 3.0)
    assert (exported(), exported(None)) == (0, 2)
    tell(0.5, 6.0)
    assert (exported(), exported(None)) == (1, 3)
