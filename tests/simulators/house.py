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
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from tests.simulators.day import (
    CAPACITY_WH,
    MIXED,
    OVERCAST,
    STEP_S,
    STRING_2,
    SUNNY,
    Day,
    flows,
)
from tests.simulators.plan import INVERTER_ZONE, NOTHING_SPECIAL, Plan

BUILT = datetime(2019, 1, 1, 5, tzinfo=INVERTER_ZONE)
FLICKER_W = 9.0
FLICKERS = 3  # in one step
IMPORT = Day.COUNTERS.index("import")


@dataclass(frozen=True, slots=True)
class HouseState:
    """The house at one time; battery + charging, export + to the grid, kWh counted since BUILT.

    All but what is named 2 is as the first inverter has it: its load is that of the house, less
    what a second inverter gives to it.
    """

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
    pv2_kwh: float = 0.0  # of the second inverter: from its roof, and into the house
    ac2_kwh: float = 0.0
    string1_w: float = 0.0
    string2_w: float = 0.0
    pv2_w: float = 0.0
    ac2_w: float = 0.0
    alarms: str = ""

    @property
    def ac_w(self) -> float:
        """What the inverter gives to the AC side."""
        return self.load_w + self.export_w


class House:
    """One house; `at` any time since BUILT."""

    def __init__(self, seed: int = 1, plan: Plan = NOTHING_SPECIAL):
        self.plan = plan
        self._seed = seed
        self._kinds: dict[tuple, Day] = {}
        self._days: dict[int, Day] = {}
        self._sums: list[tuple[float, ...]] = [(0.0,) * len(Day.COUNTERS)]  # Wh before day n

    def at(self, moment: datetime) -> HouseState:
        """The house at this time; raises ValueError before BUILT."""
        number, rest_s = divmod((moment - BUILT).total_seconds(), 86_400)
        if number < 0:
            raise ValueError(f"the house was built on {BUILT:%Y-%m-%d}")
        day, before = self._day(int(number)), self._before(int(number))
        step, into_s = int(rest_s // STEP_S), rest_s % STEP_S
        pv, load, battery, export, loss = powers = day.powers[step]
        second = day.second[step] if day.second else (0.0, 0.0)
        hours = into_s / 3600
        counted = zip(before, day.counted[step], (*flows(powers), *second), strict=True)
        wh = [start + so_far + w * hours for start, so_far, w in counted]
        stored_wh = day.stored_wh[step] + battery * hours
        # The flicker never turns the sign of the grid, so its integral goes to one counter.
        swing, phase = min(FLICKER_W, abs(export)), 2 * math.pi * FLICKERS * into_s / STEP_S
        flicker_w = swing * math.sin(phase)
        flicker_wh = swing * (1 - math.cos(phase)) * STEP_S / (2 * math.pi * FLICKERS) / 3600
        wh[1] += flicker_wh
        if export < 0:
            wh[2] += flicker_wh
        else:
            wh[3] -= flicker_wh
        return HouseState(
            pv,
            load + flicker_w,
            battery,
            export - flicker_w,
            loss,
            100 * stored_wh / CAPACITY_WH,
            *[each / 1000 for each in wh],
            *_shared(pv, day.strings[step] if day.strings else None),
            *second,
            self.plan.alarms_at(moment) if self.plan.alarms else "",
        )

    def quarter_import_kwh(self, start: datetime) -> float:
        """What was imported in the quarter that begins then; quicker than two times `at`."""
        number, rest_s = divmod((start - BUILT).total_seconds(), 86_400)
        counted, step = self._day(int(number)).counted, int(rest_s // STEP_S)
        return (counted[step + 900 // STEP_S][IMPORT] - counted[step][IMPORT]) / 1000

    def _day(self, number: int) -> Day:
        if number in self._days:
            return self._days[number]
        season = ((BUILT + timedelta(days=number)).timetuple().tm_yday + 45) // 92 % 4
        weather = (SUNNY, MIXED, MIXED, OVERCAST)[zlib.crc32(f"{self._seed} {number}".encode()) % 4]
        kind = (season, weather)
        events = self.plan.events((BUILT + timedelta(days=number)).date())
        if (kind, events) not in self._kinds:
            random = Random(f"{self._seed} {kind}")
            self._kinds[kind, events] = Day(season, weather, random, events)
        self._days[number] = self._kinds[kind, events]
        return self._days[number]

    def _before(self, number: int) -> tuple[float, ...]:
        while len(self._sums) <= number:
            whole_day = self._day(len(self._sums) - 1).counted[-1]
            sums = zip(self._sums[-1], whole_day, strict=True)
            self._sums.append(tuple(so_far + wh for so_far, wh in sums))
        return self._sums[number]


def _shared(pv_w: float, strings: tuple[float, float] | None) -> tuple[float, float]:
    """What each string gives of the power; less than it could where the inverter is full."""
    if not strings or not sum(strings):
        return (1 - STRING_2) * pv_w, STRING_2 * pv_w
    return pv_w * strings[0] / sum(strings), pv_w * strings[1] / sum(strings)
