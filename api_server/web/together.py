"""Ordinary ingests that arrive while others are being stored are stored together after them.

All of them then share a transaction, its flush to the disk and the ways to PostgreSQL and Redis,
and no thread is woken for a single one. Whatever cannot be answered here is given back, to be
handled alone as if it had never been here.
"""

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from socket import MSG_DONTWAIT
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn.util import http_date

from api_server.web import heads

if TYPE_CHECKING:
    from api_server.web.shortcut import Answer, Batch, Shortcut

MOST_BYTES = 65_536  # of a request; a larger one would hold up the others
MOST_BATCHES = 64  # of a group
MOST_SAMPLES = 1000  # of a group of several: it must be stored in the time of one request
GATHER_S = 0.001  # without another one, before those that wait are stored
PATIENCE_S = 0.1  # how long a group may take before another is begun beside it
MOST_GROUPS = 4  # at the same time: half of the threads stay for other requests

log = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """A request that was read; `connection` is for whoever gave it."""

    connection: Any
    data: bytes
    keeps: bool
    batch: "Batch"
    began_s: float  # by the fine clock


class Together:
    """Used by gunicorn's main thread alone; only `_store` runs in another."""

    def __init__(self, shortcut: "Shortcut", start: Callable[..., Any], finish: Callable[..., Any]):
        self._shortcut, self._start, self._finish = shortcut, start, finish
        self.incomplete: dict[Any, bytes] = {}  # what has come so far over each connection
        self._waiting: dict[str, Arrival] = {}  # by device: one batch of each in a group
        self._running, self._started = 0, 0.0
        self._last = self._seen = 0  # batches of the last group, and that waited at the last `go`

    @property
    def patience_s(self) -> float:
        """How long to wait for more before `go` is to be called again."""
        if not self._waiting:
            return math.inf
        return PATIENCE_S if self._running else GATHER_S

    def offer(
        self, connection: Any, piece: bytes, wanted: bool = True, keeps: bool = True
    ) -> bytes | None:
        """Take what came over a connection, or keep it until the rest comes; else give it back.
        Whether it is wanted at all, and whether the connection may be kept after it."""
        data = self.incomplete.pop(connection, b"") + piece
        taken = False
        if piece and wanted:
            try:
                taken = self._take(connection, data, keeps)
            except Exception:  # in the main thread it would end the worker
                log.exception("an ingest could not be read", extra={"event": "error"})
        return None if taken else data

    def _take(self, connection: Any, data: bytes, keeps: bool) -> bool:
        began_s, head = perf_counter(), heads.read(data)
        if head is None or not len(data) <= head.end <= MOST_BYTES:
            return False
        writer = self._shortcut.writer(head.authorization)
        if writer is None or writer[1].device_id in self._waiting:
            return False
        if len(data) < head.end:
            self.incomplete[connection] = data
            return True
        batch = self._shortcut.read(writer, data[head.start :], head.gzip)
        if batch is None or not self._shortcut.shares(batch):
            return False
        arrival = Arrival(connection, data, head.keeps and keeps, batch, began_s)
        self._waiting[batch.device.device_id] = arrival
        return True

    def go(self) -> None:
        """Begin to store what waits, unless the last group has just begun, or as many as it had
        are coming again: who was just answered sends his next one."""
        waiting = len(self._waiting)
        coming = self._seen < waiting < self._last
        self._seen = waiting
        fresh = self._running and monotonic() - self._started < PATIENCE_S
        if waiting and not coming and not fresh and self._running < MOST_GROUPS:
            group = self._next_group()
            self._running, self._started = self._running + 1, monotonic()
            self._last, self._seen = len(group), 0
            self._start(self._store, group)

    def _next_group(self) -> list[Arrival]:
        group: list[Arrival] = []
        samples = 0
        for one in list(islice(self._waiting.values(), MOST_BATCHES)):
            samples += len(one.batch.columns["ts"])
            if group and samples > MOST_SAMPLES:
                break
            group.append(self._waiting.pop(one.batch.device.device_id))
        return group

    def settled(self) -> None:
        """A group has ended."""
        self._running, self._seen = self._running - 1, 0

    def _store(self, group: list[Arrival]) -> None:
        """Store a group and answer; who gave the others is told to handle them alone."""
        answers: list[Answer | None] = [None] * len(group)
        try:
            answers = self._shortcut.take_together([(one.batch, one.began_s) for one in group])
        except Exception:
            log.exception("a group of ingests failed", extra={"event": "error"})
        date, ended = http_date(), []
        for one, answer in zip(group, answers, strict=True):
            keeps = answer is not None and _send(one, answer, date)
            ended.append((one.connection, one.data if answer is None else None, keeps))
        self._finish(ended)


def _send(one: Arrival, answer: "Answer", date: str) -> bool:
    """Answer; whether the connection may be used again."""
    status, headers, body = answer
    lines = [
        f"HTTP/1.1 {status}",
        "Server: gunicorn",
        f"Date: {date}",
        f"Connection: {'keep-alive' if one.keeps else 'close'}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    message = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
    with suppress(OSError):  # he is gone, or has left earlier answers where they are
        return one.connection.sock.send(message, MSG_DONTWAIT) == len(message) and one.keeps
    return False
