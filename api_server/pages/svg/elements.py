"""SVG elements as escaped text, and the scales that drawings share."""

import math
from collections.abc import Iterable
from functools import cache

from markupsafe import Markup, escape


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element; underscores in attribute names become dashes, numbers are written short."""
    listed = "".join(
        [
            f'{_opened(key)}{escape(short(value))}"'
            for key, value in attributes.items()
            if value is not None
        ]
    )
    inner = "".join(map(escape, children))
    end = f">{inner}</{name}>" if inner else "/>"
    return Markup(f"<{name}{listed}{end}")  # noqa: S704 - names are ours, the rest is escaped


@cache
def _opened(key: str) -> str:
    return f' {key.strip("_").replace("_", "-")}="'


def short(value: object) -> object:
    """A coordinate with at most two decimals and no trailing zeros."""
    if isinstance(value, float):
        text = f"{value:.2f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return value


def percent(share: float) -> str:
    """A share of a whole as a coordinate."""
    return f"{short(100.0 * share)}%"


def drawing(name: str, title: str, *children: str) -> Markup:
    """A drawing without a size of its own, whose text keeps its size however wide it gets.

    `title` is what a screen reader says of it: all its numbers must stand elsewhere too.
    """
    return tag("svg", *children, class_=f"drawing {name}", role="img", aria_label=title)


def plot(name: str, title: str, axis: Iterable[tuple[float, str]], *children: str) -> Markup:
    """A drawing with an axis on its left: labels at shares of its height."""
    labels = [tag("text", label, x="100%", y=percent(y), dy=4) for y, label in axis]
    scale_beside = tag("svg", *labels, class_="axis", aria_hidden="true")
    return tag("div", scale_beside, drawing(name, title, *children), class_=f"plot {name}-plot")


def rule(y: float, name: str = "rule") -> Markup:
    """A line across the drawing at a share of its height."""
    return tag("line", class_=name, x1="0", x2="100%", y1=percent(y), y2=percent(y))


def stretched(width: float, height: float, *children: str) -> Markup:
    """A part that fills the drawing, for lines: their coordinates are stretched to its size."""
    box = f"0 0 {short(float(width))} {short(float(height))}"
    fit = {"viewBox": box, "preserveAspectRatio": "none", "width": "100%", "height": "100%"}
    return tag("svg", *children, **fit)


def round_step(span: float, most: int = 4) -> float:
    """The smallest step of 1, 2 or 5 times a power of ten that divides a span at most so often."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(power * one for one in (1, 2, 5, 10) if span <= power * one * most * (1 + 1e-9))


def scale(values: Iterable[float], least: float = 0.0) -> tuple[float, float, float]:
    """Lower and upper end of an axis that shows all values and zero, and the step of its lines."""
    known = [0.0, *values]
    low, high = min(known), max(*known, least)
    step = round_step((high - low) or 1.0)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def ticks(low: float, high: float, step: float) -> list[float]:
    """Where the lines of an axis are."""
    first, last = round(low / step), round(high / step)
    return [number * step for number in range(first, last + 1)]


def path(points: Iterable[tuple[object, float | None]]) -> str:
    """A line through the points, six digits of their heights, lifted where one is not known."""
    parts, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
        else:
            parts.append(f"{pen}{x} {y:g}")
            pen = "L"
    return "".join(parts)
