"""Dated rates and how they are read from TOML: strictly, with every problem told at once."""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

VAT = Decimal("1.06")
FOREVER = date.max
DIGITS = 12  # of a rate: no bill has more, and arithmetic stays small


@dataclass(frozen=True)
class Rate:
    """EUR including VAT for one unit, from the day `first` until the day before `end`."""

    first: date
    end: date
    eur: Decimal
    source: str = ""


@dataclass(frozen=True)
class Schedule:
    """What one thing costs through time; its rates are in order and do not overlap."""

    name: str
    unit: str
    rates: tuple[Rate, ...] = ()

    def on(self, day: date) -> Rate | None:
        """The rate of a day."""
        return next((rate for rate in self.rates if rate.first <= day < rate.end), None)

    def changes(self) -> set[date]:
        """The days on which another rate, or none, begins to hold."""
        return {day for rate in self.rates for day in (rate.first, rate.end)}

    def holes(self, first: date, end: date) -> list[tuple[date, date]]:
        """The stretches of days from `first` to the day before `end` that no rate covers."""
        return [part for part in split(first, end, self.changes()) if self.on(part[0]) is None]


@dataclass(frozen=True)
class Table:
    """An array of a file: what its rows cost, by what they are told apart, and its other keys.

    Each of the keys has a check that returns its value or raises ValueError("must be ...").
    """

    amount: str
    unit: str
    least: Decimal
    kinds: Mapping[str, Callable[[Any], Any]]
    more: Mapping[str, Callable[[Any], Any]]


Row = tuple[str, tuple[Any, ...], Rate]  # the table, what it is told apart by, the rate


def parse(text: str, tables: Mapping[str, Table]) -> list[Row]:
    """The rows of a file, in order of time; raises ValueError with all that is wrong with them."""
    try:
        content = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no TOML: {error}") from None
    problems = [f"unknown key {name}" for name in sorted(content.keys() - tables.keys())]
    rows: list[tuple[str, Row]] = []
    for name, table in tables.items():
        listed = content.get(name, [])
        if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
            problems.append(f"{name} must be an array of tables: [[{name}]]")
            continue
        for number, row in enumerate(listed, 1):
            where = f"{name} {number}"
            try:
                rows.append((where, _row(name, table, row)))
            except ValueError as error:
                problems.append(f"{where}: {error}")
    rows.sort(key=lambda one: one[1][2].first)
    problems += _overlaps(rows)
    if problems:
        raise ValueError("; ".join(problems))
    return [row for _, row in rows]


def _row(name: str, table: Table, row: dict[str, Any]) -> Row:
    """One row, checked; raises ValueError with all that is wrong with it."""
    checks = {
        "from": day,
        "to": day,
        table.amount: _amount(table.least),
        **table.kinds,
        **table.more,
    }
    values: dict[str, Any] = {"to": FOREVER}
    problems = [f"unknown key {key}" for key in sorted(row.keys() - checks.keys())]
    for key, check in checks.items():
        if key not in row:
            if key != "to":
                problems.append(f"{key} is required")
            continue
        try:
            values[key] = check(row[key])
        except ValueError as error:
            problems.append(f"{key} {error}")
    if not problems and values["to"] <= values["from"]:
        problems.append("to must be after from")
    if problems:
        raise ValueError(", ".join(problems))
    eur = values[table.amount] * values.get("vat", 1)
    rate = Rate(values["from"], values["to"], eur, values.get("source", ""))
    return name, tuple(values[key] for key in table.kinds), rate


def _overlaps(rows: Iterable[tuple[str, Row]]) -> list[str]:
    """A problem for each row that begins while the one before it of its kind still holds."""
    by_kind: dict[Any, list[tuple[str, Rate]]] = {}
    for where, (name, kinds, rate) in rows:
        for kind in _clashing(kinds):
            by_kind.setdefault((name, kind), []).append((where, rate))
    found = [
        f"{where} overlaps {earlier}"
        for listed in by_kind.values()
        for (earlier, before), (where, rate) in pairwise(listed)
        if rate.first < before.end
    ]
    return list(dict.fromkeys(found))


def _clashing(kinds: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The kinds that a row covers: a price for all tariffs is one for each of them."""
    if kinds and kinds[-1] == "all":
        return [(*kinds[:-1], 1), (*kinds[:-1], 2)]
    return [kinds]


def day(value: Any) -> date:
    """A date of TOML, without quotes and without a time."""
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError("must be a date like 2026-01-01, without quotes")
    return value


def choice(*options: Any) -> Callable[[Any], Any]:
    """A check that a value is one of the options."""

    def check(value: Any) -> Any:
        if isinstance(value, bool) or value not in options:
            raise ValueError(f"must be one of {', '.join(map(repr, options))}")
        return value

    return check


def text(value: Any) -> str:
    """A check that a value says something."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text")
    return value


def vat(value: Any) -> Decimal:
    """What a row's amount is multiplied with."""
    return VAT if choice("included", "excluded")(value) == "excluded" else Decimal(1)


def _amount(least: Decimal) -> Callable[[Any], Decimal]:
    def check(value: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise ValueError("must be a number")
        amount = Decimal(value)
        if not amount.is_finite() or not least <= amount <= 10_000:
            raise ValueError(f"must be a number from {least} to 10000")
        if len(amount.as_tuple().digits) > DIGITS:
            raise ValueError(f"must have at most {DIGITS} digits")
        return amount

    return check


def split(first: date, end: date, days: Iterable[date]) -> list[tuple[date, date]]:
    """The stretches between two days, cut at those of the days that lie inside."""
    cuts = sorted({first, end} | {one for one in days if first < one < end})
    return list(pairwise(cuts))
