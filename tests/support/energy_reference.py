"""What lifetime counters say of energy: the fold of the contract, reading by reading.

The judge of every other computation: short rather than quick, and sharing nothing with the server.
"""

from bisect import bisect_right
from datetime import datetime, timedelta

LIMITS = {"sungrow": (50_000, 0.1), "p1": (100_000, 0.001)}  # W, kWh of one tick
Reading = tuple[datetime, float]


def fold(kind: str, readings: list[Reading]) -> list[Reading]:
    """The accepted readings in order of time, as (time, kWh since the first of all)."""
    power_w, tick = LIMITS[kind]

    def limit(since: datetime, at: datetime) -> float:
        seconds = max((at - since).total_seconds(), 60)
        return power_w * seconds / 3.6e6 + tick

    def follows(one: Reading, next_one: Reading) -> bool:
        return one[1] <= next_one[1] <= one[1] + limit(one[0], next_one[0]) + 1e-9

    line: list[Reading] = []
    base: Reading | None = None
    candidate: list[Reading] = []  # does not follow the base, and may yet prove to be the counter
    for reading in readings:
        if base is None:
            line.append((reading[0], 0.0))
            base = reading
        elif follows(base, reading):
            line.append((reading[0], line[-1][1] + reading[1] - base[1]))
            base, candidate = reading, []
        elif candidate and follows(candidate[-1], reading):
            candidate.append(reading)
        else:
            candidate = [reading]
        if not candidate or candidate[-1][0] - candidate[0][0] < timedelta(minutes=15):
            continue
        first = candidate[0]
        is_dip = first[1] >= 0.9 * base[1]
        if is_dip and candidate[-1][1] <= first[1]:
            continue
        is_swap = not is_dip and first[1] <= limit(base[0], first[0]) + 1e-9
        risen = line[-1][1] + (first[1] if is_swap else 0.0) - first[1]
        line += [(at, risen + kwh) for at, kwh in candidate]
        base, candidate = candidate[-1], []
    return line


def energy(line: list[Reading], start: datetime, end: datetime) -> float | None:
    """What the counter rose in [start, end), None if no reading tells."""
    if not line or end <= line[0][0] or start > line[-1][0]:
        return None
    return max(0.0, _at(line, end) - _at(line, start))


def _at(line: list[Reading], time: datetime) -> float:
    place = bisect_right(line, (time, float("inf")))
    if place == len(line):
        return line[-1][1]
    (at, kwh), (after, more) = line[max(place - 1, 0)], line[place]
    return kwh + (more - kwh) * ((time - at) / (after - at)) if place else kwh
