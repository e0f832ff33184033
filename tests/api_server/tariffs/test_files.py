"""The files of rates: what the project knows, and what is refused in a household's own."""

import re
import sys
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from api_server import config
from api_server.tariffs import files
from edge_agent.shared.environment import InvalidSettings
from tests.support.servers import ROOT, ServerFailed, run
from tests.support.servers.process import environment

PRICE = '[[price]]\nfrom = 2026-01-01\nwhat = "import"\ntariff = "all"\neur_per_kwh = 0.14\n'
FIXED = "[[fixed]]\nfrom = 2026-01-01\neur_per_year = 60\n"
LEVY = "[[levy]]\nfrom = 2026-01-01\nto = 2026-08-01\neur_per_kwh = 0.05\n"
# EUR: the capacity term of 2025 and 2026 including VAT, the kWh term of 2026 excluding it.
FACTS = {
    "antwerpen": ("53.26", "52.37", "0.0505027"),
    "halle-vilvoorde": ("59.56", "59.41", "0.0531770"),
    "imewo": ("56.44", "57.45", "0.0522864"),
    "kempen": ("56.30", "59.58", "0.0597838"),
    "limburg": ("51.81", "51.99", "0.0542695"),
    "midden-vlaanderen": ("51.99", "53.13", "0.0498061"),
    "west": ("60.35", "60.53", "0.0631937"),
    "zenne-dijle": ("59.15", "59.49", "0.0553921"),
}


@pytest.mark.parametrize("area", files.AREAS)
def test_the_grids_rates_are_those_that_were_verified(area):
    grid = files.grid(area)
    in_2025, in_2026, term = map(Decimal, FACTS[area])
    assert [rate.eur for rate in grid.capacity.rates] == [in_2025, in_2026]
    assert [rate.eur for rate in grid.kwh_term.rates] == [term * Decimal("1.06")]
    assert [rate.eur for rate in grid.maximum.rates] == [Decimal("0.3472738")]
    assert [rate.eur for rate in grid.data.rates] == [Decimal("18.56"), Decimal("18.92")]
    years = {rate.first.year for rate in grid.capacity.rates}
    assert years == {2025, 2026}
    assert grid.capacity.on(date(2027, 1, 1)) is None
    assert grid.kwh_term.on(date(2025, 12, 31)) is None


def test_every_row_of_the_grid_says_where_it_is_from():
    content = tomllib.loads(files.FLANDERS.read_text())
    rows = [row for table in content.values() for row in table]
    assert len(rows) == 8 * 3 + 3
    assert all(row["source"] and row["to"] > row["from"] and row["checked"] for row in rows)
    assert files.problems() == []


def read(tmp_path: Path, text: str) -> files.Contract:
    """A household's file."""
    path = tmp_path / "tariff.toml"
    path.write_text(text)
    return files.read_contract(str(path))


def test_a_households_file_is_read_with_its_decimals(tmp_path):
    contract = read(tmp_path, PRICE + FIXED + LEVY)
    assert contract.imports["all"].on(date(2030, 1, 1)).eur == Decimal("0.14")
    assert contract.imports["all"].on(date(2025, 12, 31)) is None
    assert contract.fixed.on(date(2026, 1, 1)).eur == 60
    assert contract.levy.on(date(2026, 8, 1)) is None
    assert str(contract) == str(tmp_path / "tariff.toml")
    assert read(tmp_path, "") == files.no_contract()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PRICE * 2, "price 2 overlaps price 1"),
        (PRICE + PRICE.replace('"all"', "2"), "price 2 overlaps price 1"),
        (FIXED + FIXED.replace("2026-01-01", "2027-01-01"), "fixed 2 overlaps fixed 1"),
        (LEVY.replace("01-01", "07-31") + LEVY, "levy 1 overlaps levy 2"),
        (PRICE + "extra = 1\n", "price 1: unknown key extra"),
        (PRICE.replace("price", "prices"), "unknown key prices"),
        ("currency = 'EUR'\n" + PRICE, "unknown key currency"),
        ("price = 1\n", "price must be an array of tables: [[price]]"),
        ("[price]\n", "price must be an array of tables"),
        (PRICE.replace("0.14", '"0.14"'), "eur_per_kwh must be a number"),
        (PRICE.replace("0.14", "true"), "eur_per_kwh must be a number"),
        (PRICE.replace("0.14", "nan"), "eur_per_kwh must be a number from -10 to 10000"),
        (PRICE.replace("0.14", "inf"), "eur_per_kwh must be a number from -10 to 10000"),
        (FIXED.replace("60", "-60"), "eur_per_year must be a number from 0 to 10000"),
        (FIXED.replace("60", "1e400"), "eur_per_year must be a number from 0 to 10000"),
        (PRICE.replace("0.14", "0.12345678901234"), "must have at most 12 digits"),
        (PRICE.replace('"all"', "true"), "tariff must be one of 'all', 1, 2"),
        (PRICE.replace('"all"', "3"), "tariff must be one of 'all', 1, 2"),
        (PRICE.replace('"import"', '"gas"'), "what must be one of 'import', 'export'"),
        (PRICE.replace("2026-01-01", '"2026-01-01"'), "from must be a date like 2026-01-01"),
        (PRICE.replace("2026-01-01", "2026-01-01T00:00:00"), "from must be a date"),
        (LEVY.replace("2026-08-01", "2026-01-01"), "levy 1: to must be after from"),
        (FIXED.replace("from = 2026-01-01\n", ""), "fixed 1: from is required"),
        (FIXED.replace("eur_per_year", "eur_per_kwh"), "eur_per_year is required"),
        ("[[price]\n", "it is no TOML"),
        ("x = " + "[" * 5000, "it is no TOML"),
    ],
)
def test_what_is_wrong_in_a_households_file_is_told(tmp_path, text, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        read(tmp_path, text)


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    with pytest.raises(ValueError) as caught:
        read(tmp_path, PRICE * 2 + FIXED.replace("60", "true") + "[[gas]]\n")
    told = str(caught.value)
    assert all(one in told for one in ("unknown key gas", "price 2 overlaps", "fixed 1: eur"))


def test_rows_that_follow_each_other_do_not_overlap(tmp_path):
    later = LEVY.replace("2026-01-01", "2026-08-01").replace("to = 2026-08-01\n", "")
    assert len(read(tmp_path, later + LEVY).levy.rates) == 2


def check(**settings: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "api_server.tariffs", "--check"]
    return run(command, cwd=ROOT, env=environment(settings))


def test_the_command_prints_what_is_in_force_and_every_hole(tmp_path):
    path = tmp_path / "tariff.toml"
    day_only = PRICE.replace('"all"', "1").replace("2026-01-01", "2026-08-01")
    path.write_text(PRICE.replace("what", "to = 2026-08-01\nwhat") + day_only + FIXED)
    said = check(GRID_AREA="west", TARIFF_FILE=str(path))
    assert "fixed fee: 60 per year, from 2026-01-01" in said
    assert "grid kWh term west: 2025-01-01 to 2026-01-01" in said
    assert "import price: 2025-01-01 to 2026-01-01" in said
    assert "import price tariff 2: 2026-08-01 to " in said
    assert "export price: 2025-01-01 to " in said
    assert "import price tariff 1: 0.14 per kWh" in said
    assert "GRID_AREA is not set" in check()


def test_the_command_refuses_what_is_wrong(tmp_path):
    path = tmp_path / "tariff.toml"
    path.write_text(PRICE * 2)
    with pytest.raises(ServerFailed) as caught:
        check(GRID_AREA="nowhere", TARIFF_FILE=str(path))
    told = str(caught.value)
    assert "78" in told
    assert f"TARIFF_FILE must hold good rates; in {path}: price 2 overlaps price 1" in told
    assert "GRID_AREA must be one of antwerpen, " in told
    with pytest.raises(ServerFailed, match="and /none can not: No such file"):
        check(TARIFF_FILE="/none")


def test_the_api_refuses_to_start_with_the_same_line(tmp_path):
    path = tmp_path / "tariff.toml"
    path.write_text(FIXED.replace("60", "true"))
    servers = {"DATABASE_URL": "postgresql:///x", "REDIS_URL": "redis://x", "DEVICE_TOKENS": ""}
    with pytest.raises(InvalidSettings) as caught:
        config.load(servers | {"TARIFF_FILE": str(path)})
    (line,) = caught.value.problems
    with pytest.raises(ServerFailed, match=re.escape(line)):
        check(TARIFF_FILE=str(path))
