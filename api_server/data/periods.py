"""Local days, weeks, months and years as instants: where buckets begin and end, in any zone."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

WIDTHS = ("hour", "day", "week", "month")
FORMS = {
    "day": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "week": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "month": r"[0-9]{4}-[0-9]{2}",
    "year": r"[0-9]{4}",
}
QUARTER = timedelta(minutes=15)
# No sample lies outside; west of Greenwich the first of them begin in the year before 2020.
EARLIEST_YEAR, LATEST_YEAR = 2019, 2200


def parse_date(text: str, span: str) -> date:
    """The day that `2026-11-21`, or the first of the month or year that its beginning, names.

    Raises ValueError for what does not fit the span or does not exist.
    """
    if span not in FORMS or not re.fullmatch(FORMS[span], text):
        raise ValueError(text)
    return date.fromisoformat((text + "-01-01")[:10])


def floor(day: date, span: str) -> date:
    """The first day of the week, month or year of a day."""
    if span == "week":
        return day - timedelta(days=day.weekday())
    if span in ("month", "year"):
        return day.replace(day=1, month=day.month if span == "month" else 1)
    return day


def after(first: date, span: str) -> date:
    """The first day of the period that follows the one beginning on `first`."""
    if span in ("month", "year"):
        return floor(first + timedelta(days=31 if span == "month" else 366), span)
    return first + timedelta(days=7 if span == "week" else 1)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a local day begins."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def quarter_start(at: datetime) -> datetime:
    """The start of the quarter of an hour that a time in UTC lies in."""
    return at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)


def find_edges(first: date, end: date, width: str, zone: ZoneInfo) -> Iterator[datetime]:
    """Where buckets of a width meet from the day `first` to the day `end`, which are edges too."""
    if width == "hour":
        yield from _hours(midnight(first, zone), midnight(end, zone), zone)
    else:
        day = first
        while day < end:
            yield midnight(day, zone)
            day = after(floor(day, width), width)
    yield midnight(end, zone)


def _hours(start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Every full hour of the local clock, and every change of the clock, which may be by half."""
    at, offset = start, None
    while at < end:
        local = at.astimezone(zone)
        if local.minute == 0 or local.utcoffset() != offset:
            yield at
        offset = local.utcoffset()
        at += QUARTER


def repeats_midnight(zone: ZoneInfo) -> bool:
    """Whether a midnight from 2020 to 2040 comes twice, by a clock that is set back over it."""
    day = date(2020, 1, 1)
    while day.year <= 2040:
        first = datetime.combine(day, time(), zone)
        if first.utcoffset() > first.replace(fold=1).utcoffset():
            return True
        day += timedelta(days=1)
    return False
