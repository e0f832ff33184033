"""What months of electricity cost: their energies and peaks, met with dated rates."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.data import rollups
from api_server.data.capacity import Meter, months
from api_server.data.database import HISTORY_S
from api_server.data.periods import EARLIEST_YEAR, LATEST_YEAR, after, floor, midnight
from api_server.tariffs import files
from api_server.tariffs.bill import Bill, Month, Stretch, bill, cents
from api_server.tariffs.rates import split
from edge_agent.shared.samples import P1

FRAMES = ("month", "year")
_ENERGIES = {
    "import": "energy_import",
    "export": "energy_export",
    "import_t1": "energy_import_t1",
    "import_t2": "energy_import_t2",
    "export_t1": "energy_export_t1",
    "export_t2": "energy_export_t2",
}


class Rates(NamedTuple):
    """What holds for this household; without an area nothing of the grid."""

    grid: files.Grid | None
    contract: files.Contract

    def changes(self) -> set[date]:
        """The days on which any rate begins or ends."""
        schedules = [*(self.grid.schedules() if self.grid else ()), *self.contract.schedules()]
        return {day for schedule in schedules for day in schedule.changes()}


def answer(meter: Meter, frame: str, day: date | None) -> dict[str, Any]:
    """The cost of the month or the year that a day lies in, None for today; up to now."""
    settings, now = meter.settings, meter.now
    rates = Rates(
        files.grid(settings.grid_area) if settings.grid_area else None,
        settings.tariff_file or files.no_contract(),
    )
    today = now.astimezone(settings.site_timezone).date()
    firsts = _months(frame, day or today, today)
    made: list[tuple[date, Month]] = []
    if firsts:
        made = _read(meter, firsts, rates.changes())
    bills = [bill(used, *rates) for _, used in made]
    totals = [one.total for one in bills]
    return {
        "device_id": meter.device_id,
        "currency": "EUR",
        "vat_included": True,
        "months": [
            {
                "month": months.name(first),
                "complete": months.is_complete(first, now, settings.site_timezone),
                **_printed(used, one),
            }
            for (first, used), one in zip(made, bills, strict=True)
        ],
        "total_eur": None if None in totals or not totals else cents(sum(totals, Fraction(0))),
    }


def _months(frame: str, day: date, today: date) -> list[date]:
    """The first days of the months of a frame that have begun."""
    if not EARLIEST_YEAR <= day.year <= LATEST_YEAR:
        return []
    first, found = floor(day, frame), []
    while first < after(floor(day, frame), frame) and first <= today:
        found.append(first)
        first = after(first, "month")
    return found


def _read(meter: Meter, firsts: list[date], changes: set[date]) -> list[tuple[date, Month]]:
    """What each month has used, cut where a rate changes."""
    parts = {first: split(first, after(first, "month"), changes) for first in firsts}
    cuts = list(chain(*parts.values()))
    read = meter.store.run(
        lambda cursor: _stretches(cursor, meter.zone, meter.device_id, cuts), HISTORY_S
    )
    stretches = {stretch.first: stretch for stretch in read}
    needed = months.back(firsts[0], months.MONTHS)[:-1] + firsts
    peaks = meter.peaks(needed)
    return [
        (
            first,
            Month(
                tuple(stretches[start] for start, _ in parts[first]),
                months.mean(peaks.get(one) for one in months.back(first, months.MONTHS)),
            ),
        )
        for first in firsts
    ]


def _stretches(
    cursor: Any, zone: ZoneInfo, device_id: str, parts: list[tuple[date, date]]
) -> list[Stretch]:
    days = [parts[0][0], *(end for _, end in parts)]
    edges = [midnight(day, zone) for day in days]
    width = "month" if all(day.day == 1 for day in days) else "day"
    found = {
        bucket.start: {name: _decimal(kwh) for name, kwh in bucket.energies.items()}
        for bucket in rollups.read(
            cursor, P1, device_id, edges, width, zone, still=True, energies=_ENERGIES
        )
    }
    none = dict.fromkeys(_ENERGIES)
    stretches = []
    for (first, end), start in zip(parts, edges, strict=False):
        kwh = found.get(start, none)
        imported_by = kwh["import_t1"], kwh["import_t2"]
        exported_by = kwh["export_t1"], kwh["export_t2"]
        stretches.append(
            Stretch(first, end, kwh["import"], kwh["export"], imported_by, exported_by)
        )
    return stretches


def _decimal(kwh: float | None) -> Decimal | None:
    return None if kwh is None else Decimal(str(kwh))


def _printed(used: Month, made: Bill) -> dict[str, Any]:
    return {
        "import_kwh": _sum(stretch.imported for stretch in used.stretches),
        "export_kwh": _sum(stretch.exported for stretch in used.stretches),
        "mean_peak_w": months.rounded(used.mean_peak_w),
        "capacity_eur": cents(made.capacity),
        "grid_eur": cents(made.grid),
        "capped": made.capped,
        "data_eur": cents(made.data),
        "import_eur": cents(made.imports),
        "export_eur": cents(made.exports),
        "levies_eur": cents(made.levies),
        "fixed_eur": cents(made.fixed),
        "total_eur": cents(made.total),
        "missing": list(made.missing),
    }


def _sum(parts: Iterable[Decimal | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return float(sum(known)) if known else None
