"""What a series must say, computed from samples in plain Python, sharing nothing with the server.

Time is walked in quarters of an hour, each of which belongs to one bucket by the local clock. A
counter's energy comes in pieces, between two readings each, spread evenly over the time between.
"""

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

QUARTER = timedelta(minutes=15)
COUNTERS = {
    "sungrow": {
        "pv_kwh": "pv_total_kwh",
        "grid_import_kwh": "import_total_kwh",
        "grid_export_kwh": "export_total_kwh",
        "charge_kwh": "charge_total_kwh",
        "discharge_kwh": "discharge_total_kwh",
    },
    "p1": {"energy_import_kwh": "energy_import_kwh", "energy_export_kwh": "energy_export_kwh"},
}
MEANS = {
    "sungrow": (
        "pv_power_w",
        "battery_power_w",
        "battery_soc_pct",
        "load_power_w",
        "export_power_w",
    ),
    "p1": ("power_w",),
}
MAXIMA = {"sungrow": "pv_power_w", "p1": "power_w"}
LIMITS = {"sungrow": (50_000, 0.1), "p1": (100_000, 0.001)}  # W, kWh of one tick


def quarter_of(time: datetime) -> datetime:
    """The start of the quarter that a time lies in."""
    return datetime.fromtimestamp(time.timestamp() // 900 * 900, UTC)


def spans(start: datetime, end: datetime, width: str, zone: ZoneInfo) -> list[tuple]:
    """The buckets of a stretch of time that begins and ends with a local day."""

    def name(quarter: datetime) -> tuple:
        local = quarter.astimezone(zone)
        return {
            "hour": (local.date(), local.hour, local.utcoffset()),
            "day": (local.date(),),
            "week": tuple(local.isocalendar())[:2],
            "month": (local.year, local.month),
        }[width]

    count = (end - start) // QUARTER
    starts = [
        next(group)
        for _, group in groupby((start + number * QUARTER for number in range(count)), name)
    ]
    return list(zip(starts, [*starts[1:], end], strict=True))


class Truth:
    """All samples of one device; a later one with a known time does not count."""

    def __init__(self, kind: str, samples: list[dict[str, Any]]):
        self.kind = kind
        kept: dict[datetime, dict[str, Any]] = {}
        for sample in samples:
            kept.setdefault(sample["ts"], sample)
        self.samples = [kept[ts] for ts in sorted(kept)]
        self.times = [sample["ts"] for sample in self.samples]
        self.pieces = {
            name: pieces(kind, [(s["ts"], s[c]) for s in self.samples if s[c] is not None])
            for name, c in COUNTERS[kind].items()
        }

    def series(
        self, start: datetime, end: datetime, width: str, zone: ZoneInfo
    ) -> list[dict[str, Any]]:
        """Every bucket that an answer must have, in order."""
        buckets = (self.bucket(*span, zone) for span in spans(start, end, width, zone))
        return [bucket for bucket in buckets if bucket is not None]

    def bucket(self, start: datetime, end: datetime, zone: ZoneInfo) -> dict[str, Any] | None:
        """One bucket, None if nothing is known of it."""
        inside = self.samples[bisect_left(self.times, start) : bisect_left(self.times, end)]
        energies = {name: share(found, start, end) for name, found in self.pieces.items()}
        if not inside and not any(round(energy or 0, 6) for energy in energies.values()):
            return None
        count = sum(sample.get("sample_count", 1) for sample in inside)
        result = {"bucket": start.astimezone(zone).isoformat(), "sample_count": count}
        for name in MEANS[self.kind]:
            known = [s for s in inside if s[name] is not None]
            weight = sum(s.get("sample_count", 1) for s in known)
            total = sum(s[name] * s.get("sample_count", 1) for s in known)
            result[f"avg_{name}"] = total / weight if weight else None
        top = MAXIMA[self.kind]
        result[f"max_{top}"] = max((s[top] for s in inside), default=None)
        return {**result, **energies, "complete": True}


def pieces(kind: str, readings: list[tuple[datetime, float]]) -> list[tuple]:
    """(from, to, kWh) inside every quarter and from each to the next; the rule of the contract."""
    power, tick = LIMITS[kind]

    def step(before: tuple, after: tuple, hours: float) -> float:
        rise = after[1] - before[1]
        return rise if 0 <= rise <= power / 1000 * max(hours, 1 / 60) + tick else 0.0

    def hours(before: tuple, after: tuple) -> float:
        return (after[0] - before[0]) / timedelta(hours=1)

    found, previous = [], None
    for _, group in groupby(readings, lambda reading: quarter_of(reading[0])):
        quarter = list(group)
        first, last = quarter[0], quarter[-1]
        if previous:
            found.append((previous[0], first[0], step(previous, first, hours(previous, first))))
        length = hours(first, last)
        if last[1] >= first[1]:
            inside = step(first, last, length)
        else:  # the counter fell in between: up to the highest, then on from the lowest
            high = max(quarter, key=lambda reading: reading[1])
            low = min(quarter, key=lambda reading: reading[1])
            inside = step(first, high, length) + step(low, last, length)
        found.append((first[0], last[0], inside))
        previous = last
    return found


def share(found: list[tuple], start: datetime, end: datetime) -> float | None:
    """The energy of the pieces in [start, end), None if no two readings tell."""
    if not found or end <= found[0][0] or start > found[-1][1]:
        return None
    total = 0.0
    for begin, stop, kwh in found[max(0, bisect_left(found, (start,)) - 2) :]:
        if begin >= end:
            break
        if start <= begin and stop < end:
            total += kwh
        elif stop > start and stop > begin:
            total += kwh * ((min(stop, end) - max(begin, start)) / (stop - begin))
    return total
