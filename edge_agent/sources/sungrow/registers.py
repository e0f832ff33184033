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
UTF8 = Type("UTF8", 10, False, 0)  # two bytes a word, the high one first, padded with NUL


@dataclass(frozen=True, slots=True)
class Register:
    """One value of the inverter: counts of `scale` units; low and high bound what is plausible."""

    name: str
    address: int
    type: Type
    unit: str
    scale: float
    low: float
    high: float
    sign: str = ""  # what + and - mean; empty: never negative


R = Register

REGISTERS = (
    R("serial_number", 4989, UTF8, "", 1, 0, 0),
    R("device_type_code", 4999, U16, "", 1, 0, 65_535),
    R("rated_output_power", 5000, U16, "W", 100, 0, 30_000),
    R("output_type", 5001, U16, "", 1, 0, 2, "0 single phase, 1 3P4L, 2 3P3L"),
    R("daily_output_energy", 5002, U16, "kWh", 0.1, 0, 300),
    R("total_output_energy", 5003, U32, "kWh", 0.1, 0, 1_000_000),
    R("inverter_temperature", 5007, S16, "degC", 0.1, -40, 120, "signed"),
    R("mppt1_voltage", 5010, U16, "V", 0.1, 0, 1_000),
    R("mppt1_current", 5011, U16, "A", 0.1, 0, 100),
    R("mppt2_voltage", 5012, U16, "V", 0.1, 0, 1_000),
    R("mppt2_current", 5013, U16, "A", 0.1, 0, 100),
    R("total_dc_power", 5016, U32, "W", 1, 0, 20_000),
    R("phase_a_voltage", 5018, U16, "V", 0.1, 0, 500),
    R("reactive_power", 5032, S32, "var", 1, -20_000, 20_000, "direction unknown"),
    R("power_factor", 5034, S16, "", 0.001, -1.1, 1.1, "+ leading, - lagging"),
    R("undocumented_active_power_mirror", 5086, U16, "W", 1, 0, 65_535, "unknown"),
    R("battery_power", 5213, S32, "W", 1, -15_000, 15_000, "+ discharging, - charging"),
    R("grid_frequency", 5241, U16, "Hz", 0.01, 0, 70),
    R("meter_active_power", 5600, S32, "W", 1, -50_000, 50_000, "+ import, - export"),
    R("export_limit_min", 5621, U16, "W", 10, 0, 50_000),
    R("export_limit_max", 5622, U16, "W", 10, 0, 50_000),
    R("bdc_rated_power", 5627, U16, "W", 100, 0, 100_000),
    R("battery_current", 5630, S16, "A", 0.1, -200, 200, "+ discharging, - charging"),
    R("bms_max_charge_current", 5634, U16, "A", 1, 0, 500),
    R("bms_max_discharge_current", 5635, U16, "A", 1, 0, 500),
    R("battery_capacity", 5638, U16, "kWh", 0.01, 0, 655.35),
    R("backup_phase_a_current", 5719, S16, "A", 0.1, -100, 100, "signed"),
    R("backup_phase_a_power", 5722, S16, "W", 1, -20_000, 20_000, "+ supplying"),
    R("total_backup_power", 5725, S32, "W", 1, -20_000, 20_000, "+ supplying"),
    R("backup_phase_a_voltage", 5730, U16, "V", 0.1, 0, 500),
    R("backup_frequency", 5733, U16, "Hz", 0.01, 0, 70),
    R("running_state", 12999, U16, "", 1, 0, 65_535, "0 and 64 running"),
    R("daily_pv_generation", 13001, U16, "kWh", 0.1, 0, 200),
    R("total_pv_generation", 13002, U32, "kWh", 0.1, 0, 1_000_000),
    R("total_export_from_pv", 13005, U32, "kWh", 0.1, 0, 1_000_000),
    R("load_power", 13007, S32, "W", 1, -50_000, 50_000, "+ consuming, - generator"),
    R("export_power", 13009, S32, "W", 1, -50_000, 50_000, "+ export, - import"),
    R("daily_battery_charge_from_pv", 13011, U16, "kWh", 0.1, 0, 200),
    R("total_battery_charge_from_pv", 13012, U32, "kWh", 0.1, 0, 1_000_000),
    R("daily_direct_consumption", 13016, U16, "kWh", 0.1, 0, 300),
    R("total_direct_consumption", 13017, U32, "kWh", 0.1, 0, 1_000_000),
    R("battery_voltage", 13019, U16, "V", 0.1, 0, 1_000),
    R("battery_current_legacy", 13020, S16, "A", 0.1, -200, 200, "+ discharging, - charging"),
    R("battery_power_legacy", 13021, S16, "W", 1, -15_000, 15_000, "by firmware: none"),
    R("battery_soc", 13022, U16, "%", 0.1, 0, 100),
    R("battery_soh", 13023, U16, "%", 0.1, 0, 110),
    R("battery_temperature", 13024, S16, "degC", 0.1, -40, 100, "signed"),
    R("daily_battery_discharge", 13025, U16, "kWh", 0.1, 0, 200),
    R("total_battery_discharge", 13026, U32, "kWh", 0.1, 0, 1_000_000),
    R("self_consumption_today", 13028, U16, "%", 0.1, 0, 100),
    R("phase_a_current", 13030, S16, "A", 0.1, -100, 100, "+ feeding AC"),
    R("total_active_power", 13033, S32, "W", 1, -20_000, 20_000, "+ feeding AC, - drawing"),
    R("total_import_energy", 13036, U32, "kWh", 0.1, 0, 1_000_000),
    R("battery_capacity_coarse", 13038, U16, "kWh", 0.1, 0, 6553.5),
    R("daily_battery_charge", 13039, U16, "kWh", 0.1, 0, 200),
    R("total_battery_charge", 13040, U32, "kWh", 0.1, 0, 1_000_000),
    R("total_export_energy", 13045, U32, "kWh", 0.1, 0, 1_000_000),
)

# The battery packs answer under a Modbus unit of their own (the dongle's device list tells it,
# often 2), so these are in no read group.
PACK_REGISTERS = (
    R("pack_serial_number", 10710, UTF8, "", 1, 0, 0),
    R("pack_firmware", 10720, UTF8, "", 1, 0, 0),
    R("pack_voltage", 10740, U16, "V", 0.1, 0, 1_000),
    R("pack_current", 10741, S16, "A", 0.1, -200, 200, "disputed"),
    R("pack_temperature", 10742, U16, "degC", 0.1, -40, 100, "disputed below 0"),
    R("pack_soc", 10743, U16, "%", 0.1, 0, 100),
    R("pack_soh", 10744, U16, "%", 1, 0, 110),
    R("pack_total_charge", 10745, U32, "kWh", 0.1, 0, 1_000_000),
    R("pack_total_discharge", 10747, U32, "kWh", 0.1, 0, 1_000_000),
)

Block = tuple[int, int]  # first address, number of words

# Live values first; the meter is needed only where export_power is not served.
LIVE_DC: Block = (5007, 14)
BATTERY: Block = (5213, 29)  # up to grid_frequency
LIVE_AC: Block = (12999, 48)
METER: Block = (5600, 39)
BACKUP: Block = (5719, 15)  # slow, and nothing of it is in a sample: not polled
IDENTITY: Block = (4989, 13)

LIVE = (LIVE_DC, BATTERY, LIVE_AC)
OPTIONAL = (METER,)

# What is read instead of a block that the inverter refuses; nothing: it is left out. Every block
# starts on a documented register, because a read that starts on a reserved one is refused.
FALLBACKS: dict[Block, tuple[Block, ...]] = {
    LIVE_DC: ((5007, 11),),
    (5007, 11): ((5007, 1), (5010, 4), (5016, 2)),
    BATTERY: ((5213, 2), (5241, 1)),
    LIVE_AC: ((13001, 46),),
    (13001, 46): ((13001, 6), (13007, 22), (13030, 17)),
    (13007, 22): ((13007, 4), (13020, 8)),  # load and export from one reply
    (13030, 17): ((13036, 2), (13040, 2), (13045, 2)),
    METER: ((5600, 2),),
    IDENTITY: ((4989, 10), (4999, 1)),
}

# A whole block of zeros around one of these is the dongle stuttering, not a reading.
NEVER_ZERO = frozenset({5018, 13002, 13026, 13036, 13040, 13045})

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
