"""A year of two strings of panels on one roof, by quarters of an hour, the same for the same seed.

Clouds pass over both; snow covers both for days; a full battery and a limit of what may be fed in
hold both back, one more than the other. Time is the sun's own, in UTC.
"""

import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

QUARTER = timedelta(minutes=15)
YEAR = date(2025, 1, 1)
DAYS = 365
DIFFUSE = 0.18  # of the clear sky's light, from everywhere
STARTS_W = 12.0  # below this an inverter takes nothing from a string
BATTERY_FULL_W = 700.0

# The direction (degrees from south to the west) and the power of each string, and until which
# hour the second one is in the sun.
ROOFS = {
    "south": ((0, 2600), (0, 2200), 24.0),
    "east and west": ((-85, 2400), (80, 2400), 24.0),
    "shaded in the afternoon": ((10, 2400), (10, 2400), 14.25),
}
Powers = tuple[float, float]
Fault = Callable[[datetime, Powers], Powers]


def year(roof: str, seed: int, fault: Fault | None = None) -> Iterator[tuple[datetime, Powers]]:
    """Every quarter of the year in which a string gives anything, with the mean of each in W."""
    chance = random.Random(f"{roof} {seed}")
    snow_days = 0
    for number in range(DAYS):
        day = YEAR + timedelta(days=number)
        winter = day.month in (1, 2, 12)
        snow_days = max(snow_days - 1, 0) or (
            chance.randint(2, 6) if winter and chance.random() < 0.06 else 0
        )
        overcast = chance.choice((0.0, 0.3, 0.6, 0.9, 1.0))
        held_w = BATTERY_FULL_W if day.month in (5, 6, 7) and chance.random() < 0.4 else None
        for at, powers in _day(roof, day, overcast, 0.01 if snow_days else 1.0, held_w, chance):
            powers = fault(at, powers) if fault else powers
            if any(powers):
                yield at, powers


def _day(
    roof: str, day: date, overcast: float, snow: float, held_w: float | None, chance: random.Random
) -> Iterator[tuple[datetime, Powers]]:
    season = math.cos(2 * math.pi * (day.timetuple().tm_yday - 172) / 365)
    half_day = 6 + 2.1 * season
    height = 0.62 + 0.33 * season
    clouds = overcast
    for quarter in range(96):
        hour = (quarter + 0.5) / 4
        along = (hour - 12) / half_day
        if abs(along) >= 1:
            continue
        sun = height * math.cos(along * math.pi / 2)
        clouds = min(max(clouds + chance.uniform(-0.35, 0.35) + 0.2 * (overcast - clouds), 0), 1)
        powers = [
            snow * _string(roof, which, hour, along, sun, clouds, chance) for which in range(2)
        ]
        total = sum(powers)
        if held_w and hour > 12.5 and total > held_w:
            uneven = chance.uniform(0.85, 1.15)  # it lets go of one string more than of the other
            powers = [powers[0] * held_w / total * uneven, powers[1] * held_w / total / uneven]
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) + quarter * QUARTER
        yield at, tuple(round(watts, 1) if watts >= STARTS_W else 0.0 for watts in powers)


def _string(
    roof: str,
    which: int,
    hour: float,
    along: float,
    sun: float,
    clouds: float,
    chance: random.Random,
) -> float:
    """What one string gives under its part of the sky."""
    *strings, shaded_from = ROOFS[roof]
    degrees, peak_w = strings[which]
    facing = max(math.cos(math.radians(100 * along - degrees)), 0.0) if degrees else 1.0
    facing = 0.35 * sun + 0.65 * facing  # panels lie flat enough to see a high sun
    direct = 0.0 if which == 1 and hour >= shaded_from else (1 - clouds) * facing
    light = sun * ((1 - DIFFUSE) * direct + DIFFUSE * (1 - 0.5 * clouds))
    return peak_w * light * chance.uniform(0.97, 1.03)
