"""Small drawings of one line: the charge of a battery, a running quarter, the gaps of a day."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from api_server.pages.formats import clock
from api_server.pages.languages import Language
from api_server.pages.svg.elements import drawing, percent, stretched, tag

CELL = timedelta(minutes=2)  # of a line of gaps, about what a wide screen can show


def draw_level(share_pct: float | None) -> Markup:
    """A battery filled so far; what it holds stands beside it."""
    filled = percent(min(max(share_pct or 0.0, 0.0), 100.0) / 100)
    bar = tag("rect", class_="fill", height="100%", width=filled)
    return tag("svg", bar, class_="level", aria_hidden="true")


def draw_split(parts: Sequence[tuple[str, float | None]]) -> Markup:
    """What a whole is made of, as one bar; its parts stand beside it as numbers."""
    known = [(name, value) for name, value in parts if value]
    whole = sum(value for _, value in known) or 1.0
    bars, so_far = [], 0.0
    for name, value in known:
        x, width = percent(so_far / whole), percent(value / whole)
        bars.append(tag("rect", class_=name, x=x, width=width, height="100%"))
        so_far += value
    return tag("svg", *bars, class_="split", aria_hidden="true")


def draw_quarter(language: Language, quarter: Mapping[str, Any]) -> Markup:
    """The mean so far, what it is going to be, and the limit, on one line."""
    average, projected, limit = (
        float(quarter[name] or 0) for name in ("average_w", "projected_w", "limit_w")
    )
    whole = max(limit * 1.25, projected * 1.05, average * 1.05, 1.0)
    over = " over" if quarter["new_peak"] else ""
    at = percent(limit / whole)
    return drawing(
        f"quarter{over}",
        language.words["quarter_title"],
        tag("rect", class_="track", width="100%", height="100%", rx=4),
        tag("rect", class_="projected", width=percent(projected / whole), height="100%", rx=4),
        tag("rect", class_="average", width=percent(average / whole), height="100%", rx=4),
        tag("line", class_="limit", x1=at, x2=at, y1="0", y2="100%"),
    )


def draw_gaps(
    language: Language,
    gaps: Sequence[tuple[datetime, datetime]],
    start: datetime,
    end: datetime,
    until: datetime,
    zone: ZoneInfo,
) -> Markup:
    """The day so far as a line with holes, the gaps from the first on, and the hours below it."""
    length = end - start
    covered = percent(max(until - start, timedelta()) / length)
    holes = tag("path", class_="gap", d=_holes(gaps, start))
    parts = [
        tag("rect", class_="track", width="100%", height="44%"),
        tag("rect", class_="covered", width=covered, height="44%"),
        stretched(length / CELL, 100, holes),
    ]
    at = start
    while at < end:
        local = at.astimezone(zone)
        if local.hour % 6 == 0 and local.minute == 0:
            x = percent((at - start) / length)
            parts.append(tag("text", clock(local), x=x, y="100%", dx="1"))
        at += timedelta(minutes=30)
    return drawing("gaps", language.words["gaps_title"], *parts)


def _holes(gaps: Sequence[tuple[datetime, datetime]], start: datetime) -> str:
    """Every cell that a gap touches: so many bytes at most, however many gaps there are."""
    runs: list[list[int]] = []
    for begin, stop in gaps:
        first, after = (begin - start) // CELL, -((start - stop) // CELL)
        if runs and first <= runs[-1][1]:
            runs[-1][1] = after
        else:
            runs.append([first, after])
    return "".join(f"M{run} 0h{after - run}v44h-{after - run}z" for run, after in runs)
