"""The rule of energy over a few readings of the import register, in order of time.

A reading that could follow the last believed one is believed. Any other waits until readings that
follow it span a quarter of an hour: then the register has changed, as when a meter is replaced.
"""

from collections.abc import Iterable

from edge_agent.shared.samples import P1

Reading = tuple[float, float]  # seconds since 1970, kWh

KW = P1.max_power_w / 1000
TICK_KWH = P1.counter_step_kwh
LEAST_S = 60.0
LEAST_STEP_KWH = KW * LEAST_S / 3600 + TICK_KWH  # what may come at once
BELIEVED_S = 900.0
SWAPPED = 0.9  # a register below this share of the old one is another meter's


def follow(readings: Iterable[Reading]) -> list[Reading]:
    """The readings that are believed, each with the energy since the first of them."""
    line: list[Reading] = []
    base: Reading | None = None
    waiting: list[Reading] = []
    total = 0.0
    for reading in readings:
        if base is None or _follows(base, reading):
            total += reading[1] - base[1] if base else 0.0
            base, waiting = reading, []
            line.append((reading[0], total))
            continue
        if waiting and not _follows(waiting[-1], reading):
            waiting = []
        waiting.append(reading)
        if _is_believed(base, waiting):
            first = waiting[0]
            total += first[1] if _is_swap(base, first) else 0.0
            line += [(s, total + kwh - first[1]) for s, kwh in waiting]
            total += waiting[-1][1] - first[1]
            base, waiting = waiting[-1], []
    return line


def _follows(before: Reading, reading: Reading) -> bool:
    return 0 <= reading[1] - before[1] <= _most(before, reading)


def _most(before: Reading, reading: Reading) -> float:
    """The most energy between two readings, in kWh."""
    return KW * max(reading[0] - before[0], LEAST_S) / 3600 + TICK_KWH


def _is_believed(base: Reading, waiting: list[Reading]) -> bool:
    first, last = waiting[0], waiting[-1]
    risen = first[1] < SWAPPED * base[1] or last[1] > first[1]
    return last[0] - first[0] >= BELIEVED_S and risen


def _is_swap(base: Reading, first: Reading) -> bool:
    """Whether another meter has counted all that it reads since the last believed reading."""
    return first[1] < SWAPPED * base[1] and first[1] <= _most(base, first)
