"""From the words of one poll to a sample; pure: nothing is remembered between two polls.

A value is unusable when it is its type's "not available" or out of range; the sample then says
"unknown", never 0. Only PV and load power make or break a sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge_agent.shared.samples import SUNGROW, format_time
from edge_agent.sources.sungrow.registers import NEVER_ZERO, REGISTERS, Register

Blocks = Mapping[int, Sequence[int]]  # the words of each reply, under their first address

_REGISTERS = {register.name: register for register in REGISTERS}
_FIELDS = {field.name: field for field in SUNGROW.fields}

# Where the fields come from, but for battery_power_w and export_power_w.
_SOURCES = {
    field: _REGISTERS[name]
    for field, name in {
        "pv_power_w": "total_dc_power",
        "pv_daily_kwh": "daily_pv_generation",
        "battery_soc_pct": "battery_soc",
        "battery_temp_c": "battery_temperature",
        "load_power_w": "load_power",
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
    }.items()
}
_BATTERY = _REGISTERS["battery_power"]
_EXPORT = _REGISTERS["export_power"]
_METER = _REGISTERS["meter_active_power"]
_ACTIVE = _REGISTERS["total_active_power"]
_LOAD = _REGISTERS["load_power"]


class NoPower(ValueError):
    """PV or load power can not be used: no sample; the text names register and words."""


@dataclass(frozen=True, slots=True)
class Normalized:
    """A sample, and what was served but could not be used for it: the words of each register."""

    sample: dict[str, Any]
    unusable: dict[str, list[int]]


def decode(register: Register, raw: int) -> float | None:
    """The value in the register's unit, or None if it is not available or not plausible."""
    sentinel = register.type.sentinel
    if raw == sentinel:
        return None
    if raw > sentinel and register.type.signed:
        raw -= (sentinel + 1) * 2
    # Divided, not multiplied: 7758 / 10 is 775.8, and 7758 * 0.1 is 775.8000000000001.
    value = raw * register.scale if register.scale >= 1 else raw / round(1 / register.scale)
    return value if register.low <= value <= register.high else None


def normalize(blocks: Blocks, device_id: str, ts: datetime) -> Normalized:
    """Make a sample of what was read at ts; raises NoPower without PV or load power."""
    reading = _Reading(blocks)
    sample: dict[str, Any] = {"device_id": device_id, "ts": format_time(ts), "sample_count": 1}
    for field, register in _SOURCES.items():
        sample[field] = reading.value(register, field)
    battery = reading.value(_BATTERY, "battery_power_w")
    sample["battery_power_w"] = None if battery is None else -battery  # the contract's + charges
    sample["export_power_w"] = _export(reading)
    for field in ("pv_power_w", "load_power_w"):
        if sample[field] is None:
            raise NoPower(f"{field} is unusable: {reading.told(_SOURCES[field])}")
    return Normalized(sample, reading.unusable)


def _export(reading: "_Reading") -> float | None:
    """The export: the inverter's own figure, else its meter's, else what the house leaves."""
    export = reading.value(_EXPORT, "export_power_w")
    if export is not None:
        return export
    bought = reading.value(_METER, "export_power_w")
    if bought:  # a WiNet-S without a meter says 0
        return -bought
    if not reading.in_one_reply(_ACTIVE, _LOAD):  # they would be of two moments
        return None
    active, load = (reading.value(register, "export_power_w") for register in (_ACTIVE, _LOAD))
    if active is None or load is None:
        return None
    left = active - load
    return left if _EXPORT.low <= left <= _EXPORT.high else None


class _Reading:
    """The words of one poll by address, and which of them were of no use."""

    def __init__(self, blocks: Blocks):
        self._blocks = blocks
        self._words: dict[int, int] = {}
        self.unusable: dict[str, list[int]] = {}
        for start, words in blocks.items():
            if any(words) or NEVER_ZERO.isdisjoint(range(start, start + len(words))):
                self._words.update(enumerate(words, start))
            else:
                self.unusable[f"all of {start} to {start + len(words) - 1}"] = [0]

    def value(self, register: Register, field: str) -> float | None:
        """What the register says for a field of the sample; noted if it can not be used."""
        raw = self._raw(register)
        if raw is None:
            return None
        value = decode(register, raw)
        contract = _FIELDS[field]
        if value == 0 and (contract.counter or field == "grid_frequency_hz"):
            value = None  # not served, or flickering: neither is ever 0
        if value is None or not contract.low <= value <= contract.high:
            self.unusable[register.name] = _words(register, raw)
            return None
        return value

    def told(self, register: Register) -> str:
        """What was read of the register, for the log."""
        raw = self._raw(register)
        known = raw is not None
        said = f"words {_words(register, raw)}" if known else "not served, or nothing but zeros"
        return f"{register.name} at {register.address}: {said}"

    def in_one_reply(self, *registers: Register) -> bool:
        """Whether one reply brought them all."""
        return any(
            all(start <= each.address < start + len(words) for each in registers)
            for start, words in self._blocks.items()
        )

    def _raw(self, register: Register) -> int | None:
        """Its words as one number, the low word first; None if they were not read."""
        low = self._words.get(register.address)
        if register.type.words == 1 or low is None:
            return low
        high = self._words.get(register.address + 1)
        return None if high is None else low | high << 16


def _words(register: Register, raw: int) -> list[int]:
    return [raw >> 16 * place & 0xFFFF for place in range(register.type.words)]
