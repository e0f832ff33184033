"""How values are written: numbers with their unit, times and dates, each in its language.

Every number is an element that also says its name in the API and its unrounded value; what is
not known is a dash, never 0.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from markupsafe import Markup, escape

from api_server.pages.languages import Language

DASH = "\u2013"
MINUS = "\u2212"
SPACE = "\u00a0"


def element(
    language: Language,
    field: str,
    value: float | None,
    device: str | None = None,
    *,
    plain: bool = False,
) -> Markup:
    """A number as it stands in a page; `plain` leaves the sign to the words around it."""
    shown = write(language, field, abs(value) if plain and value else value)
    return Markup(_element(language, field, value, _of(device), shown))  # noqa: S704 - see there


def cells(
    language: Language,
    fields: Iterable[str],
    row: Mapping[str, Any],
    device: str | None = None,
    *,
    bare: bool = False,
    notes: Mapping[str, str] | None = None,
) -> Markup:
    """Numbers of a table's row; `bare` leaves the unit of energies to the heads of their columns,
    `notes` has words that follow some of them."""
    of, notes, listed = _of(device), notes or {}, []
    for field in fields:
        value = row[field]
        if bare and value is not None and field.endswith("_kwh"):
            shown = number(language, value, 2)
        else:
            shown = write(language, field, value)
        note = f' <span class="quiet">{escape(notes[field])}</span>' if field in notes else ""
        listed.append(f"<td>{_element(language, field, value, of, shown)}{note}</td>")
    return Markup("".join(listed))  # noqa: S704 - see _element


def _of(device: str | None) -> str:
    return "" if device is None else f' data-device="{escape(device)}"'


def _element(language: Language, field: str, value: float | None, of: str, shown: str) -> str:
    """The element as text: hundreds are in a page, and to escape what is ours takes half of it."""
    if value is None:
        title = escape(language.words["not_known"])
        return f'<span data-field="{field}" data-value=""{of} title="{title}">{shown}</span>'
    return f'<span data-field="{field}" data-value="{value!r}"{of}>{shown}</span>'


def write(language: Language, field: str, value: float | None) -> str:
    """A value in the unit that its field's name ends with."""
    if value is None:
        return DASH
    unit = field.rpartition("_")[2]
    return _WRITERS.get(unit, _count)(language, value)


def number(language: Language, value: float, decimals: int) -> str:
    """A number with so many decimals, as people write it."""
    text = f"{abs(value):,.{decimals}f}".translate(language.separators)
    negative = value < 0 and any(digit in text for digit in "123456789")
    return MINUS + text if negative else text


def _power(language: Language, watts: float) -> str:
    if abs(watts) < 999.5:
        return f"{number(language, watts, 0)}{SPACE}W"
    return f"{number(language, watts / 1000, 2 if abs(watts) < 9_995 else 1)}{SPACE}kW"


def _energy(language: Language, kwh: float) -> str:
    decimals = 2 if abs(kwh) < 9.995 else 1 if abs(kwh) < 999.95 else 0
    return f"{number(language, kwh, decimals)}{SPACE}kWh"


def _percent(language: Language, percent: float) -> str:
    return number(language, percent, 0) + language.percent


def _euro(language: Language, euro: float) -> str:
    sign = MINUS if euro <= -0.005 else ""
    return f"{sign}{language.euro}{number(language, abs(euro), 2)}"


def _seconds(language: Language, seconds: float) -> str:
    words = language.words
    for size, unit in ((86_400 * 2, "days"), (3600 * 2, "hours"), (120, "minutes")):
        if seconds >= size:
            length = {"days": 86_400, "hours": 3600, "minutes": 60}[unit]
            return f"{number(language, seconds // length, 0)}{SPACE}{words[unit]}"
    return f"{number(language, seconds // 1, 0)}{SPACE}{words['seconds']}"


def _count(language: Language, value: float) -> str:
    return number(language, value, 0 if float(value).is_integer() else 2)


_WRITERS = {
    "coverage": lambda language, share: _percent(language, 100 * share),
    "w": _power,
    "kwh": _energy,
    "pct": _percent,
    "eur": _euro,
    "s": _seconds,
}


def clock(moment: datetime) -> str:
    """The time of day, as both Belgium's languages and English write it on a display."""
    return f"{moment:%H:%M}"


def day(language: Language, when: date) -> str:
    """A date in words."""
    weekday, month_name = language.weekdays[when.weekday()], language.months[when.month - 1]
    return f"{weekday} {when.day} {month_name} {when.year}"


def short_day(language: Language, when: date) -> str:
    """A date of this year or of a period whose year is told."""
    weekday, name = language.weekdays_short[when.weekday()], language.months_short[when.month - 1]
    return f"{weekday} {when.day} {name}"


def month(language: Language, when: date) -> str:
    """A month in words."""
    return f"{language.months[when.month - 1]} {when.year}"
