"""Every bucket of a site's balance against the truth, on every kind of database."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.support import history
from tests.support.home import KINDS, Home, TrueBalance, make_samples

pytestmark = pytest.mark.slow

CITUS = pytest.param("citus", marks=pytest.mark.full)
APACHE = pytest.param("timescale_apache", marks=pytest.mark.full)
FAMILIES = ("postgres", APACHE, "timescale", CITUS)
ENERGIES = (
    "pv_kwh",
    "grid_import_kwh",
    "grid_export_kwh",
    "charge_kwh",
    "discharge_kwh",
    "inverter_import_kwh",
    "inverter_export_kwh",
)
ORDER = [
    "bucket",
    "pv_kwh",
    "grid_import_kwh",
    "grid_export_kwh",
    "charge_kwh",
    "discharge_kwh",
    "consumption_kwh",
    "self_sufficiency_pct",
    "self_consumption_pct",
    "clamped",
    "inverter_import_kwh",
    "inverter_export_kwh",
    "complete",
]


@pytest.fixture
def make_home(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Home]]:
    """Make a home on a server by the name of its fixture."""
    made: list[Home] = []

    def make(family: str, **settings: str) -> Home:
        made.append(Home(request.getfixturevalue(family), **settings))
        return made[-1]

    yield make
    for home in made:
        home.close()


def assert_same(told: list[dict[str, Any]], true: list[dict[str, Any]]) -> None:
    """Same buckets and nulls; energies within a milliwatt-hour, percentages within a rounding."""
    assert [bucket["bucket"] for bucket in told] == [bucket["bucket"] for bucket in true]
    for one, other in zip(told, true, strict=True):
        assert list(one) == ORDER or set(one) == set(ORDER)
        for name, value in other.items():
            if isinstance(value, float):
                slack = 0.0501 if name.endswith("_pct") else 1e-5
                assert one[name] == pytest.approx(value, rel=1e-9, abs=slack), (one, other, name)
            else:
                assert one[name] == value, (one, other, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_bucket_is_true(make_home: Callable[[str], Home], family: str) -> None:
    """In every frame, in both months in which the clocks change, and between them."""
    home = make_home(family)
    spring, autumn = (
        make_samples(datetime(2025, month, 22, tzinfo=UTC), 25, seed=month) for month in (3, 10)
    )
    made = {device_id: spring[device_id] + autumn[device_id] for device_id in KINDS}
    for device_id, samples in made.items():
        history.insert(home.url, KINDS[device_id], samples)
    truth = TrueBalance(made, home.zone)
    year = date(2025, 1, 1), date(2026, 1, 1)
    days, months = (compare(home, truth, "year", "2025", *year, one) for one in ("day", "month"))
    assert home.balance(frame="all")[: len(months)] == months
    for month in ("2025-03", "2025-10"):
        first = date.fromisoformat(f"{month}-01")
        hours, of_month = (
            compare(home, truth, "month", month, first, first + timedelta(days=31), one)
            for one in ("hour", "day")
        )
        assert_same(of_month, [day for day in days if day["bucket"].startswith(month)])
        assert_sums(hours, of_month, len("2025-03-30"))
    assert_sums(days, months, len("2025-03"))
    for day in (date(2025, 3, 30), date(2025, 10, 26), date(2025, 7, 1), date(2025, 3, 22)):
        compare(home, truth, "day", f"{day}", day, day + timedelta(days=1), "hour")
        monday = day - timedelta(days=day.weekday())
        compare(home, truth, "week", f"{day}", monday, monday + timedelta(days=7), "day")


def compare(
    home: Home, truth: TrueBalance, frame: str, text: str, first: date, end: date, width: str
) -> list[dict[str, Any]]:
    """What is told of a frame, which must be true."""
    told = home.balance(frame=frame, date=text, bucket=width)
    assert_same(told, truth.series(home.midnight(first), home.midnight(end), width))
    return told


def assert_sums(parts: list[dict[str, Any]], wholes: list[dict[str, Any]], named: int) -> None:
    """The energies of the parts add up to those of the wholes, told by the begin of their names."""
    for name in ENERGIES:
        for whole in wholes:
            inside = [part for part in parts if part["bucket"][:named] == whole["bucket"][:named]]
            known = [part[name] for part in inside if part[name] is not None]
            if len(known) < len(inside):
                continue  # of a part one inverter tells nothing
            assert sum(known) == pytest.approx(whole[name] or 0, abs=0.001), (whole, name)
