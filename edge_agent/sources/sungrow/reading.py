"""The words of one poll as numbers, and which of them are to be believed.

A WiNet-S says 0 for what it does not know: an absent battery, a meter that does not answer, a
register its firmware does not serve, now and then nearly a whole block. Such a 0 looks like a
reading. What gives it away is what cannot be 0 at the same time, so each word is judged by the
rest of the poll before it is used. Figures are from real dumps.
"""

from collections.abc import Iterator, Sequence
from functools import cache

from edge_agent.shared.alarms import ALARM_WORDS, NOT_AVAILABLE
from edge_agent.sources.sungrow.registers import (
    ACTIVE_POWER,
    LOAD_POWER,
    METER_SILENT,
    NEVER_ZERO,
    OFF_GRID_STATES,
    PHASE_VOLTAGE,
    REGISTERS,
    RUNNING,
    Register,
)

Blocks = dict[int, list[int]]  # the words of each reply, under their first address

_REGISTERS = {register.name: register for register in REGISTERS}

BALANCE_TOLERANCE_W = 60.0  # active power = load + export, on every dump within about 50 W
STRING_TOLERANCE = 0.3  # voltage times current, both in coarse steps, against the PV power

BATTERY = (
    "battery_power",
    "battery_power_legacy",
    "battery_soc",
    "battery_soh",
    "battery_temperature",
)
STRINGS = ("mppt1_voltage", "mppt1_current", "mppt2_voltage", "mppt2_current")


class Reading:
    """All that a poll says; where two blocks overlap the later one counts.

    `numbers` are in the registers' units, None where a register was not served, says that it is
    not available, or is not plausible; those in `contradicted` the rest of the poll contradicts.
    `alarms` are the alarm words as they came, None: not served.
    """

    def __init__(self, blocks: Blocks):
        self.blocks = blocks
        self.numbers: dict[str, float | None] = dict.fromkeys(_REGISTERS)
        self.alarms: dict[int, int | None] = dict.fromkeys(ALARM_WORDS)
        self.contradicted: set[str] = set()
        self.of_one_moment = False  # load and active power, as they are from one reply
        for start, words in blocks.items():
            for register, place in _registers_in(start, len(words)):
                raw = words[place]
                if register.type.words == 2:
                    raw |= words[place + 1] << 16  # the low word comes first
                self.numbers[register.name] = decode(register, raw)
            for address in _alarms_in(start, len(words)):
                place = address - start
                self.alarms[address] = words[place] | words[place + 1] << 16
            end = start + len(words)
            self.of_one_moment |= start <= LOAD_POWER < end and start <= ACTIVE_POWER < end - 1

    def words(self, name: str) -> list[int] | None:
        """The words of a register as they came; None if they were not read."""
        register = _REGISTERS[name]
        for start, words in reversed(self.blocks.items()):
            place = register.address - start
            if 0 <= place <= len(words) - register.type.words:
                return words[place : place + register.type.words]
        return None


def believed(blocks: Blocks) -> Reading:
    """What was read, without the blocks that are nothing but zeros around a few words."""
    reading = Reading(blocks)
    lost = _grid_lost(reading)
    kept = {
        start: words
        for start, words in blocks.items()
        if not _stutters(start, words) and not (lost and _holds(PHASE_VOLTAGE, start, words))
    }
    if len(kept) < len(blocks):
        reading = Reading(kept)
    reading.contradicted.update(_grid_side(reading), _battery(reading), _solar(reading))
    return reading


def _stutters(start: int, words: Sequence[int]) -> bool:
    """Whether all lifetime counters of a block are 0, or all of a block that never is."""
    counters = _counters(start, len(words))
    if len(counters) >= 3:  # fewer may be those of a battery that is not there
        return not any(words[place] or words[place + 1] for place in counters)
    never_zero = counters or _holds(PHASE_VOLTAGE, start, words)
    return bool(never_zero) and not any(words)


@cache
def _counters(start: int, count: int) -> tuple[int, ...]:
    """Where in a block the lifetime counters lie."""
    return tuple(place - start for place in NEVER_ZERO if 0 <= place - start < count - 1)


def _holds(address: int, start: int, words: Sequence[int]) -> bool:
    return start <= address < start + len(words)


def _grid_lost(whole: Reading) -> bool:
    """Whether the grid has no voltage although the inverter works with it."""
    if whole.numbers["phase_a_voltage"] != 0:
        return False
    state = whole.numbers["running_state"]
    if state in OFF_GRID_STATES or (whole.numbers["grid_frequency"] == 0 and state not in RUNNING):
        return False
    return not whole.numbers["total_dc_power"] or not _strings_agree(whole)


def _strings_agree(reading: Reading) -> bool:
    first_v, first_a, second_v, second_a = (reading.numbers[name] or 0 for name in STRINGS)
    pv = reading.numbers["total_dc_power"] or 0
    return abs(first_v * first_a + second_v * second_a - pv) <= STRING_TOLERANCE * pv


def _grid_side(reading: Reading) -> Iterator[str]:
    """Judge load and export, which die with the meter, by the active power and the meter."""
    load, export = reading.numbers["load_power"], reading.numbers["export_power"]
    active, bought = reading.numbers["total_active_power"], reading.numbers["meter_active_power"]
    mirrored = _meter_silent(reading, unread=load == active)
    if not reading.of_one_moment:
        active = None
    sold = export or (-bought if bought else export)
    if load == 0 and not (sold and active is not None and _close(active, sold)):
        yield "load_power"  # no house takes nothing; a second source behind the meter may feed it
    if export != 0:
        return
    if not bought and mirrored:
        yield from ("load_power", "export_power")
    elif bought or not load or (active is not None and not _close(active, load)):
        yield "export_power"


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= BALANCE_TOLERANCE_W


def _meter_silent(reading: Reading, unread: bool) -> bool:
    """Whether an alarm says that the meter does not answer; `unread` where no alarms were read.

    Without its meter an inverter may tell its active power as the load.
    """
    address, bit = METER_SILENT
    word = reading.alarms[address]
    if word in (None, NOT_AVAILABLE):
        return unread
    return bool(word >> bit & 1)


def _battery(reading: Reading) -> Iterator[str]:
    """Judge what is said of the battery by whether there is one.

    A flat pack has a state of charge of 0, but never a voltage or a state of health of 0.
    """
    voltage, soc, soh = (
        reading.numbers[name] for name in ("battery_voltage", "battery_soc", "battery_soh")
    )
    if not soc and (voltage == 0 or not (voltage or soh)):
        # Unknown is not absent, but then a power of 0 is no proof of a battery at rest either.
        yield from (name for name in BATTERY if voltage == 0 or not reading.numbers[name])
    elif soh == 0:
        yield from (name for name in BATTERY[2:] if not reading.numbers[name])


def _solar(reading: Reading) -> Iterator[str]:
    """Judge the strings by the power they give, and the yield of the day by that of all days."""
    if reading.numbers["total_dc_power"] and not any(reading.numbers[name] for name in STRINGS):
        yield from STRINGS
        if reading.numbers["inverter_temperature"] == 0:
            yield "inverter_temperature"
    if not reading.numbers["total_pv_generation"] and reading.numbers["daily_pv_generation"] == 0:
        yield "daily_pv_generation"


@cache
def _registers_in(start: int, count: int) -> tuple[tuple[Register, int], ...]:
    """The registers that lie in a block, and where in it."""
    return tuple(
        (register, register.address - start)
        for register in _REGISTERS.values()
        if start <= register.address <= start + count - register.type.words
    )


@cache
def _alarms_in(start: int, count: int) -> tuple[int, ...]:
    return tuple(address for address in ALARM_WORDS if start <= address <= start + count - 2)


def decode(register: Register, raw: int) -> float | None:
    """The value in the register's unit, or None if it is not available or not plausible."""
    sentinel = register.type.sentinel
    if raw == sentinel:
        return None
    if raw > sentinel and register.type.signed:
        raw -= (sentinel + 1) * 2
    # Divided, not multiplied: 7758 / 10 is 775.8, and 7758 * 0.1 is 775.8000000000001.
    value = raw if register.divisor == 1 else raw / register.divisor
    return value if register.low <= value <= register.high else None
