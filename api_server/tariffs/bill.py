"""What a month comes to: exact fractions of decimal rates, rounded once where they are shown."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from fractions import Fraction

from api_server.tariffs.files import Contract, Grid
from api_server.tariffs.rates import Schedule

CENT = Decimal("0.01")
# Registers of day and night that count less than this share of the import do not count all of it.
WHOLE_SHARE = Fraction(95, 100)
SLACK_KWH = Fraction(1, 10)


@dataclass(frozen=True)
class Stretch:
    """Days of a month, from `first` until before `end`, within which no rate changes; kWh."""

    first: date
    end: date
    imported: Decimal | None = None
    exported: Decimal | None = None
    imported_by: tuple[Decimal | None, Decimal | None] = (None, None)  # tariffs 1 and 2
    exported_by: tuple[Decimal | None, Decimal | None] = (None, None)

    @property
    def days(self) -> int:
        """How many."""
        return (self.end - self.first).days


@dataclass(frozen=True)
class Month:
    """What a whole month has used: its stretches, and the mean of twelve month peaks in W."""

    stretches: tuple[Stretch, ...]
    mean_peak_w: Fraction | None = None

    @property
    def year(self) -> int:
        """Of the month."""
        return self.stretches[0].first.year

    @property
    def days(self) -> int:
        """How many it has."""
        return sum(stretch.days for stretch in self.stretches)


@dataclass
class Bill:
    """EUR of a month, exact; None is not known, and `missing` says what is lacking for it."""

    capacity: Fraction | None = None
    grid: Fraction | None = None
    capped: bool | None = None
    data: Fraction | None = None
    imports: Fraction | None = None
    exports: Fraction | None = None
    levies: Fraction | None = None
    fixed: Fraction | None = None
    missing: tuple[str, ...] = ()

    @property
    def total(self) -> Fraction | None:
        """The sum of all that was asked for; None if anything is lacking."""
        if self.missing:
            return None
        amounts = (getattr(self, one.name) for one in fields(self))
        return sum((one for one in amounts if isinstance(one, Fraction)), Fraction(0))


class Lacking(Exception):
    """An amount can not be known without `names`."""

    def __init__(self, *names: str):
        super().__init__(*names)
        self.names = names


def bill(month: Month, grid: Grid | None, contract: Contract) -> Bill:
    """What a month comes to; without a grid its fields are None and nothing lacks of them."""
    lacking: dict[str, None] = {}

    def known(amount: Callable[..., Fraction], *told: object) -> Fraction | None:
        try:
            return amount(month, *told)
        except Lacking as error:
            lacking.update(dict.fromkeys(error.names))
            return None

    made = Bill()
    if grid:
        made.capacity = known(_capacity, grid.capacity)
        made.grid = known(_per_kwh, grid.kwh_term)
        made.data = known(_yearly, grid.data)
        if made.grid is not None:
            _cap(made, known(_per_kwh, grid.maximum))
    made.imports = known(_priced, contract.imports, _imported, "energy import")
    made.exports = known(_priced, contract.exports, _exported, "energy export")
    if made.exports is not None:
        made.exports = -made.exports
    made.levies = known(_per_kwh, contract.levy)
    made.fixed = known(_yearly, contract.fixed)
    made.missing = tuple(lacking)
    return made


def cents(amount: Fraction | None) -> float | None:
    """An exact amount in EUR, rounded to cents; half a cent away from zero."""
    if amount is None:
        return None
    whole = math.floor(abs(amount) * 100 + Fraction(1, 2))
    return float(Decimal(whole if amount >= 0 else -whole) * CENT)


def _capacity(month: Month, rate: Schedule) -> Fraction:
    unknown = () if month.mean_peak_w is not None else ("month peak",)
    return _yearly(month, rate, *unknown) * (month.mean_peak_w or 0) / 1000


def _yearly(month: Month, schedule: Schedule, *unknown: str) -> Fraction:
    """A twelfth of a yearly amount, by days where it holds for a part of the month only.

    What else is `unknown` is lacking too.
    """
    rates = [(stretch.days, schedule.on(stretch.first)) for stretch in month.stretches]
    held = [days * Fraction(rate.eur) for days, rate in rates if rate]
    if not held:
        unknown = (f"{schedule.name} {month.year}", *unknown)
    if unknown:
        raise Lacking(*unknown)
    return sum(held, Fraction(0)) / month.days / 12


def _cap(made: Bill, most: Fraction | None) -> None:
    """Let capacity and kWh term together cost no more than the maximum."""
    if made.capacity is None or made.grid is None or most is None:
        return
    made.capped = made.capacity + made.grid > most
    if made.capped:
        made.capacity = most - made.grid


def _per_kwh(month: Month, schedule: Schedule) -> Fraction:
    """One price for all that was imported."""
    return _priced(month, {"all": schedule}, _imported, "energy import")


Energy = Callable[[Stretch], tuple[Decimal | None, tuple[Decimal | None, Decimal | None]]]


def _imported(stretch: Stretch) -> tuple[Decimal | None, tuple[Decimal | None, Decimal | None]]:
    return stretch.imported, stretch.imported_by


def _exported(stretch: Stretch) -> tuple[Decimal | None, tuple[Decimal | None, Decimal | None]]:
    return stretch.exported, stretch.exported_by


def _priced(month: Month, schedules: dict[object, Schedule], energy: Energy, name: str) -> Fraction:
    """Each stretch's energy at its own price, for all tariffs or for each.

    Where nothing is known to have flowed no price is needed, if there is one in the month at all.
    """
    lacking = []
    if not any(_held(schedules, stretch.first) for stretch in month.stretches):
        lacking.append(f"{schedules['all'].name} {month.year}")
    if all(energy(stretch)[0] is None for stretch in month.stretches):
        lacking.append(name)
    if lacking:
        raise Lacking(*lacking)
    total = Fraction(0)
    for stretch in month.stretches:
        kwh, by_tariff = energy(stretch)
        if kwh:
            total += _stretch(schedules, stretch.first, Fraction(kwh), by_tariff, month.year)
    return total


def _stretch(
    schedules: dict[object, Schedule],
    day: date,
    kwh: Fraction,
    by_tariff: Iterable[Decimal | None],
    year: int,
) -> Fraction:
    held = _held(schedules, day)
    if not held:
        raise Lacking(f"{schedules['all'].name} {year}")
    if "all" in held:
        return kwh * Fraction(held["all"])
    parts = list(by_tariff)
    if None in parts or sum(map(Fraction, parts)) < WHOLE_SHARE * kwh - SLACK_KWH:
        raise Lacking("energy per tariff")
    used = {tariff: part for tariff, part in zip((1, 2), parts, strict=True) if part}
    unpriced = [schedules[tariff].name for tariff in used if tariff not in held]
    if unpriced:
        raise Lacking(*(f"{one} {year}" for one in unpriced))
    return sum(
        (Fraction(part) * Fraction(held[tariff]) for tariff, part in used.items()), Fraction(0)
    )


def _held(schedules: dict[object, Schedule], day: date) -> dict[object, Decimal]:
    """The prices of a day by tariff."""
    rates = {tariff: schedule.on(day) for tariff, schedule in schedules.items()}
    return {tariff: rate.eur for tariff, rate in rates.items() if rate}
