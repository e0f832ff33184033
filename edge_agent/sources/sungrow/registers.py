"""The input registers of an SH*RS behind a WiNet-S, and how they are read: data only.

Addresses are wire addresses (0-based). In 32-bit values the low word comes first. A value that
equals its type's sentinel as a whole is not available; a WiNet-S often says 0 instead.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Type:
    """How a value lies in its words."""

    name: str
    words: int
    signed: bool
    sentinel: int  # of the whole value, before its sign is looked at


U16 = Type("U16", 1, False, 0xFFFF)
S16 = Type("S16", 1, True, 0x7FFF)
U32 = Type("U32", 2, False, 0xFFFF_FFFF)
S32 = Type("S32", 2, True, 0x7FFF_FFFF)


@dataclass(frozen=True, slots=True)
class Register:
    """One value of the inverter: `divisor` counts a unit; low and high bound what is plausible."""

    name: str
    address: int
    type: Type
    unit: str
    divisor: int
    low: float
    high: float
    sign: str = ""  # what + and - mean; empty: never negative


R = Register

REGISTERS = (
    R("inverter_temperature", 5007, S16, "degC", 10, -40, 150, "signed"),
    R("mppt1_voltage", 5010, U16, "V", 10, 0, 1_500),
    R("mppt1_current", 5011, U16, "A", 10, 0, 100),
    R("mppt2_voltage", 5012, U16, "V", 10, 0, 1_500),
    R("mppt2_current", 5013, U16, "A", 10, 0, 100),
    R("total_dc_power", 5016, U32, "W", 1, 0, 50_000),
    R("phase_a_voltage", 5018, U16, "V", 10, 0, 500),
    R("battery_power", 5213, S32, "W", 1, -50_000, 50_000, "+ discharging, - charging"),
    R("grid_frequency", 5241, U16, "Hz", 100, 0, 70),
    R("meter_active_power", 5600, S32, "W", 1, -50_000, 50_000, "+ import, - export"),
    R("battery_capacity", 5638, U16, "kWh", 100, 0, 655.35),
    R("running_state", 12999, U16, "", 1, 0, 65_535, "0 and 64 running"),
    R("power_flow_status", 13000, U16, "bits", 1, 0, 255, "bits; 0 says nothing"),
    R("daily_pv_generation", 13001, U16, "kWh", 10, 0, 1_000),
    R("total_pv_generation", 13002, U32, "kWh", 10, 0, 10_000_000),
    R("load_power", 13007, S32, "W", 1, -50_000, 50_000, "+ consuming, - generator"),
    R("export_power", 13009, S32, "W", 1, -50_000, 50_000, "+ export, - import"),
    R("battery_voltage", 13019, U16, "V", 10, 0, 1_000),
    R("battery_current_legacy", 13020, S16, "A", 10, -200, 200, "+ discharging, - charging"),
    R("battery_power_legacy", 13021, S16, "W", 1, -32_768, 32_767, "by firmware: none"),
    R("battery_soc", 13022, U16, "%", 10, 0, 100),
    R("battery_soh", 13023, U16, "%", 10, 0, 110),
    R("battery_temperature", 13024, S16, "degC", 10, -40, 100, "signed"),
    R("total_battery_discharge", 13026, U32, "kWh", 10, 0, 10_000_000),
    R("total_active_power", 13033, S32, "W", 1, -50_000, 50_000, "+ feeding AC, - drawing"),
    R("total_import_energy", 13036, U32, "kWh", 10, 0, 10_000_000),
    R("battery_capacity_coarse", 13038, U16, "kWh", 10, 0, 6553.5),
    R("total_battery_charge", 13040, U32, "kWh", 10, 0, 10_000_000),
    R("total_export_energy", 13045, U32, "kWh", 10, 0, 10_000_000),
)

Block = tuple[int, int]  # first address, number of words

# Live values first.
LIVE_DC: Block = (5007, 14)
BATTERY: Block = (5213, 29)  # up to grid_frequency
LIVE_AC: Block = (12999, 80)  # with the alarm words
ALARM_BLOCK: Block = (13049, 30)
METER: Block = (5600, 39)  # up to battery_capacity
IDENTITY: Block = (4989, 13)

LIVE = (LIVE_DC, BATTERY, LIVE_AC)
OPTIONAL = (METER,)

# What is read instead of a block that the inverter refuses; nothing: it is left out. Every block
# starts on a documented register, because a read that starts on a reserved one is refused.
FALLBACKS: dict[Block, tuple[Block, ...]] = {
    LIVE_DC: ((5007, 11),),
    (5007, 11): ((5007, 1), (5010, 4), (5016, 2)),
    BATTERY: ((5213, 2), (5241, 1)),
    LIVE_AC: ((12999, 48), ALARM_BLOCK),
    (12999, 48): ((13001, 46),),
    (13001, 46): ((13001, 6), (13007, 22), (13030, 17)),
    (13007, 22): ((13007, 4), (13020, 8)),  # load and export from one reply
    (13030, 17): ((13036, 2), (13040, 2), (13045, 2)),
    METER: ((5600, 2),),
    IDENTITY: ((4989, 10), (4999, 1)),
}

SERIAL_NUMBER = range(4989, 4999)  # two bytes a word, the high one first, padded with NUL
DEVICE_TYPE = 4999

# Lifetime counters that are never 0 in a house that uses power.
NEVER_ZERO = frozenset({13002, 13005, 13012, 13017, 13026, 13036, 13040, 13045})
LOAD_POWER, ACTIVE_POWER = 13007, 13033
PHASE_VOLTAGE = 5018  # 0 in an outage only
RUNNING = frozenset({0x0000, 0x0040})
OFF_GRID_STATES = frozenset({0x0014, 0x0041, 0x1000})
CHARGING, DISCHARGING = 1 << 1, 1 << 2  # of power_flow_status
METER_SILENT = (13049, 30)  # the alarm bit "meter does not answer"

MODELS = {
    0x0D17: "SH3.0RS",
    0x0D0D: "SH3.6RS",
    0x0D18: "SH4.0RS",
    0x0D0E: "SH4.6RS",
    0x0D0F: "SH5.0RS",
    0x0D10: "SH6.0RS",
    0x0D1A: "SH8.0RS",
    0x0D1B: "SH10RS",
}
