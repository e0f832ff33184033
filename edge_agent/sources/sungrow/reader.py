"""The Sungrow hybrid inverter as a source: a few paced reads over one kept connection a poll.

A block of registers may be refused with an exception: that holds for the connection. Or the dongle
hangs up or goes silent when it is asked for: then nobody says whether the block or the dongle is
to blame. So a suspect block is asked last, after all others have answered; one that broke the
connection three times is left out, and tried again every hour. A break that comes before anything
was answered says nothing of the block, unless it comes again and again: then others are asked
first.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Event
from time import monotonic
from typing import Any

from edge_agent.clock import ReadingTime
from edge_agent.shared import logs
from edge_agent.sources import Sample, SourceError, retry_wait_s
from edge_agent.sources.sungrow.link import NORMAL, ConnectionLost, Link, Pace, Refused
from edge_agent.sources.sungrow.normalize import NoPower, normalize
from edge_agent.sources.sungrow.reading import Blocks
from edge_agent.sources.sungrow.registers import (
    DEVICE_TYPE,
    FALLBACKS,
    IDENTITY,
    LIVE,
    MODELS,
    OPTIONAL,
    SERIAL_NUMBER,
    Block,
)

TOO_OFTEN = 3

_log = logging.getLogger(__name__)


class ServedBlocks:
    """What the breaks and refusals so far mean for the next poll; `now` in seconds."""

    def __init__(self, retry_s: float, now: Callable[[], float] = monotonic):
        self.refused: set[Block] = set()  # on this connection
        self._retry_s = retry_s
        self._now = now
        self._breaks: Counter[Block] = Counter()  # in a row, while others answered
        self._first_breaks: Counter[Block] = Counter()  # in a row, before anything answered
        self._suspect: set[Block] = set()
        self._left_out: dict[Block, float] = {}  # until when

    def usable(self, block: Block) -> bool:
        """Whether the block is read, and not what is read instead of it."""
        return block not in self.refused and block not in self._left_out

    def doubtful(self, block: Block) -> bool:
        """Whether the block is to be asked after all others in this poll."""
        if block in self.refused:
            return False
        if block in self._left_out:
            return self._now() >= self._left_out[block]
        return block in self._suspect

    def answered(self, block: Block, refused: bool = False) -> None:
        """Note an answer, with words or with a refusal for good."""
        if refused:
            self.refused.add(block)
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


class SungrowSource:
    """Reads the inverter; connects on the first read and keeps the connection."""

    month_peaks = None

    def __init__(
        self,
        settings: Any,
        now: Callable[[], ReadingTime],
        stop: Event,
        pace: Pace = NORMAL,
    ):
        self._device_id = settings.device_id
        self._now = now
        self._link = Link(settings, stop, pace)
        self._served = ServedBlocks(pace.retry_block_s)
        self._identified = False  # on this connection
        self._refusals: list[str] = []  # of the running poll
        self._lost: ConnectionLost | None = None  # how the running poll broke off
        self._failures = 0  # in a row
        self._without_power = 0  # polls in a row, though the inverter answered
        self._unusable: Counter[str] = Counter()

    def read(self) -> tuple[Sample, ReadingTime]:
        """Poll once, at least 5 s after the last time; raises SourceError."""
        self._refusals.clear()
        self._lost = None
        try:
            if self._link.begin_poll():
                self._served.refused.clear()
                self._identified = False
            blocks, taken = self._read_all()
            normalized = normalize(blocks, self._device_id, taken.ts)
        except (ConnectionLost, NoPower) as error:
            raise self._failure(error) from error
        self._failures = self._without_power = 0
        self._identify(blocks)
        self._count(normalized.unusable)
        return normalized.sample, taken

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _failure(self, error: ConnectionLost | NoPower) -> SourceError:
        """What to say of a poll without a sample; a connection that is of no use is closed."""
        cause = str(self._lost or error)
        if isinstance(error, NoPower) and not self._lost:
            cause = "; ".join([cause, *self._refusals])
            self._without_power += 1
            if self._without_power < TOO_OFTEN:
                return SourceError(cause)
            # Dongles that wedge or start answer nonsense: a new connection asks for all again.
            self._link.close()
        self._failures += 1
        return SourceError(cause, retry_wait_s(self._failures))

    def _read_all(self) -> tuple[Blocks, ReadingTime]:
        """Read all blocks, the doubtful ones last."""
        blocks: Blocks = {}
        doubtful: list[Block] = []
        self._read(LIVE, blocks, doubtful)
        taken = self._now()
        self._read(OPTIONAL if self._identified else (*OPTIONAL, IDENTITY), blocks, doubtful)
        for block in doubtful:
            if not (self._lost or self._ask(block, blocks)):
                self._read(FALLBACKS.get(block, ()), blocks, [])
        if doubtful:
            self._link.rest()  # the first block of a poll may have come last
        return blocks, taken

    def _read(self, plan: Iterable[Block], blocks: Blocks, doubtful: list[Block]) -> None:
        """Read these blocks, or what is served of them; doubtful ones are only listed."""
        for block in plan:
            if self._lost:
                return
            usable = self._served.usable(block)
            if self._served.doubtful(block):
                doubtful.append(block)
            elif usable:
                usable = self._ask(block, blocks)
            if not usable:
                self._read(FALLBACKS.get(block, ()), blocks, doubtful)

    def _ask(self, block: Block, blocks: Blocks) -> bool:
        """Read one block, if it is served now; whether nothing else is to be read instead."""
        start, count = block
        try:
            blocks[start] = self._link.read(start, count)
        except Refused as error:
            refusal = f"the inverter refuses {count} words at {start}: {error}"
            self._refusals.append(refusal)
            self._served.answered(block, error.for_good)
            if error.for_good:
                fields = {"start": start, "count": count}
                logs.event(_log, logging.INFO, "read_refused", refusal, **fields)
            return not error.for_good
        except ConnectionLost as error:
            self._note_loss(block, error)
        else:
            self._served.answered(block)
        return True

    def _note_loss(self, block: Block, error: ConnectionLost) -> None:
        """Remember where the connection broke; a sample may still come of what was read before."""
        start, count = block
        self._lost = error
        fields = {"start": start, "count": count}
        if self._link.answered:
            logs.event(_log, logging.WARNING, "connection_lost", str(error), **fields)
        if not error.hurried and self._served.broke(block, self._link.answered):
            msg = (
                f"the connection broke {TOO_OFTEN} times at {count} words from {start} while "
                "others were answered: they are left out and tried again in an hour"
            )
            logs.event(_log, logging.WARNING, "block_left_out", msg, **fields)

    def _identify(self, blocks: Blocks) -> None:
        """Log once per connection whom we read."""
        if self._identified or (self._lost and IDENTITY[0] not in blocks):
            return
        self._identified = True
        words = {start + n: word for start, block in blocks.items() for n, word in enumerate(block)}
        name = b"".join(words.get(address, 0).to_bytes(2, "big") for address in SERIAL_NUMBER)
        text = name.split(b"\0")[0].decode("ascii", "replace")
        serial = "".join(sign for sign in text if sign.isprintable()) or None
        code = words.get(DEVICE_TYPE)
        model = MODELS.get(code or 0, f"unknown type {code}")
        msg = f"connected to {model}, serial number {serial or 'unknown'}, at {self._link.where}"
        fields = {"serial": serial, "model": model, "type_code": code}
        fields["refused"] = sorted(start for start, _ in self._served.refused)
        logs.event(_log, logging.INFO, "device", msg, **fields)

    def _count(self, unusable: dict[str, list[int]]) -> None:
        """Count what could not be used; of each register the 1st, 10th, 100th... time is logged."""
        for name, words in unusable.items():
            self._unusable[name] += 1
            count = self._unusable[name]
            if count == 10 ** (len(str(count)) - 1):
                msg = f"{name} is unusable, for the {count}. time: words {words}"
                fields = {"register": name, "words": words, "count": count}
                logs.event(_log, logging.INFO, "value_unusable", msg, **fields)
