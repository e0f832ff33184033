"""Samples of a simulated house as fast as they can be computed, and what is true of them.

The samples are what an agent makes of the simulated devices (a test holds them together), without
a device in between: a year every five minutes takes seconds. Truth is asked of the house itself.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import floor, sin
from typing import Any

from edge_agent.shared.samples import format_time
from tests.simulators.belgian import BelgianMeter
from tests.simulators.house import INVERTER_ZONE, House, HouseState
from tests.simulators.inverter_words import RUNNING, STANDBY

Samples = Iterator[dict[str, Any]]


def inverter_samples(
    house: House,
    device_id: str,
    start: datetime,
    end: datetime,
    every: timedelta,
    number: int = 1,
) -> Samples:
    """The samples of the first or the second inverter, from start on and before end."""
    tell = _first if number == 1 else _second
    midnight, at_midnight = None, None
    while start < end:
        today = start.astimezone(INVERTER_ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
        if today != midnight:
            midnight, at_midnight = today, house.at(today)
        now = house.at(start)
        yield {"device_id": device_id, "ts": format_time(start), **tell(now, at_midnight)}
        start += every


def meter_samples(
    house: House, device_id: str, start: datetime, end: datetime, every: timedelta
) -> Samples:
    """The samples of the house's meter, from start on and before end."""
    meter = BelgianMeter(house, start)
    while start < end:
        body = meter.measurement(start)
        sample = {name: body[name] for name in _METER_FIELDS}
        peak_w, peak_ts = meter.peak or (None, None)
        yield {
            "device_id": device_id,
            "ts": format_time(start),
            **sample,
            "import_power_w": max(body["power_w"], 0),
            "monthly_power_peak_w": peak_w,
            "monthly_power_peak_ts": peak_ts and format_time(peak_ts),
        }
        start += every


_METER_FIELDS = (
    "power_w",
    "energy_import_kwh",
    "energy_export_kwh",
    "average_power_15m_w",
    "tariff",
    "energy_import_t1_kwh",
    "energy_import_t2_kwh",
    "energy_export_t1_kwh",
    "energy_export_t2_kwh",
)


def true_energy(house: House, start: datetime, end: datetime) -> dict[str, float]:
    """The kWh between two times: of both inverters together, of the grid, of the house's use.

    `consumption_kwh` is what the balance calls so: what the house and the conversion took.
    """
    before, after = house.at(start), house.at(end)
    kwh = {
        name.removesuffix("_kwh"): getattr(after, name) - getattr(before, name)
        for name in HouseState.__slots__
        if name.endswith("_kwh")
    }
    pv = kwh["pv"] + kwh["pv2"]
    consumed = pv + kwh["import"] + kwh["discharge"] - kwh["export"] - kwh["charge"]
    return {
        "pv_kwh": pv,
        "grid_import_kwh": kwh["import"],
        "grid_export_kwh": kwh["export"],
        "charge_kwh": kwh["charge"],
        "discharge_kwh": kwh["discharge"],
        "consumption_kwh": consumed,
    }


def true_string_energy(
    house: House, start: datetime, end: datetime, every: timedelta = timedelta(seconds=10)
) -> tuple[float, float]:
    """The kWh of the first inverter's strings between two times: its powers hold for 10 s."""
    sums, hours = [0.0, 0.0], every / timedelta(hours=1) / 1000
    while start < end:
        now = house.at(start)
        sums[0] += now.string1_w * hours
        sums[1] += now.string2_w * hours
        start += every
    return sums[0], sums[1]


def true_verdict(house: House, moment: datetime) -> tuple[str, datetime | None]:
    """Of string 2: ok, or dead and since when."""
    died = house.plan.string_dies
    if died is None:
        return "ok", None
    at = datetime(died.year, died.month, died.day, 11, tzinfo=INVERTER_ZONE).astimezone(UTC)
    return ("dead", at) if moment >= at else ("ok", None)


def _counts(value: float, per_unit: int) -> float:
    """A value in the device's steps, cut as its registers cut it."""
    return floor(value * per_unit + 1e-6) / per_unit


def _counter(kwh: float) -> float | None:
    return _counts(kwh, 10) or None


def _strings(volt1: float, watt1: float, volt2: float, watt2: float) -> dict[str, float]:
    return {
        "mppt1_voltage_v": _counts(volt1, 10),
        "mppt1_current_a": _counts(watt1 / volt1, 10) if volt1 else 0,
        "mppt2_voltage_v": _counts(volt2, 10),
        "mppt2_current_a": _counts(watt2 / volt2, 10) if volt2 else 0,
    }


def _first(now: HouseState, midnight: HouseState) -> dict[str, Any]:
    volt = 0 if now.pv_w < 20 else 300 + now.pv_w / 100
    volt2 = volt - 30 if volt and now.string2_w else 0
    return {
        "pv_power_w": round(now.pv_w),
        "pv_daily_kwh": _counts(now.pv_kwh - midnight.pv_kwh, 10),
        "battery_power_w": round(now.battery_w),
        "battery_soc_pct": _counts(now.soc_pct, 10),
        "battery_temp_c": _counts(14 + now.loss_w / 20, 10),
        "load_power_w": round(now.load_w),
        "export_power_w": round(now.export_w),
        "sample_count": 1,
        "pv_total_kwh": _counter(now.pv_kwh),
        "import_total_kwh": _counter(now.import_kwh),
        "export_total_kwh": _counter(now.export_kwh),
        "charge_total_kwh": _counter(now.charge_kwh),
        "discharge_total_kwh": _counter(now.discharge_kwh),
        **_strings(volt, now.string1_w, volt2, now.string2_w),
        "battery_soh_pct": 97,
        "inverter_temp_c": _counts(22 + now.loss_w / 10, 10),
        "grid_frequency_hz": _frequency(now),
        "running_state": STANDBY if now.loss_w == 0 else RUNNING,
        "battery_capacity_kwh": 9.6,
        "alarms": now.alarms,
    }


def _second(now: HouseState, midnight: HouseState) -> dict[str, Any]:
    volt = 0 if now.pv2_w < 20 else 310 + now.pv2_w / 100
    unknown = (
        "battery_power_w battery_soc_pct battery_temp_c load_power_w export_power_w "
        "import_total_kwh export_total_kwh charge_total_kwh discharge_total_kwh "
        "battery_soh_pct battery_capacity_kwh"
    )
    return {
        "pv_power_w": round(now.pv2_w),
        "pv_daily_kwh": _counts(now.pv2_kwh - midnight.pv2_kwh, 10),
        "sample_count": 1,
        "pv_total_kwh": _counter(now.pv2_kwh),
        **_strings(volt, now.pv2_w / 2, volt, now.pv2_w / 2),
        "inverter_temp_c": _counts(20 + now.pv2_w / 200, 10),
        "grid_frequency_hz": _frequency(now),
        "running_state": RUNNING if now.pv2_w else STANDBY,
        "alarms": now.alarms,
        **dict.fromkeys(unknown.split()),
    }


def _frequency(now: HouseState) -> float:
    return _counts(50 + sin(now.load_kwh * 50) / 50, 100)
