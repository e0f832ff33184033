"""The simulated house keeps its books: what the simulators tell of it adds up."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.simulators.house import BUILT, INVERTER_ZONE, House

pytestmark = pytest.mark.slow

NOON = datetime(2026, 6, 21, 11, 0, 3, tzinfo=UTC)
WEEK = [NOON + timedelta(minutes=7, seconds=3) * step for step in range(1440)]


@pytest.fixture(scope="module")
def house() -> House:
    """One house for all tests: its days are computed once."""
    return House(7)


@pytest.mark.slow
def test_powers_and_counters_balance_at_any_time(house):
    for moment in WEEK:
        now = house.at(moment)
        assert now.pv_w == pytest.approx(now.battery_w + now.load_w + now.export_w + now.loss_w)
        came = now.pv_kwh + now.import_kwh + now.discharge_kwh
        went = now.load_kwh + now.export_kwh + now.charge_kwh + now.loss_kwh
        assert came == pytest.approx(went, abs=1e-6)
        stored = 5 + (now.charge_kwh - now.discharge_kwh) / 0.096
        assert now.soc_pct == pytest.approx(stored, abs=1e-3)


@pytest.mark.parametrize("hour", [0, 9])
def test_counters_are_the_integrals_of_the_powers(house, hour):
    start, hundredth = NOON + timedelta(hours=hour), timedelta(seconds=0.01)
    before = house.at(start)
    sums = {"import": 0.0, "export": 0.0, "load": 0.0, "pv": 0.0}
    for step in range(3000):
        now = house.at(start + (step + 0.5) * hundredth)
        powers = {
            "import": -now.export_w,
            "export": now.export_w,
            "load": now.load_w,
            "pv": now.pv_w,
        }
        for name, watt in powers.items():
            sums[name] += max(watt, 0) * 0.01 / 3.6e6
            assert getattr(now, f"{name}_kwh") >= getattr(before, f"{name}_kwh")
    after = house.at(start + 3000 * hundredth)
    for name, kwh in sums.items():
        counted = getattr(after, f"{name}_kwh") - getattr(before, f"{name}_kwh")
        assert counted == pytest.approx(kwh, abs=1e-7)


def test_a_week_shows_everything_that_must_be_read_rightly(house):
    week = [house.at(moment) for moment in WEEK]
    for name in ("battery_w", "export_w"):
        values = [getattr(now, name) for now in week]
        assert min(values) < -1000
        assert max(values) > 1000
    assert max(now.pv_w for now in week) > 3000
    assert min(now.pv_w for now in week) == 0
    assert min(now.load_w for now in week) > 100
    assert max(now.load_w for now in week) > 2000
    assert all(4.9 < now.soc_pct < 100.1 for now in week)
    assert all(now.ac_w < 4000.1 for now in week)


@pytest.mark.slow
def test_the_same_seed_is_the_same_house_in_another_process():
    again, other = House(7), House(8)
    assert again.at(NOON) == House(7).at(NOON)
    assert again.at(NOON) != other.at(NOON)


def test_it_is_dark_around_midnight_so_the_yield_of_a_day_is_whole(house):
    midnight = datetime(2026, 6, 22, tzinfo=INVERTER_ZONE)
    late, early = (house.at(midnight + timedelta(hours=hours)) for hours in (-2, 4.9))
    assert late.pv_w == early.pv_w == 0
    assert late.pv_kwh == early.pv_kwh


def test_there_is_no_house_before_it_was_built(house):
    assert house.at(BUILT).pv_kwh == 0
    with pytest.raises(ValueError):
        house.at(BUILT - timedelta(seconds=1))
