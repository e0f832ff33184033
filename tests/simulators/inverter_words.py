"""The words an SH4.0RS behind a WiNet-S holds: of a simulated house, or as recorded.

Addresses, types and scales come from the register list in the recordings, not from the agent.
"""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.simulators.house import INVERTER_ZONE, House, HouseState

RECORDINGS = Path(__file__).parents[1] / "recordings" / "sungrow"
SERIAL = "A2340001234"
SECOND_SERIAL = "A2340004321"
RUNNING, STANDBY = 0x40, 0x08


@dataclass(frozen=True)
class Listed:
    """One row of the register list."""

    name: str
    address: int
    type: str
    count: int
    scale: float
    served: bool

    @property
    def addresses(self) -> range:
        """Of all its words."""
        return range(self.address, self.address + self.count)

    def words(self, value: float | str) -> list[int]:
        """The value as it lies on the wire."""
        if isinstance(value, str):
            raw = value.encode().ljust(2 * self.count, b"\0")
            return [int.from_bytes(raw[n : n + 2], "big") for n in range(0, len(raw), 2)]
        counts = math.floor(value / self.scale + 1e-6)  # as counters do, a little before the edge
        return [counts >> 16 * n & 0xFFFF for n in range(self.count)]

    @property
    def sentinel(self) -> list[int]:
        """What it says when it has no value."""
        return {"S16": [0x7FFF], "S32": [0xFFFF, 0x7FFF], "UTF8": [0] * self.count}.get(
            self.type, [0xFFFF] * self.count
        )


def listed() -> Iterator[Listed]:
    """Every input register of the inverter itself, in the order of the list."""
    with (RECORDINGS / "registers.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["table"] == "input" and not row["name"].startswith("pack_"):
                yield Listed(
                    row["name"],
                    int(row["wire_address"]),
                    row["type"],
                    int(row["words"]),
                    float(row["scale"]),
                    row["available_on_SHxRS_via_WiNetS"] != "no",
                )


def recorded(file: Path) -> dict[int, int]:
    """The words of a recording; all that it does not have says "not available"."""
    words = {}
    for register in listed():
        words.update(zip(register.addresses, register.sentinel, strict=True))
    for start, run in json.loads(file.read_text()).items():
        words.update(enumerate(run, int(start)))
    return words


class HouseWords:
    """What an inverter of a house holds at any time: the first, or the second without a battery."""

    def __init__(self, house: House, number: int = 1):
        self._house = house
        self._tell = (_gauges, _counters) if number == 1 else (_second_gauges, _second_counters)
        self._registers = {register.name: register for register in listed()}

    def at(self, moment: datetime) -> dict[int, int]:
        """Its words then; what it does not know is 0, as a WiNet-S has it."""
        local = moment.astimezone(INVERTER_ZONE)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        now, first = self._house.at(moment), self._house.at(midnight)
        words: dict[int, int] = {}
        gauges, counters = self._tell
        for name, value in (gauges(now) | counters(now, first)).items():
            register = self._registers[name]
            words.update(zip(register.addresses, register.words(value), strict=True))
        return words | alarm_words(now.alarms)


def alarm_words(alarms: str) -> dict[int, int]:
    """The words that say a sample's alarms."""
    words = dict.fromkeys(range(13049, 13079), 0)
    for entry in alarms.split():
        word, bit = map(int, entry.split("."))
        words[word + bit // 16] |= 1 << bit % 16
    return words


def _gauges(now: HouseState) -> dict[str, float | str]:
    load, export, battery = round(now.load_w), round(now.export_w), round(now.battery_w)
    volt = 195 + now.soc_pct / 5
    pv_volt = 0 if now.pv_w < 20 else 300 + now.pv_w / 100
    volt2 = pv_volt - 30 if pv_volt and now.string2_w else 0  # 0: it is dark, or the string dead
    idle = now.loss_w == 0
    flow = (
        (now.pv_w > 0)
        | (battery > 0) << 1
        | (battery < 0) << 2
        | (load > 0) << 3
        | (export > 0) << 4
        | (export < 0) << 5
    )
    return {
        "serial_number": SERIAL,
        "device_type_code": 0x0D18,
        "rated_output_power": 4000,
        "output_type": 0,
        "inverter_temperature": 22 + now.loss_w / 10,
        "mppt1_voltage": pv_volt,
        "mppt1_current": pv_volt and now.string1_w / pv_volt,
        "mppt2_voltage": volt2,
        "mppt2_current": volt2 and now.string2_w / volt2,
        "total_dc_power": round(now.pv_w),
        "phase_a_voltage": 232 + now.export_w / 1000,
        "undocumented_active_power_mirror": load + export,
        "battery_power": -battery,
        "grid_frequency": 50 + math.sin(now.load_kwh * 50) / 50,
        "meter_active_power": -export,
        "export_limit_max": 4000,
        "bdc_rated_power": 6600,
        "battery_current": -battery / volt,
        "bms_max_charge_current": 30,
        "bms_max_discharge_current": 30,
        "battery_capacity": 9.6,
        "running_state": STANDBY if idle else RUNNING,
        "power_flow_status": flow,
        "load_power": load,
        "export_power": export,
        "battery_voltage": volt,
        "battery_current_legacy": -battery / volt,
        "battery_power_legacy": abs(battery),
        "battery_soc": now.soc_pct,
        "battery_soh": 97,
        "battery_temperature": 14 + now.loss_w / 20,
        "phase_a_current": (load + export) / 232,
        "total_active_power": load + export,
        "battery_capacity_coarse": 9.6,
    }


def _counters(now: HouseState, first: HouseState) -> dict[str, float]:
    """Its counters; 13035 and 13044, import and export of today, stay 0 as on real ones."""
    kwh = [name for name in HouseState.__slots__ if name.endswith("_kwh")]
    today = {name: getattr(now, name) - getattr(first, name) for name in kwh}
    return {
        "daily_pv_generation": today["pv_kwh"],
        "total_pv_generation": now.pv_kwh,
        "daily_export_from_pv": today["export_kwh"],
        "total_export_from_pv": now.export_kwh,
        "daily_battery_charge_from_pv": today["charge_kwh"],
        "total_battery_charge_from_pv": now.charge_kwh,
        "daily_battery_discharge": today["discharge_kwh"],
        "total_battery_discharge": now.discharge_kwh,
        "total_import_energy": now.import_kwh,
        "daily_battery_charge": today["charge_kwh"],
        "total_battery_charge": now.charge_kwh,
        "total_export_energy": now.export_kwh,
    }


def _second_gauges(now: HouseState) -> dict[str, float | str]:
    """An inverter without a battery and without a meter says 0 for all that it cannot know."""
    pv_volt = 0 if now.pv2_w < 20 else 310 + now.pv2_w / 100
    return {
        "serial_number": SECOND_SERIAL,
        "device_type_code": 0x0D17,
        "rated_output_power": 3000,
        "output_type": 0,
        "inverter_temperature": 20 + now.pv2_w / 200,
        "mppt1_voltage": pv_volt,
        "mppt1_current": pv_volt and now.pv2_w / 2 / pv_volt,
        "mppt2_voltage": pv_volt,
        "mppt2_current": pv_volt and now.pv2_w / 2 / pv_volt,
        "total_dc_power": round(now.pv2_w),
        "phase_a_voltage": 232 + now.export_w / 1000,
        "grid_frequency": 50 + math.sin(now.load_kwh * 50) / 50,
        "running_state": RUNNING if now.pv2_w else STANDBY,
        "power_flow_status": int(now.pv2_w > 0),
        "phase_a_current": now.ac2_w / 232,
        "total_active_power": round(now.ac2_w),
    }


def _second_counters(now: HouseState, first: HouseState) -> dict[str, float]:
    return {
        "daily_pv_generation": now.pv2_kwh - first.pv2_kwh,
        "total_pv_generation": now.pv2_kwh,
    }
