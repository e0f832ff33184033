"""Stacked bars that add up: upwards where energy came from, downwards where it went."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from api_server.pages.formats import number
from api_server.pages.languages import Language
from api_server.pages.svg.elements import percent, plot, round_step, rule, short, stretched, tag

SOURCES = (("pv", "pv_kwh"), ("battery", "discharge_kwh"), ("grid", "grid_import_kwh"))
USES = (("home", "consumption_kwh"), ("battery", "charge_kwh"), ("grid", "grid_export_kwh"))
GAP = 0.22  # of a bar's place
HEIGHT = 1000  # of the drawing in units of its own
TOP, BOTTOM = 0.02, 0.91  # the labels of the buckets are below


def draw(
    language: Language,
    buckets: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    targets: Sequence[str | None],
) -> Markup:
    """One bar of each bucket, with its label, which may be empty, and the address of what is inside
    it, or None."""
    heights = [
        sum([bucket[field] or 0.0 for _, field in parts])
        for bucket in buckets
        for parts in (SOURCES, USES)
    ]
    highest = max(heights, default=0.0)
    step = round_step(highest or 1.0, 3)
    top = max(step, -(-highest // step) * step)
    unit = (BOTTOM - TOP) / 2 / top
    zero = (TOP + BOTTOM) / 2
    steps = round(top / step)
    levels = [(zero + count * step * unit, count) for count in range(-steps, steps + 1)]
    parts = [rule(y, "rule" if count else "zero") for y, count in levels]
    links = [_link(place, target) for place, target in enumerate(targets) if target]
    paths = [*_paths(buckets, SOURCES, zero, -unit), *_paths(buckets, USES, zero, unit)]
    parts.append(stretched(len(buckets), HEIGHT, *links, *paths))
    for place, label in enumerate(labels):
        if label:
            x = percent((place + 0.5) / len(buckets))
            parts.append(tag("text", label, class_="middle", x=x, y="100%", dy="-6"))
    axis = [(y, _label(language, abs(count) * step, step)) for y, count in levels]
    return plot("bars", language.words["bars_title"], axis, *parts)


def stack(
    bucket: Mapping[str, Any], parts: Sequence[tuple[str, str]]
) -> list[tuple[str, float, float]]:
    """The known parts of a bar with where each begins and ends, in kWh."""
    stacked, total = [], 0.0
    for name, field in parts:
        if bucket[field]:
            stacked.append((name, total, total + bucket[field]))
            total += bucket[field]
    return stacked


def _paths(
    buckets: Sequence[Mapping[str, Any]], parts: Any, zero: float, unit: float
) -> Iterator[Markup]:
    """The bars of one direction, a path for each part; a unit below zero stacks them upwards."""
    drawn: dict[str, list[str]] = {name: [] for name, _ in parts}
    width, unit, zero = short(1 - GAP), unit * HEIGHT, zero * HEIGHT
    for place, bucket in enumerate(buckets):
        x = place + GAP / 2
        for name, start, end in stack(bucket, parts):
            y, height = zero + start * unit, (end - start) * unit
            drawn[name].append(f"M{x:.5g} {y:.5g}h{width}v{height:.5g}h-{width}z")
    for name, strokes in drawn.items():
        yield tag("path", class_=name, d="".join(strokes))


def _link(place: int, target: str) -> Markup:
    """A column that leads to what is inside a bucket; the table has the same links."""
    column = f'<rect x="{place}" width="1" height="{HEIGHT}"/>'
    return Markup(f'<a href="{escape(target)}" tabindex="-1">{column}</a>')  # noqa: S704 - escaped


def _label(language: Language, kwh: float, step: float) -> str:
    return number(language, kwh, 0 if step >= 1 else 1 if step >= 0.1 else 2)
