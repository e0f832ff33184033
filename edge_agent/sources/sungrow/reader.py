"""The Sungrow hybrid inverter as a source: a few paced reads over one kept connection a poll."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import Event
from typing import Any

from edge_agent.clock import ReadingTime
from edge_agent.shared import logs
from edge_agent.sources import Sample, SourceError, retry_waits
from edge_agent.sources.sungrow.link import (
    NORMAL,
    ConnectionLost,
    Link,
    Pace,
    Refused,
    Stopping,
)
from edge_agent.sources.sungrow.normalize import NoPower, Normalized, normalize
from edge_agent.sources.sungrow.registers import (
    FALLBACKS,
    IDENTITY,
    LIVE,
    MODELS,
    OPTIONAL,
    REGISTERS,
    Block,
)
from edge_agent.sources.sungrow.served import TOO_OFTEN, ServedBlocks

# "Illegal data address" or "value": asking again does not help. All others are states of a dongle
# that pass: 4, 6, 10 and 11 were seen.
PERMANENT = (2, 3)

_log = logging.getLogger(__name__)


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
        self._link = Link(
            settings.sungrow_host,
            settings.sungrow_port,
            settings.sungrow_slave_id,
            settings.inter_register_delay_ms / 1000,
            stop,
            pace,
        )
        self._waits = retry_waits()
        self._useless = 0  # polls in a row that made no sample
        self._served = ServedBlocks(pace.retry_block_s)
        self._identified = False
        # Of the running poll: refusals in words, whether anything was answered, how it broke off.
        self._answers: list[str] = []
        self._answered = False
        self._lost: ConnectionLost | None = None
        self._unusable: Counter[str] = Counter()

    def read(self) -> tuple[Sample, ReadingTime]:
        """Poll once, at least 5 s after the last time; raises SourceError."""
        try:
            if self._link.begin_poll():
                self._served.new_connection()
                self._identified = False
            reading = self._poll()
        except Stopping as error:
            raise SourceError(str(error)) from error
        except ConnectionLost as error:
            raise SourceError(str(error), next(self._waits)) from error
        self._waits = retry_waits()
        self._useless = 0
        return reading

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _poll(self) -> tuple[Sample, ReadingTime]:
        """Read all blocks, the doubtful ones last, and make a sample of what was answered."""
        blocks: dict[int, list[int]] = {}
        doubtful: list[Block] = []
        self._answers.clear()
        self._lost = None
        self._answered = False
        self._read(LIVE, blocks, doubtful)
        taken = self._now()
        self._read(OPTIONAL if self._identified else (*OPTIONAL, IDENTITY), blocks, doubtful)
        for block in doubtful:
            if self._link.connected and not self._ask(block, blocks):
                self._read(FALLBACKS.get(block, ()), blocks, [])
        if doubtful:
            self._link.rest()  # the first block of a poll may have come last
        normalized = self._normalize(blocks, taken.ts)
        self._identify(blocks)
        self._count(normalized)
        return normalized.sample, taken

    def _normalize(self, blocks: dict[int, list[int]], ts: datetime) -> Normalized:
        try:
            return normalize(blocks, self._device_id, ts)
        except NoPower as error:
            if self._lost:
                raise self._lost from error
            cause = "; ".join([str(error), *self._answers])
            self._useless += 1
            if self._useless < TOO_OFTEN:
                raise SourceError(cause) from error
            # Dongles that wedge or start answer nonsense: a new connection asks for all again.
            self._link.close()
            raise SourceError(cause, next(self._waits)) from error

    def _read(
        self, plan: Iterable[Block], blocks: dict[int, list[int]], doubtful: list[Block]
    ) -> None:
        """Read these blocks, or what is served of them; doubtful ones are only listed."""
        for block in plan:
            if not self._link.connected:
                return
            usable = self._served.usable(block)
            if self._served.doubtful(block):
                doubtful.append(block)
            elif usable:
                usable = self._ask(block, blocks)
            if not usable:
                self._read(FALLBACKS.get(block, ()), blocks, doubtful)

    def _ask(self, block: Block, blocks: dict[int, list[int]]) -> bool:
        """Read one block, if it is served now; whether nothing else is to be read instead."""
        start, count = block
        try:
            try:
                blocks[start] = self._link.read(start, count)
            except Refused as error:
                if error.code in PERMANENT:
                    raise
                blocks[start] = self._link.read(start, count)  # it was busy
        except Refused as error:
            self._answered = True
            self._answers.append(f"the inverter refuses {count} words at {start}: {error}")
            for_good = error.code in PERMANENT
            self._served.answered(block, for_good)
            if for_good:
                fields = {"start": start, "count": count}
                logs.event(_log, logging.INFO, "read_refused", self._answers[-1], **fields)
            return not for_good
        except ConnectionLost as error:
            self._note_loss(block, error)
        else:
            self._answered = True
            self._served.answered(block)
        return True

    def _note_loss(self, block: Block, error: ConnectionLost) -> None:
        """Remember where the connection broke; a sample may still come of what was read before."""
        start, count = block
        self._lost = error
        fields = {"start": start, "count": count}
        if self._answered:
            logs.event(_log, logging.WARNING, "connection_lost", str(error), **fields)
        if not error.hurried and self._served.broke(block, self._answered):
            msg = (
                f"the connection broke {TOO_OFTEN} times at {count} words from {start} while "
                "others were answered: they are left out and tried again in an hour"
            )
            logs.event(_log, logging.WARNING, "block_left_out", msg, **fields)

    def _identify(self, blocks: dict[int, list[int]]) -> None:
        """Log once per connection whom we read."""
        if self._identified or not (self._link.connected or IDENTITY[0] in blocks):
            return
        self._identified = True
        words = {start + n: word for start, block in blocks.items() for n, word in enumerate(block)}
        serial, code = _text(words), words.get(4999)
        model = MODELS.get(code or 0, f"unknown type {code}")
        msg = f"connected to {model}, serial number {serial or 'unknown'}, at {self._link.where}"
        fields = {"serial": serial, "model": model, "type_code": code}
        fields["refused"] = self._served.refused
        logs.event(_log, logging.INFO, "device", msg, **fields)

    def _count(self, normalized: Normalized) -> None:
        """Count what could not be used; of each register the 1st, 10th, 100th... time is logged."""
        for name, words in normalized.unusable.items():
            self._unusable[name] += 1
            count = self._unusable[name]
            if count == 10 ** (len(str(count)) - 1):
                msg = f"{name} is unusable, for the {count}. time: words {words}"
                logs.event(
                    _log,
                    logging.INFO,
                    "value_unusable",
                    msg,
                    register=name,
                    words=words,
                    count=count,
                )


def _text(words: dict[int, int]) -> str | None:
    """The serial number up to its first NUL; None if there is none."""
    register = next(each for each in REGISTERS if each.name == "serial_number")
    addresses = range(register.address, register.address + register.type.words)
    raw = b"".join(words.get(address, 0).to_bytes(2, "big") for address in addresses)
    text = raw.split(b"\0")[0].decode("ascii", "replace")
    return "".join(sign for sign in text if sign.isprintable()) or None
