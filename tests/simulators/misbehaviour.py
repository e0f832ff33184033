"""All that real dongles were seen to do wrong, at random; the same for the same seed.

Faults begin and end by themselves: some last a poll, some hours. Each change of words is one kind
of zeros that are no readings, as dumps of real inverters show them.
"""

from collections.abc import Callable
from random import Random
from typing import Any

Words = dict[int, int]

COUNTERS = frozenset(
    word
    for first in (13002, 13005, 13012, 13017, 13026, 13036, 13040, 13045)
    for word in (first, first + 1)
)
DC, AC = range(5007, 5021), range(12999, 13047)
PASSING = (4, 5, 6, 8, 10, 11)
REFUSED = (
    range(5213, 5215),
    range(5241, 5242),
    range(5600, 5639),
    range(12999, 13000),
    range(13049, 13079),
)
BROKEN = (range(5241, 5242), range(5213, 5242), range(5600, 5639), range(12999, 13000))
BEGINS, ENDS = 0.004, 0.04  # of each lasting fault, in each poll
ONCE = 0.02  # of what lasts for a poll
BLOCKS = (5007, 5213, 12999, 5600)


def _zeros(*places: int | range) -> Callable[[Words, Random], None]:
    def change(words: Words, _random: Random) -> None:
        for place in places:
            words.update(dict.fromkeys([place] if isinstance(place, int) else place, 0))

    return change


def _stutter(block: range, living: frozenset[int]) -> Callable[[Words, Random], None]:
    """Zeros but for two words; what is never 0 is dead too."""

    def change(words: Words, random: Random) -> None:
        survivors = random.sample(sorted(set(block) - living), 2)
        words.update({place: 0 for place in block if place not in survivors})

    return change


def _mirrored(words: Words, _random: Random) -> None:
    """The meter does not answer: the load is the active power, and the alarm says so."""
    words.update({13007: words.get(13033, 0), 13008: words.get(13034, 0)})
    words.update(dict.fromkeys([13009, 13010, 5600, 5601], 0))
    words[13050] = words.get(13050, 0) | 1 << 14


LASTING = {
    "no battery": _zeros(5213, 5214, 5630, 5638, range(13019, 13028), range(13038, 13042)),
    "no word from the BMS": _zeros(13022, 13023, 13024),
    "no meter": _zeros(5600, 5601, range(13007, 13011)),
    "load mirrors": _mirrored,
    "export dead": _zeros(13009, 13010),
    "load dead": _zeros(13007, 13008),
    "battery power dead": _zeros(5213, 5214),
    "strings dead": _zeros(range(5010, 5014)),
    "counters dead": _zeros(*COUNTERS),
    "meter block dead": _zeros(range(5600, 5639)),
}
PASSING_ZEROS = {
    "AC stutters": _stutter(AC, COUNTERS),
    "DC stutters": _stutter(DC, frozenset({5018, 5019, 5020})),
    "all of AC": _zeros(range(12999, 13079)),
    "all of DC": _zeros(DC),
}


class Misbehaviour:
    """The words of an inverter as a bad dongle tells them."""

    def __init__(self, words: Callable[[], Words], seed: int):
        self.active: set[str] = set()
        self.seen: set[str] = set()
        self._true = words
        self._told: Words = {}
        self._random = Random(seed)
        self._refused: range | None = None
        self._broken: range | None = None
        self._silent = False  # it does not answer, instead of hanging up
        self._cut_at = 0
        self._simulator: Any = None
        self._by_itself = False

    def __call__(self) -> Words:
        """The words as the dongle has them."""
        return self._told

    def with_true_alarms(self) -> Words:
        """The true words, with the alarm that the meter does not answer where it is true."""
        words = dict(self._true())
        if "load mirrors" in self.active:
            words[13050] = words.get(13050, 0) | 1 << 14
        return words

    def take(self, simulator: Any, by_itself: bool = True) -> None:
        """Let this simulator misbehave, by itself anew with each poll that it sees."""
        self._simulator, self._by_itself = simulator, by_itself
        simulator.garble = shorten_exceptions
        simulator.hang, simulator.cut = self._hangs, self._cuts
        self.turn()

    def turn(self) -> None:
        """Begin and end faults: a poll comes."""
        random, simulator = self._random, self._simulator
        for name in LASTING:
            if random.random() < (ENDS if name in self.active else BEGINS):
                self.active ^= {name}
        self.active -= PASSING_ZEROS.keys()
        self.active |= {name for name in PASSING_ZEROS if random.random() < ONCE / 2}
        self._refused = self._next(self._refused, REFUSED)
        self._broken = self._next(self._broken, BROKEN)
        self._silent = random.random() < 0.2
        self._cut_at = random.choice(BLOCKS) if random.random() < ONCE / 2 else 0
        codes = [random.choice(PASSING) if random.random() < ONCE else 0 for _ in BLOCKS]
        simulator.exceptions = codes if any(codes) else []
        simulator.refused = [self._refused] if self._refused else []
        words = dict(self._true())
        for name in (*LASTING, *PASSING_ZEROS):
            if name in self.active:
                (LASTING | PASSING_ZEROS)[name](words, random)
        self._told = words
        self._note()

    def _note(self) -> None:
        self.seen |= self.active
        for name, now in (
            ("refusals", self._refused),
            ("breaks", self._broken),
            ("cuts", self._cut_at),
            ("exceptions", self._simulator.exceptions),
        ):
            if now:
                self.seen.add(name)

    def _next(self, now: range | None, choices: tuple[range, ...]) -> range | None:
        if now:
            return None if self._random.random() < ENDS / 4 else now
        return self._random.choice(choices) if self._random.random() < BEGINS else None

    def _hangs(self, request: Any) -> bool:
        if self._by_itself and request.address == BLOCKS[0]:
            self.turn()
        return self._silent and self._breaks(request)

    def _cuts(self, request: Any) -> bool:
        return request.address == self._cut_at or self._breaks(request)

    def _breaks(self, request: Any) -> bool:
        part = self._broken
        return bool(part) and (
            request.address < part.stop and part.start < request.address + request.count
        )


def shorten_exceptions(reply: bytes) -> bytes:
    """Say length 2 instead of 3 in an exception reply, as some WiNet-S do."""
    exception = len(reply) == 9 and reply[7] & 0x80
    return reply[:4] + b"\0\2" + reply[6:] if exception else reply
