"""The quarter that runs: every case that can make its figure wrong."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_server.config import Settings, load
from api_server.data import capacity
from api_server.data.cache import Cache
from api_server.data.capacity.running import foresee, register_w
from api_server.data.database import ANSWER_S, HISTORY_S, Store
from tests.support.history import insert
from tests.support.servers import Redis, migrated_database

START = datetime(2026, 11, 18, 17, 45, tzinfo=UTC)  # a quarter in the middle of a month
MONTH = datetime(2026, 10, 31, 23, tzinfo=UTC)  # when November begins in Belgium
QUARTER = timedelta(minutes=15)


def test_the_vector_of_the_contract():
    assert foresee(450, 2000, 4000, (2500, "official")) == {
        "elapsed_s": 450,
        "average_w": 2000,
        "power_w": 4000,
        "projected_w": 3000,
        "month_peak_w": 2500,
        "month_peak_source": "official",
        "limit_w": 2500,
        "headroom_w": 3000,
        "new_peak": True,
    }


def test_a_quarter_that_has_passed_its_limit_has_no_headroom():
    told = foresee(800, 5000, 0, None)
    assert (told["limit_w"], told["headroom_w"], told["new_peak"]) == (2500, 0, True)
    assert foresee(450, 2500, 2500, None)["new_peak"] is False


class TestTheRegister:
    """What is believed of it, and the power it gives."""

    def power(self, *readings: tuple[float, float]) -> float | None:
        """Of readings so many seconds after the start."""
        return register_w([(START + timedelta(seconds=s), kwh) for s, kwh in readings], START)

    def test_a_steady_register_gives_its_mean_from_the_start(self):
        readings = [(s, 100 + s * 3.0 / 3600) for s in range(-60, 451, 10)]
        assert self.power(*readings) == pytest.approx(3000, abs=0.01)

    def test_the_start_lies_between_two_readings(self):
        assert self.power((-40, 10.0), (60, 10.1), (110, 10.2)) == pytest.approx(
            (10.2 - 10.04) * 3_600_000 / 110
        )

    def test_the_first_seconds_are_not_rounded(self):
        assert self.power((-1, 10.0), (2, 10.001)) == pytest.approx(1200, abs=0.01)

    @pytest.mark.parametrize(
        "readings",
        [
            [(-1, 10.0), (0.5, 10.1)],  # too early
            [(-61, 10.0), (61, 10.1)],  # nothing near the start
            [(-1, 10.0), (100, 10.1), (101, 9.5)],  # a dip
            [(-1, 10.0), (100, 10.1), (101, 9999.0)],  # a jump
            [(-1, 10_000.0), (300, 10_000.1), (301, 0.0), (500, 0.1)],  # a swap, not yet believed
        ],
    )
    def test_where_it_does_not_tell_it_says_nothing(self, readings):
        assert self.power(*readings) is None

    def test_a_glitch_in_between_counts_nothing(self):
        readings = [(-1, 10.0), (0, 10.0), (100, 10.1), (110, 0.0), (120, 9999.0), (130, 10.13)]
        assert self.power(*readings) == pytest.approx(0.13 * 3_600_000 / 130)

    def test_a_new_meter_counts_all_it_reads_once_it_is_believed(self):
        old = [(s, 500 + s * 0.001) for s in (-20, -10)]
        new = [(s, (s + 5) * 0.001) for s in range(-5, 896, 10)]
        assert self.power(*old, *new) == pytest.approx(3600, abs=8)
        assert self.power(*old, *new[:-1]) is None


class Meter:
    """A meter's samples in a database of its own, and what is said of its quarter."""

    def __init__(self, url: str, redis: Redis, device_id: str):
        environ = {"DATABASE_URL": url, "REDIS_URL": redis.url, "DEVICE_TOKENS": ""}
        self.url, self.device_id = url, device_id
        self.settings: Settings = load(environ)
        self.store, self.cache = Store(url), Cache(redis.url, 5)

    def put(self, *samples: dict) -> None:
        """Store them."""
        made = [{"device_id": self.device_id, **one} for one in samples]
        insert(self.url, "p1", made)

    def now(self, at: datetime) -> dict | None:
        """The running quarter."""
        return capacity.now(self.store, self.cache, self.settings, self.device_id, at)


@pytest.fixture(
    params=[
        "postgres",
        pytest.param("timescale", marks=pytest.mark.slow),
        pytest.param("citus", marks=pytest.mark.full),
    ],
    scope="module",
)
def migrated_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database that the meters of this module share."""
    server = request.getfixturevalue(request.param)
    url = migrated_database(server)
    yield url
    server.drop_database(url.rpartition("/")[2])


@pytest.fixture
def meter(migrated_url: str, redis: Redis, request: pytest.FixtureRequest) -> Meter:
    """A meter that has told nothing yet."""
    return Meter(migrated_url, redis, request.node.name)


def sample(second: float, watts: int, start: datetime = START, **more: object) -> dict:
    """A sample so many seconds after the start of a quarter; its register may be told."""
    told = {"energy_import_kwh": None, "monthly_power_peak_w": None, "monthly_power_peak_ts": None}
    return {
        "ts": start + timedelta(seconds=second),
        "power_w": watts,
        "import_power_w": max(watts, 0),
        **told,
        **more,
    }


def steady(first: int, last: int, watts: int, step: int = 10, start: datetime = START) -> list:
    """Samples of a constant power with a register that agrees."""
    return [
        sample(second, watts, start, energy_import_kwh=round(700 + second * watts / 3.6e6, 3))
        for second in range(first, last + 1, step)
    ]


def test_without_a_sample_in_the_quarter_there_is_nothing(meter):
    assert meter.now(START) is None
    meter.put(*steady(-300, -10, 1000))
    assert meter.now(START + timedelta(seconds=5)) is None


def test_the_quarter_is_told_with_its_times(meter):
    meter.put(*steady(-600, 450, 2000))
    assert meter.now(START + timedelta(seconds=452)) == {
        "device_id": meter.device_id,
        "ts": "2026-11-18T17:52:30Z",
        "quarter_start": "2026-11-18T18:45:00+01:00",
        "quarter_end": "2026-11-18T19:00:00+01:00",
        "elapsed_s": 450,
        "average_w": 2000,
        "power_w": 2000,
        "projected_w": 2000,
        "month_peak_w": 2000,  # of the ten minutes before: nothing better is known
        "month_peak_source": "sampled",
        "limit_w": 2500,
        "headroom_w": 3000,
        "new_peak": False,
    }


def test_power_is_the_mean_of_the_last_minute_also_across_the_start(meter):
    meter.put(*steady(-120, -1, 1000, 1), *[sample(second, 4000) for second in range(20)])
    told = meter.now(START + timedelta(seconds=20))
    assert told["power_w"] == round((40 * 1000 + 20 * 4000) / 60)
    assert told["average_w"] == 4000  # the newest has no register: the mean of the quarter


def test_the_first_second_has_the_power_of_its_samples(meter):
    meter.put(*steady(-120, -1, 1000, 1), sample(0.25, 3000, energy_import_kwh=700.0))
    told = meter.now(START + timedelta(seconds=1))
    assert (told["elapsed_s"], told["average_w"]) == (0.25, 3000)
    assert told["ts"] == "2026-11-18T17:45:00.250000Z"


def test_the_last_second_is_what_the_quarter_became(meter):
    meter.put(*steady(-60, 899, 3000, 1))
    told = meter.now(START + timedelta(seconds=899.5))
    assert told["elapsed_s"] == 899
    assert told["average_w"] == told["projected_w"] == pytest.approx(3000, abs=5)


def test_a_sample_ahead_of_the_clock_is_the_newest(meter):
    meter.put(*steady(-60, 600, 3000))
    assert meter.now(START + timedelta(seconds=100))["elapsed_s"] == 600


def test_a_gap_inside_the_quarter_is_bridged_by_the_register(meter):
    before, after = steady(-60, 60, 600), steady(600, 660, 600)
    heavy = [{**one, "energy_import_kwh": one["energy_import_kwh"] + 0.9} for one in after]
    meter.put(*before, *heavy)
    told = meter.now(START + timedelta(seconds=661))
    assert told["average_w"] == pytest.approx(600 + 0.9 * 3.6e6 / 660, abs=10)
    assert told["power_w"] == 600


def test_after_a_gap_over_the_start_the_register_counts_from_near_it_only(meter):
    meter.put(*steady(-700, -600, 600), *steady(30, 100, 3600))
    told = meter.now(START + timedelta(seconds=101))
    (before_s, before), (after_s, after) = (-600, 699.9), (30, 700.03)
    at_start = before + (after - before) * (0 - before_s) / (after_s - before_s)
    assert told["average_w"] == pytest.approx((700.1 - at_start) * 3.6e6 / 100, abs=10)


def test_after_a_gap_far_over_the_start_the_samples_count(meter):
    meter.put(*steady(-700, -600, 600), *steady(70, 100, 3600))
    assert meter.now(START + timedelta(seconds=101))["average_w"] == 3600


def test_over_a_swap_of_the_meter_the_samples_count(meter):
    new = [sample(s, 3000, energy_import_kwh=(s - 300) / 1200) for s in range(300, 601, 10)]
    meter.put(*steady(-60, 290, 3000), *new)
    assert meter.now(START + timedelta(seconds=601))["average_w"] == 3000


def test_at_a_months_first_quarter_no_peak_is_known(meter):
    old = {"monthly_power_peak_w": 6000, "monthly_power_peak_ts": MONTH - 7 * QUARTER}
    meter.put(*[{**one, **old} for one in steady(-3600, 100, 3000, start=MONTH)])
    told = meter.now(MONTH + timedelta(seconds=101))
    assert (told["month_peak_w"], told["month_peak_source"], told["limit_w"]) == (None, None, 2500)


def test_the_meters_own_peak_is_the_limit(meter):
    own = {"monthly_power_peak_w": 4928, "monthly_power_peak_ts": START - QUARTER}
    meter.put(*steady(-3600, 90, 5200), *[{**one, **own} for one in steady(100, 300, 5200)])
    told = meter.now(START + timedelta(seconds=301))
    assert (told["month_peak_w"], told["month_peak_source"], told["limit_w"]) == (
        4928,
        "official",
        4928,
    )
    assert told["new_peak"] is True


@pytest.mark.parametrize("year", [1, 9999])
def test_a_peak_of_another_age_is_of_no_month(meter, year):
    told = datetime.max.replace(year=year, tzinfo=UTC)
    meter.put(sample(10, 500, monthly_power_peak_w=4000, monthly_power_peak_ts=told))
    now = meter.now(START + timedelta(seconds=20))
    assert (now["month_peak_w"], now["limit_w"]) == (None, 2500)
    asked = capacity.Meter(
        meter.store, meter.cache, meter.settings, meter.device_id, START + timedelta(minutes=20)
    )
    answer = capacity.month(asked, START.date().replace(day=1))
    assert (answer["official_peak_w"], answer["billed_peak_source"]) == (None, "sampled")


def test_without_it_the_register_gives_the_limit_and_late_samples_change_it(meter):
    at = START + timedelta(seconds=101)
    meter.put(*steady(-2700, 100, 3000))
    assert meter.now(at)["month_peak_w"] == pytest.approx(3000, abs=8)
    assert meter.now(at)["month_peak_source"] == "register"
    two_days = timedelta(days=2)
    meter.put(*steady(-1800, 60, 4000, start=START - two_days))
    assert meter.now(at)["month_peak_w"] == pytest.approx(3000, abs=8)  # remembered
    outdated = capacity.outdated(meter.device_id, START - two_days, at)
    meter.cache.forget({meter.device_id: outdated})
    assert meter.now(at)["month_peak_w"] == pytest.approx(4000, abs=8)
    later = START + QUARTER + timedelta(seconds=5)
    meter.put(*steady(900, 905, 3000, 5))
    assert meter.now(later)["month_peak_w"] == pytest.approx(4000, abs=8)


def test_a_peak_that_was_read_before_late_samples_came_is_not_remembered(meter):
    class Slow(Store):
        """After it has read the month, samples of the month come in."""

        def run(self, work: Callable[[Any], Any], seconds: float = ANSWER_S) -> Any:
            result = super().run(work, seconds)
            if seconds == HISTORY_S:
                meter.put(*steady(-1800, 60, 4000, start=before))
                outdated = capacity.outdated(meter.device_id, before, at)
                meter.cache.forget({meter.device_id: outdated})
            return result

    at, before = START + timedelta(seconds=101), START - timedelta(days=2)
    meter.put(*steady(-2700, 100, 3000))
    slow = Slow(meter.url)
    told = capacity.now(slow, meter.cache, meter.settings, meter.device_id, at)
    assert told["month_peak_w"] == pytest.approx(3000, abs=8)
    assert meter.now(at)["month_peak_w"] == pytest.approx(4000, abs=8)


def test_nonsense_in_redis_is_not_believed(meter):
    meter.put(*steady(-2700, 100, 3000))
    at = START + timedelta(seconds=101)
    for text in ("x", "[]", json.dumps([START.isoformat(), ["a", 1]]), json.dumps([1, None])):
        meter.cache.keep(f"peak:{meter.device_id}", text, 60)
        assert meter.now(at)["month_peak_w"] == pytest.approx(3000, abs=8)
