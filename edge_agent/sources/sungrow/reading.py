"""The words of one poll as numbers: what was served, and what is plausible of it."""

from collections.abc import Mapping, Sequence

from edge_agent.sources.sungrow.registers import REGISTERS, Register

Blocks = Mapping[int, Sequence[int]]  # the words of each reply, under their first address

_REGISTERS = {register.name: register for register in REGISTERS}


class Reading:
    """The words by address; a later block wins where two overlap."""

    def __init__(self, blocks: Blocks):
        self._blocks = blocks
        self._words: dict[int, int] = {}
        self._numbers: dict[str, float | None] = {}
        for start, words in blocks.items():
            self._words.update(zip(range(start, start + len(words)), words, strict=True))

    def number(self, name: str) -> float | None:
        """A register in its unit; None if it was not served, says so, or is not plausible."""
        if name not in self._numbers:
            register = _REGISTERS[name]
            raw = self.raw(register.address, register.type.words)
            self._numbers[name] = None if raw is None else decode(register, raw)
        return self._numbers[name]

    def words(self, name: str) -> list[int] | None:
        """The words of a register as they came; None if they were not read."""
        register = _REGISTERS[name]
        raw = self.raw(register.address, register.type.words)
        return None if raw is None else [raw >> 16 * n & 0xFFFF for n in range(register.type.words)]

    def raw(self, address: int, count: int) -> int | None:
        """One or two words as one number, the low word first; None if they were not read."""
        low = self._words.get(address)
        if count == 1 or low is None:
            return low
        high = self._words.get(address + 1)
        return None if high is None else low | high << 16

    @property
    def starts(self) -> set[int]:
        """The first addresses of its blocks."""
        return set(self._blocks)

    def in_one_reply(self, *names: str) -> bool:
        """Whether one reply brought all these registers."""
        addresses = [_REGISTERS[name].address for name in names]
        return any(
            all(start <= address < start + len(words) for address in addresses)
            for start, words in self._blocks.items()
        )


def decode(register: Register, raw: int) -> float | None:
    """The value in the register's unit, or None if it is not available or not plausible."""
    sentinel = register.type.sentinel
    if raw == sentinel:
        return None
    if raw > sentinel and register.type.signed:
        raw -= (sentinel + 1) * 2
    # Divided, not multiplied: 7758 / 10 is 775.8, and 7758 * 0.1 is 775.8000000000001.
    value = raw if register.scale == 1 else raw / round(1 / register.scale)
    return value if register.low <= value <= register.high else None
