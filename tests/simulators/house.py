"""A believable house for the simulators: sun, clouds, appliances, a battery and the grid.

Everything follows from the seed and the time asked for, so that two simulators of one house
agree, also after a restart. Powers hold for 10 s, but for a flicker of load and grid that comes
out even, so the counters are their exact integrals: pv + import + discharge = load + export +
charge + losses, at any time. A day begins at 05:00 with an empty battery (a boiler takes what the
night has left), so every day stands for itself and the counters since BUILT are sums over whole
days.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from random import Random

INVERTER_ZONE = timezone(timedelta(hours=1))  # it knows no summer time
BUILT = datetime(2019, 1, 1, 5, tzinfo=INVERTER_ZONE)
STEP_S = 10
STEPS = 86_400 // STEP_S
SEASONS = ((8.0, 16.8, 2000), (6.3, 19.5, 3700), (5.0, 21.5, 4600), (6.6, 18.8, 3300))
SUNNY, MIXED, OVERCAST = range(3)

CAPACITY_WH = 9600.0
SOC_MIN, SOC_MAX = 0.05, 1.0
BATTERY_W = 2600.0  # either way
INVERTER_W = 4000.0  # to the AC side
STANDBY_W = 60.0  # lost while anything flows
LOSS = 0.025  # of what flows
FLICKER_W = 9.0
FLICKERS = 3  # in one step


@dataclass(frozen=True, slots=True)
class HouseState:
    """The house at one time; battery + charging, export + to the grid, kWh counted since BUILT."""

    pv_w: float
    load_w: float
    battery_w: float
    export_w: float
    loss_w: float
    soc_pct: float
    pv_kwh: float
    load_kwh: float
    import_kwh: float
    export_kwh: float
    charge_kwh: float
    discharge_kwh: float
    loss_kwh: float

    @property
    def ac_w(self) -> float:
        """What the inverter gives to the AC side."""
        return self.load_w + self.export_w


class House:
    """One house; `at` any time since BUILT."""

    def __init__(self, seed: int = 1):
        self._seed = seed
        self._kinds: dict[tuple[int, int], Day] = {}
        self._sums: list[tuple[float, ...]] = [(0.0,) * len(Day.COUNTERS)]  # Wh before day n

    def at(self, moment: datetime) -> HouseState:
        """The house at this time; raises ValueError before BUILT."""
        number, rest = divmod(moment - BUILT, timedelta(days=1))
        if number < 0:
            raise ValueError(f"the house was built on {BUILT:%Y-%m-%d}")
        day, before = self._day(number), self._before(number)
        step, into_s = divmod(rest.total_seconds(), STEP_S)
        pv, load, battery, export, loss = powers = day.powers[int(step)]
        counted = zip(before, day.counted[int(step)], flows(powers), strict=True)
        wh = [start + so_far + w * into_s / 3600 for start, so_far, w in counted]
        stored_wh = day.stored_wh[int(step)] + battery * into_s / 3600
        # The flicker never turns the sign of the grid, so its integral goes to one counter.
        swing, phase = min(FLICKER_W, abs(export)), 2 * math.pi * FLICKERS * into_s / STEP_S
        flicker_w = swing * math.sin(phase)
        flicker_wh = swing * (1 - math.cos(phase)) * STEP_S / (2 * math.pi * FLICKERS) / 3600
        wh[1] += flicker_wh
        if export < 0:
            wh[2] += flicker_wh
        else:
            wh[3] -= flicker_wh
        powers = (pv, load + flicker_w, battery, export - flicker_w, loss)
        return HouseState(*powers, 100 * stored_wh / CAPACITY_WH, *(each / 1000 for each in wh))

    def _day(self, number: int) -> "Day":
        season = ((BUILT + timedelta(days=number)).timetuple().tm_yday + 45) // 92 % 4
        weather = (SUNNY, MIXED, MIXED, OVERCAST)[zlib.crc32(f"{self._seed} {number}".encode()) % 4]
        kind = (season, weather)
        if kind not in self._kinds:
            self._kinds[kind] = Day(season, weather, Random(f"{self._seed} {kind}"))
        return self._kinds[kind]

    def _before(self, number: int) -> tuple[float, ...]:
        while len(self._sums) <= number:
            whole_day = self._day(len(self._sums) - 1).counted[-1]
            sums = zip(self._sums[-1], whole_day, strict=True)
            self._sums.append(tuple(so_far + wh for so_far, wh in sums))
        return self._sums[number]


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

    COUNTERS = ("pv", "load", "import", "export", "charge", "discharge", "loss")

    def __init__(self, season: int, weather: int, random: Random):
        sun = list(_sunshine(season, weather, random))
        load = _load(random)
        self.stored_wh = [SOC_MIN * CAPACITY_WH]
        self.powers = [self._step(n, sun[n], load[n], random) for n in range(STEPS)]
        self.counted = list(
            accumulate(
                (flows(powers) for powers in self.powers),
                lambda sums, now: tuple(
                    wh + w * STEP_S / 3600 for wh, w in zip(sums, now, strict=True)
                ),
                initial=(0.0,) * len(self.COUNTERS),
            )
        )

    def _step(self, number: int, sun_w: float, load_w: float, random: Random) -> Powers:
        """Let the battery balance house and sun, within what it can do."""
        stored = self.stored_wh[-1]
        floor, ceiling = SOC_MIN * CAPACITY_WH, SOC_MAX * CAPACITY_WH
        if _hour(number) >= 26 and stored > floor:
            load_w += 2400.0  # the boiler, from 02:00 until the battery is empty
        wish = sun_w * (1 - LOSS) - STANDBY_W - load_w + random.gauss(0, 12)
        wish /= 1 + LOSS if wish > 0 else 1 - LOSS
        wish = min(max(wish, -BATTERY_W), BATTERY_W)
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


def _hour(number: int) -> float:
    """The hour of a step: 5 to 29."""
    return 5 + number * STEP_S / 3600


def _sunshine(season: int, weather: int, random: Random) -> Iterator[float]:
    """The power on the roof, under clouds that pass within minutes."""
    rise, set_, peak_w = SEASONS[season]
    low, high = {SUNNY: (0.95, 1.0), MIXED: (0.2, 1.0), OVERCAST: (0.08, 0.35)}[weather]
    slow, quick = _waves(random, 1500), _waves(random, 240)
    for number in range(STEPS):
        along = (_hour(number) - rise) / (set_ - rise)
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
