"""What a Belgian electricity meter makes of a house: registers, quarter average and month peak."""

import time
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

from tests.simulators.house import BUILT, House, HouseState

BRUSSELS = ZoneInfo("Europe/Brussels")
QUARTER = timedelta(minutes=15)
HISTORY = 13  # months whose peaks a meter keeps


class SimulatedTime:
    """Runs from `start` on, `speed` times as fast as the real time."""

    def __init__(self, start: datetime, speed: float = 1.0):
        self._start, self._speed, self._began = start, speed, time.monotonic()

    def now(self) -> datetime:
        """The simulated time."""
        return self._start + timedelta(seconds=(time.monotonic() - self._began) * self._speed)


class BelgianMeter:
    """Reads the house's counters as its grid meter does; asked with rising times."""

    def __init__(self, house: House, start: datetime):
        self._house = house
        self._quarter = _months_before(_month(start), HISTORY).astimezone(UTC)  # next to close
        self._quarter = max(self._quarter, _quarter_start(BUILT) + QUARTER)
        self._imported: tuple[datetime, float] | None = None  # a quarter, the register then
        self.peak: tuple[int, datetime] | None = None  # of this month: W, end of the quarter
        self.history: list[tuple[datetime, datetime, int]] = []  # month's end, quarter's end, W
        self._tariffs = {1: [0, 0], 2: [0, 0]}  # Wh of import and export
        self._counted = (0, 0)
        self._close_quarters(start)  # takes a moment, which no client should wait for

    def measurement(self, now: datetime) -> dict[str, Any]:
        """The body of API v2 at this time."""
        self._close_quarters(now)
        local = now.astimezone(BRUSSELS)
        tariff = 1 if local.weekday() < 5 and 7 <= local.hour < 22 else 2  # day and night
        state = self._house.at(now)
        imported, exported = self._count(state, tariff)
        body = {
            "protocol_version": 50,
            "meter_model": "LGF5E360",
            "timestamp": local.strftime("%Y-%m-%dT%H:%M:%S"),
            "tariff": tariff,
            "energy_import_kwh": imported / 1000,
            "energy_export_kwh": exported / 1000,
            "power_w": -round(state.export_w),
            "average_power_15m_w": self._running_w(state),
        }
        for number, (into, out) in self._tariffs.items():
            body[f"energy_import_t{number}_kwh"] = into / 1000
            body[f"energy_export_t{number}_kwh"] = out / 1000
        if self.peak:
            body["monthly_power_peak_w"], ended = self.peak
            stamp = ended.astimezone(BRUSSELS).strftime("%Y-%m-%dT%H:%M:%S")
            body["monthly_power_peak_timestamp"] = stamp
        return body

    def _count(self, state: HouseState, tariff: int) -> tuple[int, int]:
        """The registers in Wh; what came since the last time goes to the tariff of now."""
        counted = (
            floor(state.import_kwh * 1000),
            floor(state.export_kwh * 1000),
        )  # never rounded up
        for way in (0, 1):
            self._tariffs[tariff][way] += counted[way] - self._counted[way]
        self._counted = counted
        return counted

    def _close_quarters(self, now: datetime) -> None:
        """Keep the highest quarter of the month; its time is the quarter's end."""
        while (end := self._quarter + QUARTER) <= now:
            power = round(self._house.quarter_import_kwh(self._quarter) * 4000)
            if _month(self._quarter) != _month(self._quarter - QUARTER):
                if self.peak:
                    self.history.append((_month(self._quarter), self.peak[1], self.peak[0]))
                    self.history = self.history[-HISTORY:]
                self.peak = None
            if self.peak is None or power > self.peak[0]:
                self.peak = (power, end)
            self._quarter = end

    def _running_w(self, state: HouseState) -> int:
        """The import of the running quarter so far, spread over the whole quarter."""
        if self._imported is None or self._imported[0] != self._quarter:
            self._imported = self._quarter, self._house.at(self._quarter).import_kwh
        return round((state.import_kwh - self._imported[1]) * 4000)


def as_v1(body: dict[str, Any]) -> dict[str, Any]:
    """The same measurement as API v1 tells it."""
    renamed = {"wifi_ssid": "Simulated", "wifi_strength": 78, "smr_version": 50}
    for name, value in body.items():
        if name.startswith("energy_"):
            renamed[name.replace("energy_", "total_power_", 1)] = value
    renamed |= {"active_tariff": body["tariff"], "active_power_w": body["power_w"]}
    renamed["active_power_average_w"] = body["average_power_15m_w"]
    if "monthly_power_peak_w" in body:
        renamed["montly_power_peak_w"] = body["monthly_power_peak_w"]
        digits = [sign for sign in body["monthly_power_peak_timestamp"] if sign.isdigit()]
        renamed["montly_power_peak_timestamp"] = int("".join(digits)[2:])
    return renamed


def _quarter_start(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def _month(moment: datetime) -> datetime:
    """The start of the local month."""
    local = moment.astimezone(BRUSSELS)
    return local.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)


def _months_before(month: datetime, count: int) -> datetime:
    number = month.year * 12 + month.month - 1 - count
    return month.replace(year=number // 12, month=number % 12 + 1)
