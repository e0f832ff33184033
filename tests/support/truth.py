"""What a series must say, computed from samples in plain Python, sharing nothing with the server.

Time is walked in quarters of an hour, each of which belongs to one bucket by the local clock.
"""

import struct
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from tests.support.energy_reference import energy, fold

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


def _as_kept(kind: str, sample: dict[str, Any]) -> dict[str, Any]:
    """The gauges with seven digits, as the tables have them."""
    gauges = {name: sample[name] for name in MEANS[kind] if isinstance(sample[name], float)}
    return {name: struct.unpack("f", struct.pack("f", value))[0] for name, value in gauges.items()}


class Truth:
    """All samples of one device; a later one with a known time does not count.

    Gauges are `rounded` to the digits of today's tables, unless these are those of version 1.0.
    """

    def __init__(self, kind: str, samples: list[dict[str, Any]], rounded: bool = True):
        self.kind = kind
        kept: dict[datetime, dict[str, Any]] = {}
        for sample in samples:
            as_kept = _as_kept(kind, sample) if rounded else {}
            kept.setdefault(sample["ts"], {**sample, **as_kept})
        self.samples = [kept[ts] for ts in sorted(kept)]
        self.times = [sample["ts"] for sample in self.samples]
        self.lines = {
            name: fold(kind, [(s["ts"], s[c]) for s in self.samples if s[c] is not None])
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
        energies = {name: energy(line, start, end) for name, line in self.lines.items()}
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
        return {**result, **energies, "complete": end <= datetime.now(UTC)}
