"""A house with events, and its samples without devices: both are what the simulators tell."""

from datetime import UTC, date, datetime, timedelta
from time import process_time

import pytest

from api_server.web.decoding import decode
from edge_agent.shared.samples import KINDS, parse_time
from edge_agent.sources.sungrow.normalize import normalize
from edge_agent.sources.sungrow.registers import LIVE, OPTIONAL
from tests.simulators.house import House
from tests.simulators.inverter_words import HouseWords
from tests.simulators.plan import INVERTER_ZONE, Plan
from tests.simulators.year import (
    inverter_samples,
    meter_samples,
    true_energy,
    true_string_energy,
    true_verdict,
)

pytestmark = pytest.mark.slow

DIES, EXPORTS, CHARGES, ALARM = (
    date(2026, 5, 6),
    date(2026, 1, 14),
    date(2026, 1, 20),
    date(2026, 3, 3),
)
SNOW = date(2026, 2, 2)
PLAN = Plan(
    second_inverter=True,
    shaded=True,
    string_dies=DIES,
    grid_charge=CHARGES,
    battery_export=EXPORTS,
    snow=(SNOW,),
    alarms={ALARM: "13049.30 13065.14"},
)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def house():
    """One house for all tests: its days are computed once."""
    return House(3, PLAN)


def at(day, hour=0.0):
    """A time by the inverter's clock."""
    return datetime(day.year, day.month, day.day, tzinfo=INVERTER_ZONE) + hour * HOUR


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_samples_are_what_an_agent_makes_of_the_simulated_inverter(house, number):
    words = HouseWords(house, number)
    start = at(ALARM).astimezone(UTC)
    for sample in inverter_samples(
        house, "roof", start, start + timedelta(days=1), timedelta(minutes=17, seconds=3), number
    ):
        now = parse_time(sample["ts"])
        told = words.at(now)
        blocks = {
            first: [told.get(first + n, 0) for n in range(count)]
            for first, count in (*LIVE, *OPTIONAL)
        }
        read = normalize(blocks, "roof", now).sample
        assert {name: sample[name] for name in read} == pytest.approx(read, abs=0.100001)
        assert [name for name in read if (read[name] is None) != (sample[name] is None)] == []


@pytest.mark.slow
def test_a_year_of_samples_is_quick_and_the_server_takes_it(house):
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    every = timedelta(minutes=5)
    house.at(end)  # its kinds of days are computed once
    began = process_time()
    of_inverter = list(inverter_samples(house, "roof", start, end, every))
    of_meter = list(meter_samples(house, "meter", start, end, every))
    assert process_time() - began < 10, "a month; a year is twelve of it"
    assert len(of_inverter) == len(of_meter) == 31 * 288
    for kind, samples in (("sungrow", of_inverter), ("p1", of_meter)):
        assert decode(KINDS[kind], samples, end)[1] == []
    once_more = inverter_samples(House(3, PLAN), "roof", start, start + HOUR, every)
    assert list(once_more) == of_inverter[:12]


def test_energy_is_kept_on_every_day_also_with_a_second_inverter(house):
    for day in (DIES, EXPORTS, CHARGES, SNOW):
        for hour in range(0, 30, 3):
            now = house.at(at(day, hour))
            assert now.pv_w == pytest.approx(now.battery_w + now.load_w + now.export_w + now.loss_w)
            assert now.pv_w == pytest.approx(now.string1_w + now.string2_w)
        energy = true_energy(house, at(day), at(day + timedelta(days=1)))
        before, after = house.at(at(day)), house.at(at(day + timedelta(days=1)))
        home = after.load_kwh - before.load_kwh + after.ac2_kwh - before.ac2_kwh
        lost = after.loss_kwh - before.loss_kwh + energy["pv_kwh"] - (after.pv_kwh - before.pv_kwh)
        lost -= after.ac2_kwh - before.ac2_kwh
        assert energy["consumption_kwh"] == pytest.approx(home + lost, abs=1e-6)


@pytest.mark.slow
def test_the_second_inverter_feeds_the_house(house):
    noon = at(date(2026, 6, 20), 9.5)
    with_one = House(3, Plan(shaded=True, string_dies=DIES)).at(noon)
    now = house.at(noon)
    assert now.pv2_w > 500
    assert now.load_w == pytest.approx(with_one.load_w - now.ac2_w, abs=2 * 9.1)


def test_the_battery_is_charged_at_night_and_exports_once(house):
    charging = house.at(at(CHARGES, 22.5))
    assert charging.battery_w == 2000
    assert charging.export_w < -2000
    exporting = house.at(at(EXPORTS, 18.5))
    assert exporting.battery_w < -2500
    day = true_energy(house, at(EXPORTS), at(EXPORTS + timedelta(days=1)))
    assert day["grid_export_kwh"] > 0
    assert house.at(at(EXPORTS - timedelta(days=1), 18.5)).export_w < 100


def test_a_string_is_shaded_in_the_afternoon_and_dies_for_good(house):
    def shares(day, hour):
        now = house.at(at(day, hour))
        return now.string2_w / now.pv_w

    before, after = DIES - timedelta(days=1), DIES + timedelta(days=1)
    assert shares(before, 12) == pytest.approx(0.45)
    assert shares(before, 15) == pytest.approx(0.45 * 0.25 / (0.55 + 0.45 * 0.25))
    assert (shares(DIES, 10.9), shares(DIES, 11.1)) == (pytest.approx(0.45), 0)
    assert shares(after, 12) == 0
    assert true_verdict(house, at(DIES, 10)) == ("ok", None)
    assert true_verdict(house, at(after)) == ("dead", at(DIES, 11))
    first, second = true_string_energy(house, at(before), at(before, 24))
    day = true_energy(house, at(before), at(before, 24))
    second_roof = house.at(at(before, 24)).pv2_kwh - house.at(at(before)).pv2_kwh
    assert first + second == pytest.approx(day["pv_kwh"] - second_roof, abs=1e-3)
    assert 0.2 < second / (first + second) < 0.42
    snowed = house.at(at(SNOW, 12))
    assert snowed.pv_w < 150
    assert snowed.string2_w == pytest.approx(0.45 * snowed.pv_w)


def test_alarms_ring_for_an_hour(house):
    assert [house.at(at(ALARM, hour)).alarms for hour in (9.99, 10, 10.99, 11)] == [
        "",
        "13049.30 13065.14",
        "13049.30 13065.14",
        "",
    ]
