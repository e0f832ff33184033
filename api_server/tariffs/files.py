"""The two files of rates: the grid's, which comes with the project, and the household's own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

from api_server.tariffs.rates import Row, Schedule, Table, choice, day, parse, split, text, vat
from edge_agent.shared import environment
from edge_agent.shared.environment import Setting

AREAS = (
    "antwerpen",
    "halle-vilvoorde",
    "imewo",
    "kempen",
    "limburg",
    "midden-vlaanderen",
    "west",
    "zenne-dijle",
)
FLANDERS = Path(__file__).with_name("flanders.toml")
TARIFFS = ("all", 1, 2)  # 1 is day and 2 is night, in Belgium

_KW_YEAR, _KWH, _YEAR = "eur_per_kw_year", "eur_per_kwh", "eur_per_year"
_NONE = Decimal(0)
_AREA = {"area": choice(*AREAS)}
_SOURCED = {"vat": vat, "source": text, "checked": day}
_GRID_TABLES = {
    "capacity": Table(_KW_YEAR, "kW and year", _NONE, _AREA, _SOURCED),
    "kwh_term": Table(_KWH, "kWh", _NONE, _AREA, _SOURCED),
    "maximum": Table(_KWH, "kWh", _NONE, {}, _SOURCED),
    "data": Table(_YEAR, "year", _NONE, {}, _SOURCED),
}
_PRICE = {"what": choice("import", "export"), "tariff": choice(*TARIFFS)}
_OWN_TABLES = {
    # Who feeds in may have to pay for it.
    "price": Table(_KWH, "kWh", Decimal(-10), _PRICE, {}),
    "fixed": Table(_YEAR, "year", _NONE, {}, {}),
    "levy": Table(_KWH, "kWh", _NONE, {}, {}),
}


@dataclass(frozen=True)
class Grid:
    """What the grid costs in one area of Flanders."""

    capacity: Schedule
    kwh_term: Schedule
    maximum: Schedule
    data: Schedule

    def schedules(self) -> list[Schedule]:
        """All of them."""
        return [self.capacity, self.kwh_term, self.maximum, self.data]


@dataclass(frozen=True)
class Contract:
    """The household's own rates; prices by tariff, "all" for one price whatever the tariff."""

    imports: dict[object, Schedule]
    exports: dict[object, Schedule]
    levy: Schedule
    fixed: Schedule
    path: Path | None = field(default=None, compare=False)

    def schedules(self) -> list[Schedule]:
        """All of them."""
        return [*self.imports.values(), *self.exports.values(), self.levy, self.fixed]

    def holes(self, first: date, end: date) -> Iterator[tuple[str, date, date]]:
        """What is lacking from when until before when; a day needs one price or one per tariff."""
        for prices in (self.imports, self.exports):
            days = {day for schedule in prices.values() for day in schedule.changes()}
            for start, stop in split(first, end, days):
                held = {tariff for tariff in TARIFFS if prices[tariff].on(start)}
                wanted = {1, 2} if held & {1, 2} and "all" not in held else {"all"}
                for tariff in wanted - held:
                    yield prices[tariff].name, start, stop
        for schedule in (self.levy, self.fixed):
            for start, stop in schedule.holes(first, end):
                yield schedule.name, start, stop

    def __str__(self) -> str:
        return str(self.path or "")


def problems() -> list[str]:
    """What is wrong with the grid's file, which may have been edited."""
    try:
        _flanders()
    except ValueError as error:
        return [f"{FLANDERS.name} is wrong: {error}"]
    return []


@cache
def _flanders() -> list[Row]:
    return parse(FLANDERS.read_text(encoding="utf-8"), _GRID_TABLES)


@cache
def grid(area: str) -> Grid:
    """The rates of an area that the project knows."""

    def schedule(name: str, table: str, *kinds: str) -> Schedule:
        return _schedule(name, table, _flanders(), _GRID_TABLES, *kinds)

    return Grid(
        schedule(f"capacity rate {area}", "capacity", area),
        schedule(f"grid kWh term {area}", "kwh_term", area),
        schedule("maximum rate", "maximum"),
        schedule("data management", "data"),
    )


def no_contract() -> Contract:
    """What is known of a household that has told nothing."""
    return _contract([], None)


def read_contract(value: str) -> Contract:
    """The household's own file; raises ValueError with all that is wrong with it."""
    path = Path(value)
    try:
        rows = parse(path.read_text(encoding="utf-8"), _OWN_TABLES)
    except OSError as error:
        detail = f"must name a file that can be read, and {value} can not: {error.strerror}"
        raise ValueError(detail) from None
    except UnicodeDecodeError:
        raise ValueError(f"must name a file of UTF-8 text, and {value} is none") from None
    except ValueError as error:
        raise ValueError(f"must hold good rates; in {value}: {error}") from None
    return _contract(rows, path)


def _contract(rows: list[Row], path: Path | None) -> Contract:
    def schedule(name: str, table: str, *kinds: object) -> Schedule:
        return _schedule(name, table, rows, _OWN_TABLES, *kinds)

    def prices(what: str) -> dict[object, Schedule]:
        return {
            tariff: schedule(
                f"{what} price" + ("" if tariff == "all" else f" tariff {tariff}"),
                "price",
                what,
                tariff,
            )
            for tariff in TARIFFS
        }

    levy, fixed = schedule("levy", "levy"), schedule("fixed fee", "fixed")
    return Contract(prices("import"), prices("export"), levy, fixed, path)


def _schedule(
    name: str, table: str, rows: list[Row], tables: dict[str, Table], *kinds: object
) -> Schedule:
    rates = tuple(rate for one, told, rate in rows if (one, told) == (table, kinds))
    return Schedule(name, tables[table].unit, rates)


SETTINGS = (
    Setting("GRID_AREA", environment.choice(*AREAS)),
    Setting("TARIFF_FILE", read_contract),
)
