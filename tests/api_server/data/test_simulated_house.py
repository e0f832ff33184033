"""The balance and the strings of the simulated house, whose truth the house itself knows."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg2
import pytest

from api_server.data import strings
from edge_agent.shared.samples import parse_time
from tests.api_server.data.test_rollups import refresh
from tests.simulators.house import House, Plan
from tests.simulators.year import (
    inverter_samples,
    meter_samples,
    true_energy,
    true_string_energy,
    true_verdict,
)
from tests.support.history import insert
from tests.support.home import Home
from tests.support.servers import Postgres

pytestmark = pytest.mark.slow

FIRST = date(2025, 10, 1)
DIES = date(2025, 10, 20)
SNOW = (date(2025, 11, 3), date(2025, 11, 4))
SELLS = date(2025, 11, 6)
BUYS = date(2025, 11, 8)
LAST = date(2025, 11, 12)
EVERY = timedelta(minutes=5)
HOUSE = House(
    1,
    Plan(
        second_inverter=True,
        shaded=True,
        string_dies=DIES,
        snow=SNOW,
        battery_export=SELLS,
        grid_charge=BUYS,
    ),
)


@pytest.fixture(scope="module")
def home(postgres: Postgres) -> Iterator[Home]:
    """A site that has heard of the house for six weeks, over the end of summer time."""
    home = Home(postgres)
    start, end = home.midnight(FIRST), home.midnight(LAST)
    for kind, made in (
        ("p1", meter_samples(HOUSE, "meter", start, end, EVERY)),
        ("sungrow", inverter_samples(HOUSE, "roof", start, end, EVERY)),
        ("sungrow", inverter_samples(HOUSE, "shed", start, end, EVERY, number=2)),
    ):
        samples = [{**sample, "ts": parse_time(sample["ts"])} for sample in made]
        insert(home.url, kind, samples)
    refresh(home.url)
    yield home
    home.close()


def days(first: date, end: date) -> Iterable[date]:
    """The days from one to before another."""
    return (first + timedelta(days=number) for number in range((end - first).days))


def test_the_balance_is_that_of_the_house(home: Home) -> None:
    """Within the steps of the inverters' counters, on every day; and as a whole."""
    told = home.balance(frame="year", date="2025", bucket="day")
    assert [one["bucket"][:10] for one in told] == [str(day) for day in days(FIRST, LAST)]
    for day, one in list(zip(days(FIRST, LAST), told, strict=True))[1:-1]:
        true = true_energy(HOUSE, home.midnight(day), home.midnight(day + timedelta(days=1)))
        for name, kwh in true.items():
            slack = 0.02 if name.startswith("grid_") else 0.45
            assert one[name] == pytest.approx(kwh, abs=slack), (day, name)
    night = home.balance(frame="day", date=f"{BUYS}")[22:]
    assert [(one["self_sufficiency_pct"], one["clamped"]) for one in night] == [(0.0, True)] * 2


def test_the_strings_are_those_of_the_house(home: Home) -> None:
    """Their energies by day, and no verdict on any day that is false or late."""
    for day in (date(2025, 10, 2), DIES):
        span = home.midnight(day), home.midnight(day + timedelta(days=1))
        answer = home.get("/v1/strings", device_id="roof", date=f"{day}")
        kwh = [string["energy_kwh"] for string in answer["strings"]]
        assert kwh == pytest.approx(true_string_energy(HOUSE, *span), rel=0.05, abs=0.2)
    now = datetime.now(UTC)
    with psycopg2.connect(home.url) as conn, conn.cursor() as cursor:
        for day in days(FIRST + timedelta(days=7), LAST):
            verdicts = strings.verdict(cursor, "roof", day, home.zone, now)
            word, since = true_verdict(HOUSE, home.midnight(day + timedelta(days=1)))
            assert (verdicts[1].word, verdicts[2].word) == ("ok", word), day
            if since:
                assert timedelta(0) <= verdicts[2].since - since <= EVERY
        others = strings.verdict(cursor, "shed", LAST - timedelta(days=1), home.zone, now)
    conn.close()
    assert {verdict.word for verdict in others.values()} == {"ok"}
