"""The Sungrow hybrid inverter as a source: four paced reads over one kept connection a poll."""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from threading import Event
from typing import Any

from edge_agent.shared import logs
from edge_agent.sources import RetryWaits, Sample, SourceError
from edge_agent.sources.sungrow.link import NORMAL, Link, LinkLost, Pace, Refused, Stopping
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

PERMANENT = (2, 3)  # "illegal data address" or "value": asking again does not help
PASSING = (4, 6)  # "device failure" and "device busy": the dongle is at something else
TOO_OFTEN = 3

_log = logging.getLogger(__name__)


class SungrowSource:
    """Reads the inverter; connects on the first read and keeps the connection."""

    month_peaks = None

    def __init__(
        self,
        settings: Any,
        now: Callable[[], datetime],
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
        self._waits = RetryWaits()
        self._useless = 0  # polls in a row that made no sample
        self._refused: set[Block] = set()  # on this connection
        self._identified = False
        self._answers: list[str] = []  # other than words, in this poll
        self._broke: Counter[Block] = Counter()  # losses in a row at an optional block
        self._unusable: Counter[str] = Counter()

    def read(self) -> Sample:
        """Poll once, at least 5 s after the last time; raises SourceError."""
        try:
            if self._link.begin_poll():
                self._refused.clear()
                self._identified = False
            sample = self._poll()
        except Stopping as error:
            raise SourceError(str(error)) from error
        except LinkLost as error:
            raise SourceError(str(error), self._waits.next()) from error
        self._waits.reset()
        self._useless = 0
        return sample

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _poll(self) -> Sample:
        blocks: dict[int, list[int]] = {}
        self._answers.clear()
        for block in LIVE:
            self._read(block, blocks)
        ts = self._now()
        for block in OPTIONAL:
            self._try(block, blocks)
        normalized = self._normalize(blocks, ts)
        self._identify()
        self._count(normalized)
        return normalized.sample

    def _normalize(self, blocks: dict[int, list[int]], ts: datetime) -> Normalized:
        try:
            return normalize(blocks, self._device_id, ts)
        except NoPower as error:
            cause = "; ".join([str(error), *self._answers])
            self._useless += 1
            if self._useless < TOO_OFTEN:
                raise SourceError(cause) from error
            # Dongles that wedge or start answer nonsense: a new connection asks for all again.
            self._link.close()
            raise SourceError(cause, self._waits.next()) from error

    def _read(self, block: Block, blocks: dict[int, list[int]]) -> None:
        """Read a block, or what is served of it; a refused one is not asked again."""
        if block not in self._refused:
            words = self._ask(block)
            if words:
                blocks[block[0]] = words
            if block not in self._refused:
                return
        for part in FALLBACKS.get(block, ()):
            self._read(part, blocks)

    def _ask(self, block: Block) -> list[int] | None:
        """The words of a block, None if the inverter refuses them for now or for good."""
        try:
            try:
                return self._link.read(*block)
            except Refused as error:
                if error.code not in PASSING:
                    raise
                return self._link.read(*block)
        except Refused as error:
            start, count = block
            msg = f"the inverter refuses {count} words at {start}: {error}"
            self._answers.append(msg)
            if error.code in PERMANENT:
                self._refused.add(block)
                logs.event(_log, logging.INFO, "read_refused", msg, start=start, count=count)
            return None

    def _try(self, block: Block, blocks: dict[int, list[int]]) -> None:
        """Read a block that no sample needs, unless the connection broke, or did too often here.

        Some firmware does not refuse what it does not know: it goes silent or hangs up.
        """
        if self._broke[block] >= TOO_OFTEN or not self._link.connected:
            return
        try:
            self._read(block, blocks)
        except LinkLost:
            self._broke[block] += 1
            if self._broke[block] == TOO_OFTEN:
                msg = f"the connection broke {TOO_OFTEN} times at {block[0]}: it is left out now"
                logs.event(_log, logging.WARNING, "block_left_out", msg, start=block[0])
        else:
            self._broke[block] = 0

    def _identify(self) -> None:
        """Log once per connection whom we read."""
        blocks: dict[int, list[int]] = {}
        if not self._identified:
            self._try(IDENTITY, blocks)
        if self._identified or not self._link.connected:
            return
        self._identified = True
        words = {start + n: word for start, block in blocks.items() for n, word in enumerate(block)}
        serial, code = _text(words), words.get(4999)
        model = MODELS.get(code or 0, f"unknown type {code}")
        msg = f"connected to {model}, serial number {serial or 'unknown'}, at {self._link.where}"
        refused = sorted(start for start, _ in self._refused)
        fields = {"serial": serial, "model": model, "type_code": code, "refused": refused}
        logs.event(_log, logging.INFO, "device", msg, **fields)

    def _count(self, normalized: Normalized) -> None:
        """Count what could not be used; of each register the 1st, 10th, 100th... time is told."""
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
