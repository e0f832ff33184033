"""The balance over HTTP: what is refused, what follows of what, and what flows now."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from edge_agent.shared.samples import format_time
from tests.support.home import Home
from tests.support.servers import Postgres, Redis


@pytest.fixture(scope="module")
def shared_home(postgres: Postgres, redis: Redis) -> Iterator[Home]:
    """One site for the tests of this module."""
    home = Home(postgres, redis.url)
    yield home
    home.close()


@pytest.fixture
def home(shared_home: Home) -> Home:
    """A site without samples."""
    with psycopg2.connect(shared_home.url) as conn, conn.cursor() as cursor:
        cursor.execute("TRUNCATE sungrow_samples, p1_samples")
    conn.close()
    for device_id in ("meter", "roof", "shed"):
        shared_home.app.extensions["cache"].forget({device_id: []})
    return shared_home


def meter(bought: float | None, sold: float | None) -> dict[str, Any]:
    """The registers of a meter."""
    return {"energy_import_kwh": bought, "energy_export_kwh": sold}


def inverter(
    pv: float | None, charge: float | None = None, discharge: float | None = None
) -> dict[str, Any]:
    """The counters of an inverter."""
    return {"pv_total_kwh": pv, "charge_total_kwh": charge, "discharge_total_kwh": discharge}


def hours(*readings: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Readings at the full hours of a day, from ten o'clock on."""
    return [(f"2026-06-01T{10 + hour}:00", reading) for hour, reading in enumerate(readings)]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"frame": "hour"},
        {"frame": "day", "date": "2026-02-30"},
        {"frame": "day", "date": "2026-11"},
        {"frame": "week", "date": "2026-11"},
        {"frame": "all", "date": "2026"},
        {"frame": "day", "bucket": "quarter"},
        {"frame": "day", "complete": "1"},
    ],
)
def test_what_is_refused(home: Home, query: dict[str, str]) -> None:
    """With 422, which names the frames."""
    answer = home.ask("/v1/balance", site="home", **query)
    assert answer.status_code == 422
    if query.keys() <= {"frame"} and query.get("frame") != "day":
        assert "day, week, month, year, all" in answer.json["detail"]


@pytest.mark.parametrize("path", ["/v1/balance", "/v1/balance/now"])
def test_who_may_read_it(home: Home, path: str) -> None:
    """Whoever may read every device of the site; a missing name is 422, any other 403."""
    query = {"frame": "day"}
    assert home.ask(path, **query).status_code == 422
    assert home.ask(path, site="", **query).status_code == 422
    assert home.ask(path, site="elsewhere", **query).status_code == 403
    assert home.ask(path, "some", site="home", **query).status_code == 403
    assert home.ask(path, "r", site="home", frame="hour").status_code == 403
    assert home.ask(path, "nobody", site="home", **query).status_code == 401


def test_nothing_known(home: Home) -> None:
    """An empty list in the past, the future and at the ends of the calendar."""
    for query in (
        {"frame": "all"},
        {"frame": "week"},
        {"frame": "day", "date": "9999-12-31"},
        {"frame": "year", "date": "0001"},
        {"frame": "month", "date": "2150-01"},
    ):
        answer = home.get("/v1/balance", site="home", **query)
        assert answer == {
            "site": "home",
            "frame": query["frame"],
            "timezone": "Europe/Brussels",
            "series": [],
        }


def test_the_energies_of_a_house(home: Home) -> None:
    """The grid is the meter's, the rest is the inverters'; percentages are those of the sums."""
    home.insert("meter", *hours(meter(100, 50), meter(100.6, 51.5), meter(102.6, 51.5)))
    home.insert("roof", *hours(inverter(10, 5, 3), inverter(13, 6, 3), inverter(13.2, 6, 4.5)))
    home.insert("shed", *hours(inverter(7), inverter(8), inverter(8)))
    first, second = home.balance(frame="day", date="2026-06-01")[:2]
    assert first == {
        "bucket": "2026-06-01T10:00:00+02:00",
        "pv_kwh": 4.0,
        "grid_import_kwh": 0.6,
        "grid_export_kwh": 1.5,
        "charge_kwh": 1.0,
        "discharge_kwh": 0.0,
        "consumption_kwh": 2.1,
        "self_sufficiency_pct": 71.4,
        "self_consumption_pct": 62.5,
        "clamped": False,
        "inverter_import_kwh": None,
        "inverter_export_kwh": None,
        "complete": True,
    }
    assert (second["consumption_kwh"], second["self_sufficiency_pct"]) == (3.7, 45.9)
    [day] = home.balance(frame="month", date="2026-06")
    # The means of the hours' percentages would be others.
    assert (day["self_sufficiency_pct"], day["self_consumption_pct"]) == (55.2, 64.3)
    assert list(day) == list(first)


def test_a_battery_that_is_not_known_is_null(home: Home) -> None:
    """But that of an inverter which never told one counts nothing."""
    home.insert("meter", *hours(meter(100, 50), meter(101, 50), meter(102, 50)))
    home.insert("shed", *hours(inverter(7), inverter(8), inverter(9)))
    home.insert("roof", *hours(inverter(7), inverter(8), inverter(9)))
    [first, *_] = home.balance(frame="day", date="2026-06-01")
    assert (first["charge_kwh"], first["discharge_kwh"], first["consumption_kwh"]) == (0, 0, 3)
    home.insert("roof", ("2025-06-01T10:00", inverter(None, discharge=3)))
    home.insert("roof", ("2027-06-01T10:00", inverter(None, discharge=3 + 2 * 8.76)))
    first = home.balance(frame="day", date="2026-06-01")[10]
    assert (first["charge_kwh"], first["discharge_kwh"]) == (None, 0.001)
    assert (first["consumption_kwh"], first["self_sufficiency_pct"]) == (None, None)
    assert first["self_consumption_pct"] == 100.0


def test_an_inverter_that_sleeps_took_nothing(home: Home) -> None:
    """Its counter stood still from one reading to the next; after the last one it is unknown."""
    home.insert("meter", *hours(meter(100, 50), meter(101, 50), meter(102, 50), meter(103, 50)))
    home.insert("roof", *hours(inverter(7, 1, 1)), ("2026-06-01T12:30", inverter(7, 1, 1)))
    home.insert("shed", *hours(inverter(7)), ("2026-06-01T12:30", inverter(7)))
    ten, eleven, _, thirteen = home.balance(frame="day", date="2026-06-01")
    assert (ten["pv_kwh"], ten["consumption_kwh"], ten["self_consumption_pct"]) == (0, 1, None)
    assert (eleven["pv_kwh"], eleven["consumption_kwh"]) == (0, 1)
    assert eleven["self_sufficiency_pct"] == 0.0
    assert (thirteen["pv_kwh"], thirteen["consumption_kwh"]) == (None, None)


@pytest.mark.parametrize(
    ("bought", "sold", "pv", "charge", "discharge", "follows"),
    [
        # The battery feeds the grid: more is sold than the sun gave.
        (0.0, 1.5, 1.0, 0.0, 2.0, (1.5, 100.0, 0.0, True)),
        # The battery is charged from the grid at night.
        (3.0, 0.0, 0.0, 2.5, 0.0, (0.5, 0.0, None, True)),
        # The inverter's coarse counters lag behind the meter's.
        (0.0, 1.0, 0.5, 0.0, 0.0, (0.0, None, 0.0, True)),
        (0.04, 0.0, 0.04, 0.04, 0.0, (0.04, None, None, False)),
        (0.0, 0.0, 0.05, 0.0, 0.0, (0.05, 100.0, 100.0, False)),
    ],
)
def test_what_is_cut(
    home: Home,
    bought: float,
    sold: float,
    pv: float,
    charge: float,
    discharge: float,
    follows: tuple,
) -> None:
    """What no house can do is cut and said to be; a percentage of next to nothing is null."""
    home.insert("meter", *hours(meter(0, 0), meter(bought, sold)))
    home.insert("roof", *hours(inverter(0, 0, 0), inverter(pv, charge, discharge)))
    home.insert("shed", *hours(inverter(7), inverter(7)))
    [hour, *_] = home.balance(frame="day", date="2026-06-01")
    assert follows == (
        hour["consumption_kwh"],
        hour["self_sufficiency_pct"],
        hour["self_consumption_pct"],
        hour["clamped"],
    )


def test_a_bucket_is_there_where_any_device_has_one(home: Home) -> None:
    """`all` begins with the first sample of any device; what the others do not know is null."""
    home.insert("shed", ("2026-03-15T12:00", inverter(5)))
    home.insert("meter", *hours(meter(1, 1), meter(2, 1)))
    march, june = home.balance(frame="all")
    assert (march["bucket"], june["bucket"]) == (
        "2026-03-01T00:00:00+01:00",
        "2026-06-01T00:00:00+02:00",
    )
    assert (march["grid_import_kwh"], march["pv_kwh"]) == (None, None)
    assert (june["grid_import_kwh"], june["pv_kwh"], june["clamped"]) == (1.0, None, False)


def test_the_open_end(home: Home) -> None:
    """The running bucket is not complete, and left out on demand."""
    home.insert("meter", (datetime.now(UTC), meter(1, 1)))
    for frame in ("day", "week", "month", "year", "all"):
        assert [one["complete"] for one in home.balance(frame=frame)] == [False]
        assert home.balance(frame=frame, complete="true") == []


def test_too_many_buckets(home: Home) -> None:
    """Refused with the limit."""
    home.insert("meter", ("2021-01-01T00:00", meter(1, 1)))
    answer = home.ask("/v1/balance", site="home", frame="all", bucket="hour")
    assert (answer.status_code, "10000" in answer.json["detail"]) == (422, True)


def flowing(home: Home) -> dict[str, Any]:
    """What flows now."""
    return home.get("/v1/balance/now", site="home")


def ago(seconds: float) -> datetime:
    """A moment in the past."""
    return datetime.now(UTC) - timedelta(seconds=seconds)


PV_1000 = {"pv_power_w": 1000.5, "battery_power_w": -400.0, "battery_soc_pct": 50.0}
PV_200 = {"pv_power_w": 200.2, "battery_power_w": 100.0, "battery_soc_pct": 81.0}


def test_what_flows_now(home: Home) -> None:
    """Inverters are summed, the mean of the charges is told, the time is that of the oldest."""
    oldest = ago(20)
    home.insert("meter", (ago(5), {"power_w": 7, "import_power_w": 7}))
    home.insert("roof", (oldest, PV_1000))
    home.insert("shed", (ago(10), PV_200))
    told = flowing(home)
    ages = told.pop("devices")
    assert told.pop("age_s") == ages["roof"] == pytest.approx(20, abs=5)
    assert (ages["meter"], ages["shed"]) == (pytest.approx(5, abs=5), pytest.approx(10, abs=5))
    assert told == {
        "site": "home",
        "ts": format_time(oldest),
        "pv_power_w": 1200.7,
        "battery_power_w": -300.0,
        "battery_soc_pct": 65.5,
        "grid_power_w": 7,
        "home_power_w": 1507.7,
    }
    assert flowing(home)["home_power_w"] == 1507.7  # now from the cache


def test_an_inverter_without_a_battery(home: Home) -> None:
    """Counts nothing; one whose battery is not known now makes it unknown."""
    home.insert("meter", (ago(5), {"power_w": -2000, "import_power_w": 0}))
    home.insert("roof", (ago(5), PV_1000))
    home.insert("shed", (ago(5), {"pv_power_w": 200.0}))
    told = flowing(home)
    assert (told["battery_power_w"], told["battery_soc_pct"]) == (-400.0, 50.0)
    assert told["home_power_w"] == 0.0  # the meter was read at another moment
    home.insert("shed", ("2026-01-01T00:00", inverter(1, charge=3)))
    told = flowing(home)
    assert (told["battery_power_w"], told["home_power_w"]) == (None, None)
    assert told["battery_soc_pct"] == 50.0


def test_a_battery_that_tells_its_charge_is_there(home: Home) -> None:
    """So its power is unknown where it is not told, whatever it has told before."""
    home.insert("meter", (ago(5), {"power_w": 7, "import_power_w": 7}))
    home.insert("roof", (ago(5), PV_1000))
    home.insert("shed", (ago(5), {"pv_power_w": 200.0, "battery_soc_pct": 70.0}))
    told = flowing(home)
    assert (told["battery_power_w"], told["home_power_w"]) == (None, None)
    assert told["battery_soc_pct"] == 60.0


def test_a_silent_device_makes_its_values_unknown(home: Home) -> None:
    """And what is computed of them; so does one that never sent."""
    assert home.ask("/v1/balance/now", site="home").status_code == 404
    home.insert("roof", (ago(5), PV_1000))
    told = flowing(home)
    assert told["devices"].keys() == {"meter", "roof", "shed"}
    assert (told["devices"]["meter"], told["devices"]["shed"]) == (None, None)
    assert [told[name] for name in told if name.endswith("_w")] == [None] * 4
    assert told["battery_soc_pct"] == 50.0
    home.insert("shed", (ago(59), PV_200))
    home.insert("meter", (ago(61), {"power_w": 7, "import_power_w": 7}))
    told = flowing(home)
    assert (told["pv_power_w"], told["battery_power_w"]) == (1200.7, -300.0)
    assert (told["grid_power_w"], told["home_power_w"]) == (None, None)
    assert told["age_s"] == told["devices"]["meter"] >= 61
