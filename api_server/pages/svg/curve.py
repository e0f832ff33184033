"""The curve of a day: power of sun, house, battery and grid, and the battery's charge below it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from api_server.pages.formats import clock, number
from api_server.pages.languages import Language
from api_server.pages.svg.elements import (
    path,
    percent,
    plot,
    rule,
    scale,
    short,
    stretched,
    tag,
    ticks,
)

LINES = ("grid", "battery", "home", "pv")  # the last one is drawn on top
HEIGHT = 200
ROOM = 0.9  # of the drawing's height; the hours are below
LEAST_W = 1000.0
PERIOD = timedelta(minutes=5)
Place = tuple[str, Mapping[str, Any]]
UNKNOWN = dict.fromkeys(("battery_soc_pct", *(f"{line}_power_w" for line in LINES)))


def draw(
    language: Language,
    periods: Sequence[Mapping[str, Any]],
    start: datetime,
    end: datetime,
    zone: ZoneInfo,
) -> Markup:
    """The periods of a day as lines.

    Each has `start`, in seconds since 1970, and `{line}_power_w`, None if not known.
    """
    values = [
        period[f"{line}_power_w"]
        for period in periods
        for line in LINES
        if period[f"{line}_power_w"] is not None
    ]
    low, high, step = scale(values, LEAST_W)
    width = (end - start) / PERIOD

    def place(watts: float) -> float:
        return (high - watts) / (high - low) * HEIGHT

    places = _places(periods, start)
    drawn = {line: _line(places, f"{line}_power_w", place) for line in LINES}
    lines = [tag("path", class_=f"line {line}", d=d) for line, d in drawn.items()]
    area = tag("path", class_="area pv", d=_area(drawn["pv"], place(0.0)))
    levels = [((high - watts) / (high - low) * ROOM, watts) for watts in ticks(low, high, step)]
    return plot(
        "curve",
        language.words["curve_title"],
        [(y, _kilowatts(language, watts, step)) for y, watts in levels],
        *(rule(y, "rule" if watts else "zero") for y, watts in levels),
        *_hours(start, end, zone),
        stretched(width, HEIGHT / ROOM, area, *lines),
    )


def draw_charge(
    language: Language, periods: Sequence[Mapping[str, Any]], start: datetime, end: datetime
) -> Markup:
    """The battery's charge over the day, from 0 at the bottom to 100 % at the top."""
    line = _line(_places(periods, start), "battery_soc_pct", lambda share: 100 - share)
    return plot(
        "charge",
        language.words["charge_title"],
        [(y, f"{share}{language.percent}") for y, share in ((0.0, 100), (1.0, 0))],
        rule(0.0),
        rule(1.0),
        stretched((end - start) / PERIOD, 100, tag("path", class_="line charge", d=line)),
    )


def _places(periods: Sequence[Mapping[str, Any]], start: datetime) -> list[Place]:
    """Each period and its middle, in periods since the start; between them one of which nothing is
    known, where any are missing."""
    found: list[Place] = []
    first, before = start.timestamp(), 0.0
    for period in periods:
        x = (period["start"] - first) / PERIOD.total_seconds() + 0.5
        if x - before > 1.01:
            found.append(("", UNKNOWN))
        found.append((f"{x:g}", period))
        before = x
    return found


def _line(places: Iterable[Place], field: str, place: Callable[[float], float]) -> str:
    """A line through the middles of the periods, lifted where one is not known."""
    # A value of -0.0 is written as 0.
    return path(
        (x, None if (value := period[field]) is None else round(place(value), 1) + 0.0)
        for x, period in places
    )


def _area(line: str, height_of_zero: float) -> str:
    """A line, filled down to zero."""
    zero = short(float(height_of_zero))
    closed = []
    for stroke in line.split("M")[1:]:
        points = stroke.split("L")
        first, last = points[0].split(" ")[0], points[-1].split(" ")[0]
        closed.append(f"M{first} {zero}L{stroke}L{last} {zero}Z")
    return "".join(closed)


def _kilowatts(language: Language, watts: float, step: float) -> str:
    return f"{number(language, watts / 1000, 1 if step < 1000 else 0)} kW"


def _hours(start: datetime, end: datetime, zone: ZoneInfo) -> list[Markup]:
    """A line at every sixth hour of the local clock, and which it is."""
    parts, at = [], start
    while at < end:
        local = at.astimezone(zone)
        if local.hour % 6 == 0 and local.minute == 0 and at > start:
            x = percent((at - start) / (end - start))
            parts.append(tag("line", class_="rule", x1=x, x2=x, y1="0", y2=percent(ROOM)))
            parts.append(tag("text", clock(local), class_="middle", x=x, y="100%", dy="-4"))
        at += timedelta(minutes=30)
    return parts
