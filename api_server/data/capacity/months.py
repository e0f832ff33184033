"""A month of quarters, and the twelve months that are billed."""

from collections.abc import Iterable
from datetime import date, datetime
from fractions import Fraction
from heapq import nlargest
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from api_server.data.capacity.meter import Meter
from api_server.data.capacity.quarters import FLOOR_W, Peak, Quarter

MONTHS = 12
LEAST = Fraction(FLOOR_W)


def month(meter: Meter, first: date, most: int | None = None) -> dict[str, Any]:
    """Every quarter of the local month that begins on `first`, and its peaks.

    `most` is for only so many of the quarters, the highest first, the earliest of equals before.
    """
    zone = meter.zone
    listed, peaks = meter.month(first)
    official, register, sampled = peaks
    billed = peaks.billed()
    told = listed if most is None else _highest(listed, most)
    return {
        "month": name(first),
        "device_id": meter.device_id,
        "peaks": [
            {
                "bucket": datetime.fromtimestamp(quarter.start_s, zone).isoformat(),
                "avg_power_w": round(quarter.sampled_w),
                "coverage": quarter.coverage,
                "register_w": rounded(quarter.register_w),
            }
            for quarter in told
        ],
        "monthly_peak_w": rounded(sampled and sampled.watts),
        "monthly_peak_ts": local(sampled and sampled.ts, zone),
        "monthly_peak_coverage": sampled
        and next(one.coverage for one in listed if one.start_s == sampled.ts.timestamp()),
        "official_peak_w": rounded(official and official.watts),
        "official_peak_ts": local(official and official.ts, zone),
        "register_peak_w": rounded(register and register.watts),
        "register_peak_ts": local(register and register.ts, zone),
        "billed_peak_w": rounded(billed and billed.watts),
        "billed_peak_source": billed and billed.source,
    }


def _highest(listed: list[Quarter], count: int) -> list[Quarter]:
    """So many quarters, by whole watts."""
    # To compare floats takes less than to round them: few are rounded.
    least_w = min(nlargest(count, map(attrgetter("sampled_w"), listed)), default=0.0) - 1
    high = [one for one in listed if one.sampled_w >= least_w]
    return nlargest(count, high, lambda one: round(one.sampled_w))


def year(meter: Meter, until: date) -> dict[str, Any]:
    """The twelve months up to the one that begins on `until`, and their mean."""
    zone, now = meter.zone, meter.now
    firsts = back(until, MONTHS)
    peaks = meter.peaks(firsts)
    listed = []
    for first in firsts:
        peak = peaks.get(first)
        listed.append(
            {
                "month": name(first),
                "peak_w": rounded(peak and peak.watts),
                "peak_ts": local(peak and peak.ts, zone),
                "source": peak and peak.source,
                "billed_w": rounded(peak and max(peak.watts, FLOOR_W)),
                "complete": is_complete(first, now, zone),
            }
        )
    return {
        "device_id": meter.device_id,
        "until": name(until),
        "months": listed,
        "mean_w": rounded(mean(peaks.get(first) for first in firsts)),
        "months_known": len(peaks),
    }


def mean(peaks: Iterable[Peak | None]) -> Fraction | None:
    """The mean of the months that are known in W, each at least the floor."""
    watts = [max(peak.watts, LEAST) for peak in peaks if peak]
    return sum(watts, Fraction(0)) / len(watts) if watts else None


def back(until: date, count: int) -> list[date]:
    """The first days of so many months up to the one that begins on `until`, oldest first."""
    last = until.year * 12 + until.month - 1
    numbers = range(last - count + 1, last + 1)
    return [date(number // 12, number % 12 + 1, 1) for number in numbers]


def is_complete(first: date, now: datetime, zone: ZoneInfo) -> bool:
    """Whether the local month that begins on `first` is over."""
    return name(first) < f"{now.astimezone(zone):%Y-%m}"


def name(first: date) -> str:
    """A month as it is written."""
    return f"{first.year:04}-{first.month:02}"


def local(time: datetime | None, zone: ZoneInfo) -> str | None:
    """A time with the site's offset."""
    return time and time.astimezone(zone).isoformat()


def rounded(watts: Fraction | float | None) -> int | None:
    """Whole watts."""
    return None if watts is None else round(watts)
