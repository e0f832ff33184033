"""The words of one poll as numbers: what was served, and what is plausible of it."""

from functools import cache

from edge_agent.shared.alarms import ALARM_WORDS
from edge_agent.sources.sungrow.registers import REGISTERS, UTF8, Register

Blocks = dict[int, list[int]]  # the words of each reply, under their first address

_REGISTERS = {register.name: register for register in REGISTERS if register.type is not UTF8}


class Reading:
    """All that a poll says; where two blocks overlap the later one counts.

    `numbers` are in the registers' units, None where a register was not served, says that it is
    not available, or is not plausible. `alarms` are the alarm words as they came, None: not served.
    """

    def __init__(self, blocks: Blocks):
        self.blocks = blocks
        self.numbers: dict[str, float | None] = dict.fromkeys(_REGISTERS)
        self.alarms: dict[int, int | None] = dict.fromkeys(ALARM_WORDS)
        for start, words in blocks.items():
            for register, place in _registers_in(start, len(words)):
                raw = words[place]
                if register.type.words == 2:
                    raw |= words[place + 1] << 16  # the low word comes first
                self.numbers[register.name] = decode(register, raw)
            for address in _alarms_in(start, len(words)):
                place = address - start
                self.alarms[address] = words[place] | words[place + 1] << 16

    def words(self, name: str) -> list[int] | None:
        """The words of a register as they came; None if they were not read."""
        register = _REGISTERS[name]
        for start, words in reversed(self.blocks.items()):
            place = register.address - start
            if 0 <= place <= len(words) - register.type.words:
                return words[place : place + register.type.words]
        return None

    def in_one_reply(self, *names: str) -> bool:
        """Whether one reply brought all these registers."""
        addresses = [_REGISTERS[name].address for name in names]
        first, last = min(addresses), max(addresses)
        return any(
            start <= first and last < start + len(words) for start, words in self.blocks.items()
        )


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
