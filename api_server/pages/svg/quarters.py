"""The quarters of a month as a curve of steps, and twelve months against the floor of the bill."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from api_server.pages.formats import number
from api_server.pages.languages import Language
from api_server.pages.svg.elements import percent, plot, rule, scale, stretched, tag, ticks

QUARTER = timedelta(minutes=15)
QUARTER_S = 900
HEIGHT = 200
FLOOR_W = 2500
ROOM = 0.88  # of the drawing's height; the labels are below


def draw_month(
    language: Language,
    peaks: Sequence[tuple[float, float]],
    highest: float | None,
    start: datetime,
    end: datetime,
    zone: ZoneInfo,
) -> Markup:
    """Every quarter's mean power by its start, with a mark on the highest; times in seconds."""
    _, top, step = scale([watts for _, watts in peaks], FLOOR_W * 1.2)
    parts = _rules(top, step)
    parts += _days(start, end, zone)
    width = (end - start) / QUARTER
    first, length_s = start.timestamp(), (end - start).total_seconds()
    steps = _steps(peaks, first, top)
    curve = stretched(width, HEIGHT / ROOM, tag("path", class_="quarters", d=steps))
    parts += [curve, rule(_y(FLOOR_W, top), "floor")]
    for ts, watts in peaks:
        if ts == highest:
            x, y = percent((ts - first) / length_s), percent(_y(watts, top))
            parts.append(tag("circle", class_="highest", cx=x, cy=y, r=5))
    return plot("month", language.words["quarters_title"], _axis(language, top, step), *parts)


def _steps(peaks: Iterable[tuple[float, float]], first: float, top: float) -> str:
    """A filled step for each run of neighbours of one height."""
    parts: list[str] = []
    unit, after, length, height = HEIGHT / top, None, 0, 0
    for ts, watts in peaks:
        y = round(HEIGHT - watts * unit)
        if ts != after:
            parts.append(f"h{length}V{HEIGHT}" if parts else "")
            parts.append(f"M{int(ts - first) // QUARTER_S} {HEIGHT}V{y}")
            length, height = 1, y
        elif y == height:
            length += 1
        else:
            parts.append(f"h{length}V{y}")
            length, height = 1, y
        after = ts + QUARTER_S
    return "".join([*parts, f"h{length}V{HEIGHT}"]) if parts else ""


def draw_year(
    language: Language, months: Sequence[Mapping[str, Any]], mean_w: float | None
) -> Markup:
    """The peak of each month as a bar, the floor of the bill, and the mean that is paid."""
    known = [month["billed_w"] for month in months if month["billed_w"] is not None]
    _, top, step = scale([*known, mean_w or 0], FLOOR_W * 1.2)
    parts = _rules(top, step)
    for place, month in enumerate(months):
        x = percent((place + 0.15) / len(months))
        width = percent(0.7 / len(months))
        for name, field in (("billed", "billed_w"), ("peak", "peak_w")):
            watts = month[field]
            if watts is not None:
                y, height = percent(_y(watts, top)), percent(watts / top * ROOM)
                parts.append(tag("rect", class_=name, x=x, width=width, y=y, height=height))
        middle = percent((place + 0.5) / len(months))
        label = language.months_short[int(month["month"][5:]) - 1]
        parts.append(tag("text", label, class_="middle", x=middle, y="100%", dy="-6"))
    parts.append(rule(_y(FLOOR_W, top), "floor"))
    if mean_w is not None:
        parts.append(rule(_y(mean_w, top), "mean"))
    return plot("year", language.words["year_title"], _axis(language, top, step), *parts)


def _rules(top: float, step: float) -> list[Markup]:
    return [rule(_y(watts, top), "rule" if watts else "zero") for watts in ticks(0.0, top, step)]


def _axis(language: Language, top: float, step: float) -> list[tuple[float, str]]:
    decimals = 0 if step >= 1000 else 1
    return [
        (_y(watts, top), f"{number(language, watts / 1000, decimals)} kW")
        for watts in ticks(0.0, top, step)
    ]


def _y(watts: float, top: float) -> float:
    """Where a power is, as a share of the drawing's height."""
    return (1 - watts / top) * ROOM


def _days(start: datetime, end: datetime, zone: ZoneInfo) -> list[Markup]:
    """The number of every fifth day under where it begins."""
    parts, at = [], start.astimezone(zone)
    for day in (1, 6, 11, 16, 21, 26, 31):
        try:
            at = at.replace(day=day)
        except ValueError:
            break
        x = (at - start) / (end - start)
        parts.append(tag("text", str(day), x=percent(x), y="100%", dy="-6", dx="2"))
    return parts
