"""Months of a simulated house by the second, and what its meter makes of their quarters.

A house has few kinds of day, so each is spread out once, and a month is made of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import floor
from random import Random

from api_server.data.periods import after, midnight
from tests.simulators.belgian import BRUSSELS
from tests.simulators.house import BUILT, STEP_S, Day, House

DAY_S, QUARTER_S = 86_400, 900
LEAD_S = 60  # what is known of the quarter before


@dataclass(frozen=True)
class Seconds:
    """A kind of day by the second: import in W, and Wh imported since it began."""

    watts: list[int]
    wh: list[float]


class Quarter:
    """A quarter of a day with the minute before it; second 0 is its start."""

    def __init__(self, seconds: Seconds, first: int, base_wh: float, start: datetime):
        self.start = start
        self._seconds, self._first, self._base_wh = seconds, first, base_wh

    def watts(self, first: int, end: int, step: int = 1) -> list[int]:
        """What the meter shows from one second to another."""
        return self._seconds.watts[max(self._first + first, 0) : self._first + end : step]

    def kwh(self, second: int) -> float:
        """The register, which counts whole watt hours."""
        place = min(max(self._first + second, 0), DAY_S)
        return floor(self._base_wh + self._seconds.wh[place]) / 1000

    @property
    def true_w(self) -> float:
        """The mean of the whole quarter, exactly."""
        return (self._seconds.wh[self._first + QUARTER_S] - self._seconds.wh[self._first]) * 4

    def register_w(self, step: int, phase: int) -> float:
        """The register's difference over the quarter, read every `step` seconds."""
        return (self._at(QUARTER_S, step, phase) - self._at(0, step, phase)) * 4000

    def _at(self, edge: int, step: int, phase: int) -> float:
        earlier = (edge - phase) // step * step + phase
        if earlier == edge or self._first + edge + step > DAY_S:
            return self.kwh(edge)
        low, high = self.kwh(earlier), self.kwh(earlier + step)
        return low + (high - low) * (edge - earlier) / step


class Home:
    """A simulated house, whose days are spread out once."""

    def __init__(self, seed: int):
        self._house, self._chance = House(seed), Random(seed)
        self._spread: dict[int, Seconds] = {}

    def quarters(self, month: date) -> Iterator[Quarter]:
        """The quarters of a local month that lie within the days of the house."""
        base_wh, wh, today = 0.0, 0.0, None
        at, end = midnight(month, BRUSSELS), midnight(after(month, "month"), BRUSSELS)
        while at < end:
            number, rest = divmod(at - BUILT, timedelta(days=1))
            day = self._house._day(number)
            if id(day) not in self._spread:
                self._spread[id(day)] = spread(day, self._chance)
            seconds = self._spread[id(day)]
            if number != today:
                base_wh, today = (base_wh + wh) if today is not None else 0.0, number
                wh = seconds.wh[-1]
            yield Quarter(seconds, int(rest.total_seconds()), base_wh, at)
            at += timedelta(seconds=QUARTER_S)


def spread(day: Day, chance: Random) -> Seconds:
    """Every second of a day. The house holds its powers for ten; hobs and the like do not."""
    restless = _restless(chance)
    watts, wh, so_far = [], [], 0.0
    for step, (_, _, _, export, _) in enumerate(day.powers):
        for second in range(step * STEP_S, (step + 1) * STEP_S):
            power = round(restless[second] - export + chance.uniform(-9, 9))
            watts.append(max(power, 0))
            wh.append(so_far)
            so_far += watts[-1] / 3600
    return Seconds(watts, [*wh, so_far])


def _restless(chance: Random) -> list[int]:
    """What is switched on and off within seconds, some sessions a day."""
    watts = [0] * DAY_S
    for _ in range(6):
        on_s, off_s = chance.randint(2, 11), chance.randint(2, 11)
        load_w, first = chance.choice((900, 1300, 1800, 2200)), chance.randrange(DAY_S)
        for second in range(first, min(first + chance.randint(300, 3000), DAY_S)):
            if (second - first) % (on_s + off_s) < on_s:
                watts[second] += load_w
    return watts
