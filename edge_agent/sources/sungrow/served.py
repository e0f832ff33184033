"""Which blocks of registers the inverter serves, as far as it has shown.

A block may be refused with an exception: that holds for the connection. Or the dongle hangs up or
goes silent when it is asked for: then nobody says whether the block or the dongle is to blame. So
a suspect block is asked last, after all others have answered; one that broke the connection three
times is left out, and tried again every hour. A break that comes before anything was answered
says nothing of the block, unless it comes again and again: then others are asked first.
"""

from collections import Counter
from collections.abc import Callable
from time import monotonic

from edge_agent.sources.sungrow.registers import FALLBACKS, Block

TOO_OFTEN = 3


class ServedBlocks:
    """What the breaks and refusals so far mean for the next poll; `now` in seconds."""

    def __init__(self, retry_s: float, now: Callable[[], float] = monotonic):
        self._retry_s = retry_s
        self._now = now
        self._refused: set[Block] = set()
        self._breaks: Counter[Block] = Counter()  # in a row, while others answered
        self._first_breaks: Counter[Block] = Counter()  # in a row, before anything answered
        self._suspect: set[Block] = set()
        self._left_out: dict[Block, float] = {}  # until when

    @property
    def refused(self) -> list[int]:
        """First addresses of the blocks that are refused on this connection."""
        return sorted(start for start, _ in self._refused)

    def new_connection(self) -> None:
        """Ask again for what was refused."""
        self._refused.clear()

    def usable(self, block: Block) -> bool:
        """Whether the block is read, and not what is read instead of it."""
        return block not in self._refused and block not in self._left_out

    def doubtful(self, block: Block) -> bool:
        """Whether the block is to be asked after all others in this poll."""
        if block in self._refused:
            return False
        if block in self._left_out:
            return self._now() >= self._left_out[block]
        return block in self._suspect

    def answered(self, block: Block, refused: bool = False) -> None:
        """Note an answer, with words or with a refusal for good."""
        if refused:
            self._refused.add(block)
        if self._breaks or self._first_breaks:
            del self._breaks[block], self._first_breaks[block]
        self._suspect.discard(block)
        self._left_out.pop(block, None)

    def broke(self, block: Block, others_answered: bool) -> bool:
        """Note that the connection broke here; whether the block is left out for the first time."""
        breaks = self._breaks if others_answered else self._first_breaks
        breaks[block] += 1
        if others_answered or breaks[block] >= TOO_OFTEN:
            self._suspect.add(block)
        if self._breaks[block] < TOO_OFTEN or not others_answered:
            return False
        self._left_out[block] = self._now() + self._retry_s
        self._suspect.update(FALLBACKS.get(block, ()))  # what breaks it may be in its parts
        return self._breaks[block] == TOO_OFTEN
