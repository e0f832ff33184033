"""From the words of one poll to a sample; pure: nothing is remembered between two polls.

A value is unusable when it is its type's "not available", out of range, or contradicted by the
rest of the poll; the sample then says "unknown", never 0. Only PV power makes or breaks a sample.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge_agent.shared.alarms import format_alarms
from edge_agent.shared.samples import SUNGROW, format_time
from edge_agent.sources.sungrow.reading import Blocks, Reading, believed
from edge_agent.sources.sungrow.registers import CHARGING, DISCHARGING

_FIELDS = {field.name: field for field in SUNGROW.fields}
_NEVER_ZERO = {"grid_frequency_hz", "battery_capacity_kwh", *SUNGROW.counters}

IDLE_A = 1.0  # what a battery at rest may show

# Where the fields come from, but for alarms; the battery's and the export's have substitutes.
SOURCES = {
    "pv_power_w": "total_dc_power",
    "pv_daily_kwh": "daily_pv_generation",
    "battery_power_w": "battery_power",
    "battery_soc_pct": "battery_soc",
    "battery_temp_c": "battery_temperature",
    "load_power_w": "load_power",
    "export_power_w": "export_power",
    "pv_total_kwh": "total_pv_generation",
    "import_total_kwh": "total_import_energy",
    "export_total_kwh": "total_export_energy",
    "charge_total_kwh": "total_battery_charge",
    "discharge_total_kwh": "total_battery_discharge",
    "mppt1_voltage_v": "mppt1_voltage",
    "mppt1_current_a": "mppt1_current",
    "mppt2_voltage_v": "mppt2_voltage",
    "mppt2_current_a": "mppt2_current",
    "battery_soh_pct": "battery_soh",
    "inverter_temp_c": "inverter_temperature",
    "grid_frequency_hz": "grid_frequency",
    "running_state": "running_state",
    "battery_capacity_kwh": "battery_capacity",
}


class NoPower(ValueError):
    """The PV power cannot be used: no sample; the text names register and words."""


@dataclass(frozen=True, slots=True)
class Normalized:
    """A sample, and what was served but could not be used for it: the words of each register."""

    sample: dict[str, Any]
    unusable: dict[str, list[int]]


def normalize(blocks: Blocks, device_id: str, ts: datetime) -> Normalized:
    """Make a sample of what was read at ts; raises NoPower without PV power."""
    values = _Values(believed(blocks))
    dropped = blocks.keys() - values.reading.blocks.keys()
    for start in dropped:
        values.unusable[f"all of {start} to {start + len(blocks[start]) - 1}"] = [0]
    sample: dict[str, Any] = {"device_id": device_id, "ts": format_time(ts), "sample_count": 1}
    for field, register in SOURCES.items():
        sample[field] = values.value(register, field)
    sample["battery_power_w"] = _battery_power(values)
    sample["export_power_w"] = _export(values)
    if sample["battery_capacity_kwh"] is None:
        coarse = values.value("battery_capacity_coarse", "battery_capacity_kwh")
        sample["battery_capacity_kwh"] = coarse
    sample["alarms"] = format_alarms(values.reading.alarms)
    if sample["alarms"] == "" and dropped:
        sample["alarms"] = None  # zeros again, in a poll of zeros that are no readings
    if sample["pv_power_w"] is None:
        words = values.reading.words("total_dc_power")
        said = f"words {words}" if words else "not served, or nothing but zeros around it"
        raise NoPower(f"pv_power_w is unusable: total_dc_power at 5016: {said}")
    return Normalized(sample, values.unusable)


class _Values:
    """What the registers say for the fields of a sample, and which of them were of no use."""

    def __init__(self, reading: Reading):
        self.reading = reading
        self.unusable: dict[str, list[int]] = {}

    def value(self, register: str, field: str) -> float | None:
        """A register in the field's range; noted if it was served and cannot be used."""
        value, contract = self.reading.numbers[register], _FIELDS[field]
        if (
            value is None
            or register in self.reading.contradicted
            or not contract.low <= value <= contract.high
            or (value == 0 and field in _NEVER_ZERO)
        ):
            if words := self.reading.words(register):
                self.unusable[register] = words
            return None
        return value


def _battery_power(values: _Values) -> float | None:
    """The battery's power, + charging: the documented figure, else the older one.

    The older one is a magnitude on most firmware, so its direction comes from the current, else
    from what the inverter says of the flow. A 0 beside another figure may be a dead register.
    """
    discharging = values.value("battery_power", "battery_power_w")
    if discharging:
        return -discharging
    older = values.value("battery_power_legacy", "battery_power_w")
    current = values.reading.numbers["battery_current_legacy"]
    if older:
        direction = -(current or 0) or _charging(values.reading.numbers["power_flow_status"])
        return math.copysign(older, direction) if direction else None
    if abs(current or 0) > IDLE_A:
        return None  # one of them is dead, and nothing says which
    return 0 if 0 in (discharging, older) else None


def _charging(flow: float | None) -> int:
    """The direction of the battery's flow: 1 charging, -1 discharging, 0 not known."""
    bits = int(flow or 0)
    return bool(bits & CHARGING) - bool(bits & DISCHARGING)


def _export(values: _Values) -> float | None:
    """The export: the inverter's own figure, else its meter's, else what the house leaves."""
    export = values.value("export_power", "export_power_w")
    if export is not None:
        return export
    bought = values.value("meter_active_power", "export_power_w")
    if bought:  # a WiNet-S without a meter says 0
        return -bought
    if not values.reading.of_one_moment:
        return None
    active = values.value("total_active_power", "export_power_w")
    load = values.value("load_power", "load_power_w")
    if active is None or load is None:
        return None
    left = active - load
    # Loads on the backup port are in the load, not in the active power: that is no import.
    if left < 0 and "export_power" in values.reading.contradicted:
        return None
    return left if _FIELDS["export_power_w"].low <= left <= _FIELDS["export_power_w"].high else None
