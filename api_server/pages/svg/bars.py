"""Stacked bars that add up: upwards where energy came from, downwards where it went."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from api_server.pages.formats import number
from api_server.pages.languages import Language
from api_server.pages.svg.elements import percent, plot, round_step, rule, tag

SOURCES = (("pv", "pv_kwh"), ("battery", "discharge_kwh"), ("grid", "grid_import_kwh"))
USES = (("home", "consumption_kwh"), ("battery", "charge_kwh"), ("grid", "grid_export_kwh"))
GAP = 0.22  # of a bar's place
TOP, BOTTOM = 0.02, 0.91  # the labels of the buckets are below


def draw(
    language: Language,
    buckets: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    link: Callable[[Mapping[str, Any]], tuple[str, str] | None],
) -> Markup:
    """One bar of each bucket; `labels` has one text for each, which may be empty.

    `link` gives the address of what is inside a bucket and its name, or None.
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
    for place, (bucket, label) in enumerate(zip(buckets, labels, strict=True)):
        bar = [
            *_stack(_place(place, len(buckets)), zero, -unit, bucket, SOURCES),
            *_stack(_place(place, len(buckets)), zero, unit, bucket, USES),
        ]
        target = link(bucket)
        if target:
            bar = [_linked(place, len(buckets), bar, *target)]
        parts += bar
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


def _place(place: int, count: int) -> tuple[str, str]:
    return percent((place + GAP / 2) / count), percent((1 - GAP) / count)


def _stack(
    place: tuple[str, str], zero: float, unit: float, bucket: Mapping[str, Any], parts: Any
) -> list[Markup]:
    """Rectangles of one direction; a unit below zero stacks them upwards."""
    x, width = place
    return [
        tag(
            "rect",
            class_=name,
            x=x,
            width=width,
            y=percent(min(zero + start * unit, zero + end * unit)),
            height=percent(abs(end - start) * abs(unit)),
        )
        for name, start, end in stack(bucket, parts)
    ]


def _linked(place: int, count: int, bar: list[Markup], address: str, name: str) -> Markup:
    """A bar whose whole column can be pressed."""
    column = {"x": percent(place / count), "width": percent(1 / count)}
    area = tag("rect", class_="touch", y="0", height="100%", **column)
    return tag("a", tag("title", name), area, *bar, href=address, tabindex="-1")


def _label(language: Language, kwh: float, step: float) -> str:
    return number(language, kwh, 0 if step >= 1 else 1 if step >= 0.1 else 2)
