"""Stacked bars that add up: upwards where energy came from, downwards where it went."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

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
    link: Callable[[Mapping[str, Any]], str | None],
) -> Markup:
    """One bar of each bucket; `labels` has one text for each, which may be empty.

    `link` gives the address of what is inside a bucket, or None.
    """
    highest = max(
        [
            sum(known)
            for bucket in buckets
            for known in (_known(bucket, SOURCES), _known(bucket, USES))
        ],
        default=0.0,
    )
    step = round_step(highest or 1.0, 3)
    top = max(step, -(-highest // step) * step)
    unit = (BOTTOM - TOP) / 2 / top
    zero = (TOP + BOTTOM) / 2
    steps = round(top / step)
    levels = [(zero + count * step * unit, count) for count in range(-steps, steps + 1)]
    parts = [rule(y, "rule" if count else "zero") for y, count in levels]
    parts += _links(buckets, link)
    paths = [*_paths(buckets, SOURCES, zero, -unit), *_paths(buckets, USES, zero, unit)]
    parts.append(stretched(len(buckets), HEIGHT, *paths))
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


def _known(bucket: Mapping[str, Any], parts: Sequence[tuple[str, str]]) -> list[float]:
    return [bucket[field] for _, field in parts if bucket[field] is not None]


def _paths(
    buckets: Sequence[Mapping[str, Any]], parts: Any, zero: float, unit: float
) -> Iterator[Markup]:
    """The bars of one direction, a path for each part; a unit below zero stacks them upwards."""
    drawn: dict[str, list[str]] = {name: [] for name, _ in parts}
    width, unit, zero = short(1 - GAP), unit * HEIGHT, zero * HEIGHT
    for place, bucket in enumerate(buckets):
        x = short(place + GAP / 2)
        for name, start, end in stack(bucket, parts):
            y, height = short(zero + start * unit), short((end - start) * unit)
            drawn[name].append(f"M{x} {y}h{width}v{height}h-{width}z")
    for name, strokes in drawn.items():
        yield tag("path", class_=name, d="".join(strokes))


def _links(
    buckets: Sequence[Mapping[str, Any]], link: Callable[[Mapping[str, Any]], str | None]
) -> Iterator[Markup]:
    """A column for each bucket that leads to what is inside; the table has the same links."""
    for place, bucket in enumerate(buckets):
        target = link(bucket)
        if target:
            column = {"x": percent(place / len(buckets)), "width": percent(1 / len(buckets))}
            yield tag("a", tag("rect", height="100%", **column), href=target, tabindex="-1")


def _label(language: Language, kwh: float, step: float) -> str:
    return number(language, kwh, 0 if step >= 1 else 1 if step >= 0.1 else 2)
