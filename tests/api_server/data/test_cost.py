"""What a house costs, from its samples in a database to the euro, against sums by hand."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from api_server.config import Settings, load
from api_server.data import capacity, cost
from api_server.data.cache import Cache
from api_server.data.capacity import Meter
from api_server.data.capacity.months import mean
from api_server.data.capacity.quarters import Peak
from api_server.data.database import Store
from tests.support.history import insert
from tests.support.servers import Postgres, migrated_database

BRUSSELS = ZoneInfo("Europe/Brussels")
NOW = datetime(2026, 9, 10, 10, 3, tzinfo=UTC)
FIRST = datetime(2025, 12, 1, tzinfo=BRUSSELS)
PEAKS = [2000, 3000, 4000, 5000, 6000, 2000, 2000, 3000, 4000, 5000]  # December to September
CONTRACT = """
[[price]]
from = 2026-01-01
to = 2026-08-11
what = "import"
tariff = "all"
eur_per_kwh = 0.10
[[price]]
from = 2026-08-11
what = "import"
tariff = "all"
eur_per_kwh = 0.25
[[price]]
from = 2026-01-01
what = "export"
tariff = "all"
eur_per_kwh = 0.03
[[fixed]]
from = 2026-01-01
eur_per_year = 60
[[levy]]
from = 2026-01-01
eur_per_kwh = 0.05
"""
IMPORT, EXPORT = Decimal("0.4"), Decimal("0.1")  # kWh in each hour


def hours(first: str, end: str) -> int:
    """How many there are between two local days."""
    start, stop = (datetime.fromisoformat(day).replace(tzinfo=BRUSSELS) for day in (first, end))
    return (stop.astimezone(UTC) - start.astimezone(UTC)) // timedelta(hours=1)


def sample(at: datetime) -> dict:
    """What the meter tells at a time: steady counters, and last month's peak until it has one."""
    passed = (at - FIRST.astimezone(UTC)) / timedelta(hours=1)
    local = at.astimezone(BRUSSELS)
    number = (local.year - FIRST.year) * 12 + local.month - FIRST.month
    told = local.day > 1
    ended = datetime(local.year, local.month, 1, 18, 15, tzinfo=BRUSSELS)
    return {
        "device_id": "meter",
        "ts": at,
        "power_w": 400,
        "import_power_w": 400,
        "energy_import_kwh": round(1000 + float(IMPORT) * passed, 3),
        "energy_import_t1_kwh": round(600 + 0.75 * float(IMPORT) * passed, 3),
        "energy_import_t2_kwh": round(400 + 0.25 * float(IMPORT) * passed, 3),
        "energy_export_kwh": round(10 + float(EXPORT) * passed, 3),
        "monthly_power_peak_w": PEAKS[number] if told else None,
        "monthly_power_peak_ts": ended if told else None,
    }


@pytest.fixture(scope="module")
def store(postgres: Postgres) -> Iterator[Store]:
    """A database with a meter that has told every ten hours since December, and one in 2026."""
    url = migrated_database(postgres)
    start = FIRST.astimezone(UTC)
    made = [
        start + timedelta(hours=hour) for hour in range(0, hours("2025-12-01", "2026-09-10"), 10)
    ]
    insert(url, "p1", [sample(at) for at in [*made, NOW]])
    yield Store(url)
    postgres.drop_database(url.rpartition("/")[2])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The household's file."""
    path = tmp_path / "tariff.toml"
    path.write_text(CONTRACT)
    return path


def meter_of(store: Store, settings: Settings, now: datetime) -> Meter:
    """The meter as a request reads it that finds nothing in Redis."""
    return Meter(store, Cache("redis://127.0.0.1:1", 5), settings, "meter", now)


def ask(store: Store, frame: str, day: date | None, now: datetime = NOW, **settings: str) -> dict:
    """The answer with these settings."""
    environ = {"DATABASE_URL": "postgresql:///x", "REDIS_URL": "redis://x", "DEVICE_TOKENS": ""}
    return cost.answer(meter_of(store, load(environ | settings), now), frame, day)


def test_a_month_is_met_with_every_rate(store, path):
    told = ask(store, "month", date(2026, 3, 1), GRID_AREA="imewo", TARIFF_FILE=str(path))
    kwh = IMPORT * hours("2026-03-01", "2026-04-01")  # one is missing that month
    mean_w = Decimal(2500 + 3000 + 4000 + 5000) / 4
    capacity_eur = Decimal("57.45") / 12 * mean_w / 1000
    grid_eur = Decimal("0.0522864") * Decimal("1.06") * kwh
    exact = [
        capacity_eur, grid_eur, Decimal("18.92") / 12, kwh / 10, -kwh / 4 * Decimal("0.03"),
        kwh * Decimal("0.05"), Decimal(5),
    ]  # fmt: skip
    cents = [float(round(amount, 2)) for amount in exact]
    assert told == {
        "device_id": "meter",
        "currency": "EUR",
        "vat_included": True,
        "months": [
            {
                "month": "2026-03",
                "complete": True,
                "import_kwh": pytest.approx(float(kwh), abs=1e-6),
                "export_kwh": pytest.approx(float(kwh) / 4, abs=1e-6),
                "mean_peak_w": 3625,
                "capacity_eur": cents[0],
                "grid_eur": cents[1],
                "capped": False,
                "data_eur": cents[2],
                "import_eur": cents[3],
                "export_eur": cents[4],
                "levies_eur": cents[5],
                "fixed_eur": cents[6],
                "total_eur": float(round(sum(exact), 2)),
                "missing": [],
            }
        ],
        "total_eur": float(round(sum(exact), 2)),
    }


def test_a_price_that_changes_within_a_month_counts_by_local_days(store, path):
    told = ask(store, "month", date(2026, 8, 20), TARIFF_FILE=str(path))["months"][0]
    before, after = hours("2026-08-01", "2026-08-11"), hours("2026-08-11", "2026-09-01")
    exact = IMPORT * (before * Decimal("0.10") + after * Decimal("0.25"))
    assert told["import_eur"] == float(round(exact, 2))
    assert told["import_kwh"] == pytest.approx(float(IMPORT * (before + after)), abs=1e-5)
    assert told["missing"] == []
    grid = ("capacity_eur", "grid_eur", "capped", "data_eur")
    assert [told[name] for name in grid] == [None] * 4
    assert told["total_eur"] is not None


def test_a_price_per_tariff_meets_the_registers_of_the_tariffs(store, tmp_path):
    path = tmp_path / "tariff.toml"
    by_day = CONTRACT.replace('tariff = "all"\neur_per_kwh = 0.25', "tariff = 1\neur_per_kwh = 0.4")
    night = '[[price]]\nfrom = 2026-08-11\nwhat = "import"\ntariff = 2\neur_per_kwh = 0.2\n'
    path.write_text(by_day + night)
    told = ask(store, "month", date(2026, 8, 20), TARIFF_FILE=str(path))["months"][0]
    before, after = hours("2026-08-01", "2026-08-11"), hours("2026-08-11", "2026-09-01")
    price = Decimal("0.75") * Decimal("0.4") + Decimal("0.25") * Decimal("0.2")
    exact = IMPORT * (before * Decimal("0.10") + after * price)
    assert told["import_eur"] == pytest.approx(float(exact), abs=0.011)  # registers have 3 decimals
    assert told["missing"] == []


def test_a_running_year_is_listed_up_to_now(store, path):
    told = ask(store, "year", None, GRID_AREA="imewo", TARIFF_FILE=str(path))
    listed = told["months"]
    assert [one["month"] for one in listed] == [f"2026-{number:02}" for number in range(1, 10)]
    assert [one["complete"] for one in listed] == [True] * 8 + [False]
    assert listed[-1]["fixed_eur"] == 5.0  # whole twelfths
    assert listed[-1]["mean_peak_w"] == round(sum(max(peak, 2500) for peak in PEAKS) / len(PEAKS))
    so_far = hours("2026-09-01", "2026-09-10") + 12.05
    assert listed[-1]["import_kwh"] == pytest.approx(float(IMPORT) * so_far, abs=2e-3)
    assert told["total_eur"] == pytest.approx(sum(one["total_eur"] for one in listed), abs=0.05)


def test_a_year_with_an_unknown_month_has_no_total(store, path):
    told = ask(store, "year", date(2025, 1, 1), GRID_AREA="west", TARIFF_FILE=str(path))
    december, november = told["months"][11], told["months"][10]
    assert told["total_eur"] is None
    assert december["capacity_eur"] == float(round(Decimal("60.35") / 12 * Decimal("2.5"), 2))
    assert "grid kWh term west 2025" in december["missing"]
    assert "import price 2025" in december["missing"]
    assert december["capped"] is None
    assert (november["import_kwh"], november["capacity_eur"]) == (None, None)
    assert november["missing"] == [
        "month peak",
        "grid kWh term west 2025",
        "energy import",
        "import price 2025",
        "export price 2025",
        "energy export",
        "levy 2025",
        "fixed fee 2025",
    ]


def test_what_has_not_begun_is_not_listed(store, path):
    for frame, day in (("month", date(2026, 10, 1)), ("year", date(2027, 1, 1))):
        told = ask(store, frame, day, TARIFF_FILE=str(path))
        assert (told["months"], told["total_eur"]) == ([], None)
    assert ask(store, "year", date(1970, 1, 1))["months"] == []


class TestTwelveMonths:
    """The peaks of a year, as the meter itself has them."""

    def year(self, store: Store, until: date, now: datetime = NOW) -> dict:
        environ = {"DATABASE_URL": "postgresql:///x", "REDIS_URL": "redis://x"}
        settings = load(environ | {"DEVICE_TOKENS": ""})
        return capacity.year(meter_of(store, settings, now), until)

    def test_there_are_always_twelve(self, store):
        told = self.year(store, date(2026, 9, 1))
        assert [one["month"] for one in told["months"]] == [
            "2025-10", "2025-11", "2025-12", "2026-01", "2026-02", "2026-03", "2026-04",
            "2026-05", "2026-06", "2026-07", "2026-08", "2026-09",
        ]  # fmt: skip
        assert told["months"][0] == {
            "month": "2025-10",
            "peak_w": None,
            "peak_ts": None,
            "source": None,
            "billed_w": None,
            "complete": True,
        }
        assert told["months"][2] == {
            "month": "2025-12",
            "peak_w": 2000,
            "peak_ts": "2025-12-01T18:15:00+01:00",
            "source": "official",
            "billed_w": 2500,
            "complete": True,
        }
        assert told["months"][11]["complete"] is False
        assert told["months_known"] == 10
        assert told["mean_w"] == 3750

    def test_the_floor_holds_for_each_month_before_the_mean(self):
        """Eleven months of 1.0 and one of 20 kW; and the row of the Wikibook."""

        def of(*kw: str) -> Fraction:
            return mean(Peak(Fraction(one) * 1000, None, "official") for one in kw)

        assert round(of(*["1.0"] * 11, "20")) == 3958
        row = [
            "0.632",
            "4.6",
            "0",
            "1.028",
            "3.444",
            "4.164",
            "4.564",
            "6",
            "9.2",
            "5",
            "4.12",
            "4.88",
        ]
        assert of(*row) == 4456
        assert mean([None, None]) is None

    @pytest.mark.parametrize("until", [date(2019, 6, 1), date(2035, 1, 1), date(9999, 12, 1)])
    def test_where_nothing_can_be_known_all_is_null(self, store, until):
        told = self.year(store, until)
        assert (len(told["months"]), told["mean_w"], told["months_known"]) == (12, None, 0)
        assert told["months"][-1]["complete"] is (until.year < 2026)


def test_a_months_peak_is_the_best_that_is_known(migrated):
    """A well covered register, the meter's history, then whatever was sampled."""
    settings = load({"DATABASE_URL": migrated, "REDIS_URL": "redis://x", "DEVICE_TOKENS": ""})
    start = datetime(2026, 3, 10, 12, tzinfo=UTC)
    steady = [
        {
            "device_id": "meter",
            "ts": start + timedelta(minutes=minute),
            "power_w": 3000,
            "import_power_w": 3000,
            "energy_import_kwh": round(700 + minute * 0.05, 3),
        }
        for minute in range(-1, 17)
    ]
    lone = [
        {**steady[0], "ts": start.replace(month=month), "import_power_w": 9000, "power_w": 9000}
        for month in (4, 5)
    ]
    insert(migrated, "p1", [*steady, *lone])
    told = {"w": 4928.5, "ts": None}
    with psycopg2.connect(migrated) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO agents VALUES ('meter', now(), '{}', %s)",
            [json.dumps({"2026-02": told, "2026-03": told, "2026-04": told})],
        )
    connection.close()
    months = capacity.year(meter_of(Store(migrated), settings, NOW), date(2026, 5, 1))
    assert [(one["month"], one["peak_w"], one["source"]) for one in months["months"][7:]] == [
        ("2026-01", None, None),
        ("2026-02", 4928, "meter_history"),
        ("2026-03", 3000, "register"),
        ("2026-04", 4928, "meter_history"),
        ("2026-05", 9000, "sampled"),
    ]
    assert months["mean_w"] == round((2 * 4928.5 + 3000 + 9000) / 4)
