"""One kind of day in the simulated house: its powers in steps, and what they count up to."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

STEP_S = 10
STEPS = 86_400 // STEP_S
BEGINS_H = 5  # the hour of its first step
SEASONS = ((8.0, 16.8, 2000), (6.3, 19.5, 3700), (5.0, 21.5, 4600), (6.6, 18.8, 3300))
SUNNY, MIXED, OVERCAST = range(3)

CAPACITY_WH = 9600.0
SOC_MIN, SOC_MAX = 0.05, 1.0
BATTERY_W = 2600.0  # either way
INVERTER_W = 4000.0  # to the AC side
STANDBY_W = 60.0  # lost while anything flows
LOSS = 0.025  # of what flows

STRING_2 = 0.45  # its part of the sun
SHADE_FROM_H, SHADE = 14, 0.25  # what the shade leaves of string 2
DIES_AT_H = 11
SNOW = 0.02  # what snow on the roof leaves
MORNING_CHARGE_H, NIGHT_CHARGE_H, BATTERY_EXPORT_H = (5.5, 7.5), (21.5, 24.0), (18.0, 19.5)
GRID_CHARGE_W = 2000.0
EAST_H, EAST = -2.0, 0.6  # the second inverter's roof: earlier, and smaller
SECOND_STANDBY_W = 15.0


@dataclass(frozen=True)
class Events:
    """What is not as every day."""

    shaded: bool = False
    string: str = ""  # "dies", "dead"
    charges: bool = False  # from the grid, at night
    exports: bool = False  # the battery, in the evening; charged from the grid in the morning
    snow: bool = False
    second: bool = False  # there is a second inverter, on the east roof

    @property
    def roof(self) -> bool:
        """Whether the strings do not simply share the sun."""
        return self.shaded or self.snow or bool(self.string)


EVERYDAY = Events()
Powers = tuple[float, float, float, float, float]  # pv, load, battery, export, loss


def flows(powers: Powers) -> tuple[float, ...]:
    """The power that each counter counts, none negative."""
    pv, load, battery, export, loss = powers
    return (
        pv,
        load,
        max(-export, 0.0),
        max(export, 0.0),
        max(battery, 0.0),
        max(-battery, 0.0),
        loss,
    )


class Day:
    """Powers and counters of one kind of day from 05:00 to 05:00, in steps of STEP_S."""

    COUNTERS = ("pv", "load", "import", "export", "charge", "discharge", "loss", "pv2", "ac2")

    def __init__(self, season: int, weather: int, random: Random, events: Events = EVERYDAY):
        sun = list(_sunshine(season, weather, random))
        load = _load(random)
        self._events = events
        self.strings = [self._strings(n, w) for n, w in enumerate(sun)] if events.roof else None
        if self.strings:
            sun = [sum(watts) for watts in self.strings]
        self.second: list[tuple[float, float]] | None = None  # DC and AC power
        if events.second:
            snow = SNOW if events.snow else 1.0
            east = _sunshine(season, weather, Random(f"east {season} {weather}"), EAST_H)
            self.second = [_second(w * EAST * snow) for w in east]
            load = [w - ac for w, (_, ac) in zip(load, self.second, strict=True)]
        self.stored_wh = [SOC_MIN * CAPACITY_WH]
        self.powers = [self._step(n, sun[n], load[n], random) for n in range(STEPS)]
        second = self.second or [(0.0, 0.0)] * STEPS
        self.counted = list(
            accumulate(
                ((*flows(w), *more) for w, more in zip(self.powers, second, strict=True)),
                lambda sums, now: tuple(
                    wh + w * STEP_S / 3600 for wh, w in zip(sums, now, strict=True)
                ),
                initial=(0.0,) * len(self.COUNTERS),
            )
        )

    def _strings(self, number: int, sun_w: float) -> tuple[float, float]:
        """What the two strings give under this sun."""
        events, hour = self._events, _hour(number)
        sun_w *= SNOW if events.snow else 1.0
        second_w = STRING_2 * sun_w
        if events.string == "dead" or (events.string == "dies" and hour >= DIES_AT_H):
            second_w = 0.0
        elif events.shaded and hour >= SHADE_FROM_H:
            second_w *= SHADE
        return (1 - STRING_2) * sun_w, second_w

    def _forced_w(self, number: int, wish_w: float) -> float:
        """What the battery is told to do, whatever the house needs."""
        events, hour = self._events, _hour(number)
        if events.charges and NIGHT_CHARGE_H[0] <= hour < NIGHT_CHARGE_H[1]:
            return GRID_CHARGE_W
        if events.exports and MORNING_CHARGE_H[0] <= hour < MORNING_CHARGE_H[1]:
            return GRID_CHARGE_W
        if events.exports and BATTERY_EXPORT_H[0] <= hour < BATTERY_EXPORT_H[1]:
            return -BATTERY_W
        return wish_w

    def _step(self, number: int, sun_w: float, load_w: float, random: Random) -> Powers:
        """Let the battery balance house and sun, within what it can do."""
        stored = self.stored_wh[-1]
        floor, ceiling = SOC_MIN * CAPACITY_WH, SOC_MAX * CAPACITY_WH
        if _hour(number) >= 26 and stored > floor:
            load_w += 2400.0  # the boiler, from 02:00 until the battery is empty
        wish = sun_w * (1 - LOSS) - STANDBY_W - load_w + random.gauss(0, 12)
        wish /= 1 + LOSS if wish > 0 else 1 - LOSS
        wish = self._forced_w(number, min(max(wish, -BATTERY_W), BATTERY_W))
        battery = min(
            max(wish, (floor - stored) * 3600 / STEP_S), (ceiling - stored) * 3600 / STEP_S
        )
        flowing = sun_w > 0 or abs(battery) > 0
        loss = STANDBY_W + LOSS * (sun_w + abs(battery)) if flowing else 0.0
        ac = sun_w - battery - loss
        if ac > INVERTER_W:  # what does not fit through is left on the roof
            sun_w -= (ac - INVERTER_W) / (1 - LOSS)
            loss = STANDBY_W + LOSS * (sun_w + abs(battery))
            ac = sun_w - battery - loss
        self.stored_wh.append(stored + battery * STEP_S / 3600)
        return sun_w, load_w, battery, ac - load_w, loss


def _second(dc_w: float) -> tuple[float, float]:
    """DC and AC power of the inverter that has no battery."""
    return dc_w, max(dc_w * (1 - LOSS) - SECOND_STANDBY_W, 0.0)


def _hour(number: int) -> float:
    """The hour of a step: 5 to 29."""
    return BEGINS_H + number * STEP_S / 3600


def _sunshine(season: int, weather: int, random: Random, shift_h: float = 0.0) -> Iterator[float]:
    """The power on the roof, under clouds that pass within minutes."""
    rise, set_, peak_w = SEASONS[season]
    low, high = {SUNNY: (0.95, 1.0), MIXED: (0.2, 1.0), OVERCAST: (0.08, 0.35)}[weather]
    slow, quick = _waves(random, 1500), _waves(random, 240)
    for number in range(STEPS):
        along = (_hour(number) - shift_h - rise) / (set_ - rise)
        height = math.sin(math.pi * along) ** 1.4 if 0 < along < 1 else 0.0
        clear = 0.65 * slow(number) + 0.35 * quick(number)
        yield peak_w * height * (low + (high - low) * clear)


def _waves(random: Random, period_s: float):
    """A smooth function of the step between 0 and 1, that turns about every `period_s`."""
    points = [random.random() for _ in range(int(86_400 / period_s) + 2)]

    def value(number: int) -> float:
        index, along = divmod(number * STEP_S / period_s, 1)
        along = (1 - math.cos(math.pi * along)) / 2
        return points[int(index)] * (1 - along) + points[int(index) + 1] * along

    return value


def _load(random: Random) -> list[float]:
    """What the appliances take: standby, the fridge, and the day's peaks."""
    drift = _waves(random, 600)
    load = [180 + 120 * drift(number) + random.uniform(-8, 8) for number in range(STEPS)]

    def run(hour: float, minutes: float, watt: float, on_s: int = 0, off_s: int = 0) -> None:
        first = int((hour - 5) * 3600 / STEP_S)
        for number in range(first, min(first + int(minutes * 60 / STEP_S), STEPS)):
            if not off_s or (number - first) * STEP_S % (on_s + off_s) < on_s:
                load[number] += watt

    run(5, 24 * 60, 95, 900, 1800)  # fridge
    for hour in (6.8, 7.4, 10.1, 13.0, 16.2, 20.4):
        run(hour + random.uniform(-0.3, 0.3), 3, 2000)  # kettle
    run(random.uniform(9, 14), 25, 1900)  # washing machine heats
    run(random.uniform(12, 12.4), 20, 2200, 40, 50)  # hob
    run(random.uniform(17.8, 18.6), 50, 2600, 90, 60)  # oven
    run(random.uniform(18, 18.5), 30, 1800, 30, 30)  # hob
    run(random.uniform(18.5, 19), 4.5 * 60, 260)  # lights and screens
    run(random.uniform(19.5, 21), 30, 1900)  # dishwasher
    return load
