"""What a month costs: the vectors of the tariff's rules, by hand."""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from api_server.tariffs import files
from api_server.tariffs.bill import Bill, Month, Stretch, bill, cents

IMEWO = files.grid("imewo")
NOTHING = files.no_contract()
SAMPLE = """
[[price]]
from = 2026-01-01
to = 2026-08-01
what = "import"
tariff = "all"
eur_per_kwh = 0.10
[[price]]
from = 2026-08-01
what = "import"
tariff = 1
eur_per_kwh = 0.20
[[price]]
from = 2026-08-01
what = "import"
tariff = 2
eur_per_kwh = 0.15
[[price]]
from = 2026-01-01
what = "export"
tariff = "all"
eur_per_kwh = 0.03
[[fixed]]
from = 2026-01-01
to = 2026-08-16
eur_per_year = 62
[[fixed]]
from = 2026-08-16
eur_per_year = 124
[[levy]]
from = 2026-01-01
to = 2026-08-01
eur_per_kwh = 0.0503
[[levy]]
from = 2026-08-01
eur_per_kwh = 0.04876
"""


@pytest.fixture
def contract(tmp_path: Path) -> files.Contract:
    """One that changes on 2026-08-01, and its fixed fee once more."""
    path = tmp_path / "contract.toml"
    path.write_text(SAMPLE)
    return files.read_contract(str(path))


def stretch(first: str, end: str, imported: str | None = "0", exported: str | None = "0", **more):
    """Some days and their kWh."""
    told = [None if one is None else Decimal(one) for one in (imported, exported)]
    return Stretch(date.fromisoformat(first), date.fromisoformat(end), *told, **more)


def month(*stretches: Stretch, peak_w: Fraction | int | None = None) -> Month:
    """A month of stretches."""
    return Month(stretches, None if peak_w is None else Fraction(peak_w))


def eur(made: Bill) -> dict[str, float | None]:
    """The fields of a bill in cents."""
    names = ("capacity", "grid", "data", "imports", "exports", "levies", "fixed", "total")
    return {name: cents(getattr(made, name)) for name in names}


def test_a_month_in_imewo_at_4456_watts():
    used = month(stretch("2026-03-01", "2026-04-01", "300"), peak_w=4456)
    made = bill(used, IMEWO, NOTHING)
    assert (cents(made.capacity), cents(12 * made.capacity)) == (21.33, 256.00)
    assert cents(made.grid) == 16.63  # 300 * 0.0522864 * 1.06
    assert cents(made.data) == 1.58
    assert made.capped is False


def test_a_summer_month_is_capped():
    used = month(stretch("2026-07-01", "2026-08-01", "20"), peak_w=3000)
    made = bill(used, IMEWO, NOTHING)
    assert made.capped is True
    assert cents(made.grid) == 1.11
    assert cents(made.capacity) == 5.84  # the rest of 6.95, unrounded
    assert cents(made.capacity + made.grid) == 6.95
    uncapped = Fraction("57.45") / 12 * 3 + made.grid
    assert cents(uncapped) == 15.47


def test_without_the_kwh_term_nothing_is_capped_nor_guessed():
    used = month(stretch("2025-07-01", "2025-08-01", "20"), peak_w=3000)
    made = bill(used, files.grid("west"), NOTHING)
    assert (made.grid, made.capped, made.total) == (None, None, None)
    assert cents(made.capacity) == 15.09  # 60.35 / 12 * 3
    assert made.missing == (
        "grid kWh term west 2025",
        "import price 2025",
        "export price 2025",
        "levy 2025",
        "fixed fee 2025",
    )


def test_a_year_that_no_row_covers_is_unknown_and_says_so():
    used = month(stretch("2024-07-01", "2024-08-01", "20"), peak_w=3000)
    made = bill(used, IMEWO, NOTHING)
    assert set(eur(made).values()) == {None}
    assert made.missing[:3] == (
        "capacity rate imewo 2024",
        "grid kWh term imewo 2024",
        "data management 2024",
    )


def test_without_an_area_the_grid_is_left_out(contract):
    used = month(stretch("2026-07-01", "2026-08-01", "100", "50"))
    made = bill(used, None, contract)
    assert made.missing == ()
    assert eur(made) == {
        "capacity": None, "grid": None, "data": None, "imports": 10.0, "exports": -1.5,
        "levies": 5.03, "fixed": 5.17, "total": 18.7,
    }  # fmt: skip


def test_a_contract_that_changes_counts_by_days(contract):
    by_tariff = {"imported_by": (Decimal(30), Decimal(10))}
    august = month(
        stretch("2026-08-01", "2026-08-16", "40", **by_tariff),
        stretch("2026-08-16", "2026-09-01", "40", **by_tariff),
    )
    made = bill(august, None, contract)
    assert made.missing == ()
    assert cents(made.imports) == 15.0  # twice 30 * 0.20 + 10 * 0.15
    assert cents(made.levies) == 3.9  # 80 * 0.04876
    assert made.fixed == Fraction(62, 12) * 15 / 31 + Fraction(124, 12) * 16 / 31
    july = bill(month(stretch("2026-07-01", "2026-08-01", "80")), None, contract)
    assert (cents(july.imports), cents(july.levies), cents(july.fixed)) == (8.0, 4.02, 5.17)


def test_a_price_that_changes_within_a_month_meets_each_days_energy(tmp_path):
    path = tmp_path / "contract.toml"
    path.write_text(SAMPLE.replace("2026-08-01", "2026-08-11"))
    changed = files.read_contract(str(path))
    august = month(
        stretch("2026-08-01", "2026-08-11", "100"),
        stretch("2026-08-11", "2026-09-01", "10", imported_by=(Decimal(10), Decimal(0))),
    )
    assert cents(bill(august, None, changed).imports) == 12.0


@pytest.mark.parametrize(
    ("by_tariff", "lacking"),
    [
        ((None, None), "energy per tariff"),
        ((Decimal(3), None), "energy per tariff"),
        ((Decimal(3), Decimal(3)), "energy per tariff"),  # since they are told, not all month
    ],
)
def test_a_price_per_tariff_needs_the_registers_of_all_that_flowed(contract, by_tariff, lacking):
    used = month(stretch("2026-09-01", "2026-10-01", "40", imported_by=by_tariff))
    made = bill(used, None, contract)
    assert (made.imports, made.total, made.missing) == (None, None, (lacking,))


def test_a_tariff_without_a_price_is_named_once_it_is_used(tmp_path):
    path = tmp_path / "contract.toml"
    path.write_text(
        '[[price]]\nfrom = 2026-01-01\nwhat = "import"\ntariff = 1\neur_per_kwh = 0.3\n'
    )
    day_only = files.read_contract(str(path))

    def imports(*by_tariff: int) -> Bill:
        told = tuple(map(Decimal, by_tariff))
        used = stretch("2026-09-01", "2026-10-01", str(sum(by_tariff)), imported_by=told)
        return bill(month(used), None, day_only)

    assert cents(imports(10, 0).imports) == 3.0
    assert imports(10, 1).imports is None
    assert "import price tariff 2 2026" in imports(10, 1).missing


def test_what_is_not_measured_is_named(contract):
    used = month(stretch("2026-07-01", "2026-08-01", None, None))
    made = bill(used, IMEWO, contract)
    assert made.missing == ("month peak", "energy import", "energy export")
    assert set(eur(made).values()) == {None, 1.58, 5.17}


def test_days_before_the_first_reading_need_no_price(tmp_path):
    path = tmp_path / "contract.toml"
    path.write_text(SAMPLE.replace("2026-01-01", "2026-07-11"))
    young = files.read_contract(str(path))
    used = month(
        stretch("2026-07-01", "2026-07-11", None), stretch("2026-07-11", "2026-08-01", "5")
    )
    assert cents(bill(used, None, young).imports) == 0.5
    used = month(stretch("2026-07-01", "2026-07-11", "1"), stretch("2026-07-11", "2026-08-01", "5"))
    assert bill(used, None, young).missing == ("import price 2026", "levy 2026")


@pytest.mark.parametrize(
    ("exact", "shown"),
    [
        (Fraction("0.005"), 0.01),
        (Fraction("-0.005"), -0.01),
        (Fraction("0.00499999999999999999999999999999"), 0.0),
        (Fraction(-1, 1000), 0.0),
        (Fraction("123456789.125"), 123456789.13),
        (None, None),
    ],
)
def test_amounts_are_rounded_once_from_what_they_are_exactly(exact, shown):
    assert cents(exact) == shown
    assert str(cents(exact)) != "-0.0"


def test_a_total_is_the_sum_of_exact_amounts():
    made = Bill(capacity=Fraction("0.004"), grid=Fraction("0.004"), data=Fraction("0.004"))
    assert [cents(made.capacity), cents(made.total)] == [0.0, 0.01]
