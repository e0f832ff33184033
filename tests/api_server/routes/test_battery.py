"""The battery over HTTP: what it took and gave in a year, how often it was full, and its health."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from tests.support.home import Home
from tests.support.servers import Postgres

BRUSSELS = ZoneInfo("Europe/Brussels")
NOTHING = {
    "months": [],
    "charge_kwh": None,
    "discharge_kwh": None,
    "equivalent_cycles": None,
    "efficiency_pct": None,
    "capacity_kwh": None,
}


@pytest.fixture(scope="module")
def shared_home(postgres: Postgres) -> Iterator[Home]:
    """One site for the tests of this module, whose shed has a battery of 8 kWh by its setting."""
    home = Home(postgres, BATTERY_KWH="shed:8")
    yield home
    home.close()


@pytest.fixture
def home(shared_home: Home) -> Home:
    """A site without samples."""
    with psycopg2.connect(shared_home.url) as conn, conn.cursor() as cursor:
        cursor.execute("TRUNCATE sungrow_samples, p1_samples")
    conn.close()
    return shared_home


def battery(
    charge: float | None, discharge: float | None, soc: float | None = None, **more: Any
) -> dict[str, Any]:
    """What an inverter tells of its battery."""
    return {
        "charge_total_kwh": charge,
        "discharge_total_kwh": discharge,
        "battery_soc_pct": soc,
        **{f"battery_{name}": value for name, value in more.items()},
    }


def year(home: Home, text: str = "2025", device_id: str = "roof") -> dict[str, Any]:
    """What is told of a battery in a year."""
    answer = home.get("/v1/battery", device_id=device_id, date=text)
    assert (answer.pop("device_id"), answer.pop("year")) == (device_id, int(text))
    return answer


def test_who_is_answered(home: Home) -> None:
    """Inverters only, and for a year that exists; this one if none is named."""
    path = "/v1/battery"
    assert home.ask(path).status_code == 422
    assert home.ask(path, "r", device_id="shed").status_code == 403
    assert home.ask(path, "m", device_id="meter", date="no").status_code == 404
    for bad in ("0000", "26", "2026-11", "", "this"):
        assert home.ask(path, device_id="roof", date=bad).status_code == 422
    this_year = datetime.now(BRUSSELS).year
    assert home.get(path, device_id="roof") == {"device_id": "roof", "year": this_year, **NOTHING}
    for text in ("0001", "9999", "2150"):
        assert year(home, text) == NOTHING


def test_the_months_of_a_year(home: Home) -> None:
    """Counted across the edges of months; a month without samples counts in the year only."""
    home.insert(
        "roof",
        ("2024-12-31T23:00", battery(100, 80, 90.0, soh_pct=99.0, capacity_kwh=9.0)),
        ("2025-01-01T01:00", battery(102, 80, 20.0)),
        ("2025-01-20T12:00", battery(150, 120)),
        ("2025-01-31T23:00", battery(152, 124, 60.0, soh_pct=98.5, capacity_kwh=10.0)),
        ("2025-02-01T01:00", battery(154, 124, 65.0)),
        ("2025-02-28T12:00", battery(None, None, soh_pct=98.0)),
        ("2025-04-30T12:00", battery(244, 212, 50.0, soh_pct=97.5)),
        ("2025-05-01T00:00", battery(244, 212, 70.0)),
    )
    told = year(home)
    january, february, april, may = told.pop("months")
    # One of two kWh around each midnight of New Year and of February.
    assert january == {
        "month": "2025-01",
        "charge_kwh": 52.0,
        "discharge_kwh": 44.0,
        "equivalent_cycles": 4.8,
        "efficiency_pct": round(100 * (44 + 0.40 * 10) / 52, 6),
        "soh_pct": 98.5,
    }
    assert (february["month"], february["soh_pct"]) == ("2025-02", 98.0)
    assert (april["month"], april["soh_pct"]) == ("2025-04", 97.5)
    assert february["efficiency_pct"] == pytest.approx(
        100 * february["discharge_kwh"] / february["charge_kwh"]
    )
    assert may == {
        "month": "2025-05",
        "charge_kwh": 0.0,
        "discharge_kwh": 0.0,
        "equivalent_cycles": 0.0,
        "efficiency_pct": None,
        "soh_pct": None,
    }
    assert told == {
        "charge_kwh": 143.0,
        "discharge_kwh": 132.0,
        "equivalent_cycles": 13.75,
        "efficiency_pct": round(100 * (132 + 0.50 * 10) / 143, 6),
        "capacity_kwh": 10.0,
    }
    [december] = year(home, "2024")["months"]
    assert (december["charge_kwh"], december["soh_pct"]) == (1.0, 99.0)


def test_the_capacity_that_counts(home: Home) -> None:
    """The setting's, else the newest one told, else none: then no cycles and no efficiency."""
    samples = (
        ("2025-06-01T10:00", battery(10, 10, 50.0)),
        ("2025-06-02T10:00", battery(20, 18, 50.0)),
    )
    home.insert("shed", *samples)
    home.insert("roof", *samples)
    told = year(home, device_id="shed")
    assert (told["capacity_kwh"], told["equivalent_cycles"]) == (8.0, 1.125)
    assert told["efficiency_pct"] == 80.0
    told = year(home)
    assert (told["capacity_kwh"], told["equivalent_cycles"], told["efficiency_pct"]) == (None,) * 3
    assert (told["charge_kwh"], told["discharge_kwh"]) == (10.0, 8.0)
    home.insert("roof", ("2026-01-01T10:00", battery(None, None, capacity_kwh=4.0)))
    assert (year(home)["capacity_kwh"], year(home)["equivalent_cycles"]) == (4.0, 2.25)


def test_an_efficiency_needs_charge_and_known_states(home: Home) -> None:
    """At least 5 kWh of charge, and a state of charge."""
    home.insert(
        "shed",
        ("2025-06-01T00:00", battery(10, 10)),
        ("2025-06-30T00:00", battery(20, 18)),
        ("2025-07-15T10:00", battery(20, 18, 50.0)),
        ("2025-07-16T10:00", battery(24.9, 22, 50.0)),
        ("2025-08-15T10:00", battery(24.9, 22, 40.0)),
        ("2025-08-16T10:00", battery(29.9, 26, 50.0)),
    )
    june, july, august = year(home, device_id="shed")["months"]
    assert (june["efficiency_pct"], july["efficiency_pct"]) == (None, None)
    assert july["equivalent_cycles"] == pytest.approx(8.9 / 16)
    assert august["efficiency_pct"] == pytest.approx(96.0)


def test_an_inverter_without_a_battery(home: Home) -> None:
    """Lists its months, of which nothing is known."""
    home.insert("roof", ("2025-06-01T10:00", battery(None, None)))
    [june] = year(home)["months"]
    assert june.pop("month") == "2025-06"
    assert set(june.values()) == {None}
