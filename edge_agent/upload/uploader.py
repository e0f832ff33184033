"""Uploads the spool: one batch per pass, and what becomes of its samples after the answer."""

import gzip
import json
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from edge_agent import config
from edge_agent.http import Answer, Connection, NoAnswer
from edge_agent.shared import logs
from edge_agent.shared.samples import format_time
from edge_agent.upload.outcomes import Action, Outcome, classify

PATH = "/v1/ingest"
EXCHANGE_S = 20.0
GZIP_BYTES = 4096
BODY_BYTES = 1_000_000  # the server's limit is 1 MiB, also after inflation
NEWEST_EVERY_S = 60.0
REPORT_EVERY_S = 60.0  # with an empty batch, while there are no samples to go with

log = logging.getLogger(__name__)


class Backoff:
    """Waits from `shortest_s` doubling to `longest_s`, each drawn from 50 to 100 % of that."""

    def __init__(
        self,
        shortest_s: float,
        longest_s: float,
        draw: Callable[[float, float], float] = random.uniform,
    ):
        self.longest_s = longest_s
        self._shortest_s = shortest_s
        self._draw = draw
        self._nominal_s = 0.0

    def next_s(self) -> float:
        """The wait after one more failure."""
        self._nominal_s = min(max(2 * self._nominal_s, self._shortest_s), self.longest_s)
        return self._nominal_s * self._draw(0.5, 1.0)

    def reset(self) -> None:
        """Begin with the shortest wait again."""
        self._nominal_s = 0.0


class Uploader:
    """Sends what the spool holds and tells it what became of each sample.

    A batch of which the server refuses every sample may be the server's fault: its samples, the
    `_doubted`, are set aside only once the server has taken a batch of the newest ones.
    """

    def __init__(
        self,
        settings: Any,
        spool: Any,
        *,
        report: Callable[[], dict[str, Any]] = dict,
        on_server_time: Callable[[datetime], None] = lambda date: None,
    ):
        self.error: str | None = None  # what stands between the spool and the server now
        self.backoff_s = 0.0
        self.last_upload_ts: str | None = None
        self._settings = settings
        self._spool = spool
        self._report = report
        self._on_server_time = on_server_time
        self._server = Connection.to_server(settings.vps_ingest_url, settings.vps_ca_file)
        self._backoff = Backoff(settings.min_backoff_s, settings.max_backoff_s)
        self._limit = settings.batch_size
        self._token: str = settings.vps_device_token
        self._gzip = True
        self._exchange_s = EXCHANGE_S
        self._newest_at = self._reported_at = float("-inf")
        self._peaks_sent: Any = None
        self._doubted: frozenset[int] = frozenset()
        self._newest_taken = False  # since there are doubted samples
        self._not_before = 0.0  # what the server itself asked for

    def tick(self) -> float:
        """Send one batch; returns how long to wait until the next pass, 0 for not at all."""
        batch, newest = self._next_batch()
        if not batch and not self._has_news():
            return self._settings.upload_interval_s
        try:
            outcome = self._send(batch)
        except NoAnswer as error:
            outcome = Outcome(Action.HOLD, str(error))
        return self._apply(outcome, batch, newest)

    def finish(self, within_s: float) -> None:
        """Send what is pending until it is through, fails, or the time is over."""
        ends = monotonic() + within_s
        while monotonic() < ends and monotonic() >= self._not_before:
            self._exchange_s = min(EXCHANGE_S, ends - monotonic())
            if self.tick() > 0:
                break

    def close(self) -> None:
        """Close the connection to the server."""
        self._server.close()

    def _next_batch(self) -> tuple[list[Any], bool]:
        """The oldest samples, or the newest, and which of both.

        The newest are sent while others are doubted, and now and then of a long backlog, for the
        sake of those who look at the house now.
        """
        batch = self._spool.peek(self._limit)
        if self._doubted and self._newest_taken:
            return [entry for entry in batch if entry.id in self._doubted] or batch, False
        if self._doubted or self._is_newest_due(batch):
            return self._spool.peek(self._limit, newest=True), True
        return batch, False

    def _is_newest_due(self, batch: list[Any]) -> bool:
        if len(batch) < self._limit or monotonic() - self._newest_at <= NEWEST_EVERY_S:
            return False
        self._newest_at = monotonic()
        return self._spool.counts()["pending"] > 2 * self._limit

    def _has_news(self) -> bool:
        """Whether an empty batch is due: to report, or to ask for the time that readings lack."""
        if monotonic() - self._reported_at >= REPORT_EVERY_S:
            return True
        return self._spool.counts()["pending"] > 0

    def _send(self, batch: list[Any]) -> Outcome:
        report = self._report()
        if report.get("peaks") is self._peaks_sent:
            report.pop("peaks", None)
        samples = b",".join(entry.payload for entry in batch)
        body = b'{"samples":[%b],"agent":%b}' % (samples, json.dumps(report).encode())
        if len(body) > BODY_BYTES and len(batch) > 1:
            return Outcome(Action.SEND_LESS, f"a body of {len(body)} bytes")
        if self.error:
            self._read_token()
        headers = {"Authorization": f"Bearer {self._token}"}
        gzipped = self._gzip and len(body) > GZIP_BYTES
        if gzipped:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1, mtime=0)
        answer = self._server.request("POST", PATH, headers, body, within_s=self._exchange_s)
        if date := answer.date:
            self._on_server_time(date)
        outcome = classify(self._without_token(answer), len(batch), gzipped)
        if outcome.action is Action.CONFIRM:
            self._reported_at = monotonic()
            self._peaks_sent = report.get("peaks", self._peaks_sent)
        return outcome

    def _without_token(self, answer: Answer) -> Answer:
        """The answer without an echo of our token, which no reason or error may hold."""
        token = self._token.encode()
        if answer.body is None or token not in answer.body:
            return answer
        return replace(answer, body=answer.body.replace(token, logs.MASK.encode()))

    def _read_token(self) -> bool:
        """Read the token from its file again: whether it was replaced."""
        path = self._settings.vps_device_token_file
        token = config.read_token(path) if path else None
        if not token or token == self._token:
            return False
        logs.mask(token)
        self._token = token
        return True

    def _apply(self, outcome: Outcome, batch: list[Any], newest: bool) -> float:
        match outcome.action:
            case Action.CONFIRM:
                return self._confirm(outcome, batch, newest)
            case Action.SEND_PLAIN:
                self._gzip = False
                return 0.0
            case Action.SEND_LESS if len(batch) > 1:
                self._limit = len(batch) // 2
                self._newest_at = float("-inf")
                return 0.0
            case Action.SEND_LESS if batch:
                return self._refuse({batch[0].id: outcome.cause}, batch, outcome)
            case Action.SET_ASIDE:
                reasons = {batch[place].id: why for place, why in outcome.refused.items()}
                return self._refuse(reasons, batch, outcome)
            case Action.HOLD_LONG if self._read_token():
                return 0.0
        return self._hold(outcome)

    def _confirm(self, outcome: Outcome, batch: list[Any], newest: bool) -> float:
        self._backoff.reset()
        self.error, self.backoff_s = None, 0.0
        if not batch:
            return self._settings.upload_interval_s
        self._spool.ack([entry.id for entry in batch])
        self.last_upload_ts = format_time(datetime.now(UTC))
        self._newest_taken = bool(newest and self._doubted)
        if not newest:
            self._doubted = frozenset()
        more = len(batch) >= self._limit or bool(self._doubted)
        if len(batch) >= self._limit:
            grown = self._limit + max(1, self._limit // 20)
            self._limit = min(grown, self._settings.batch_size)
        logs.event(
            log,
            logging.INFO,
            "upload_ok",
            f"uploaded {len(batch)}, new {outcome.inserted}",
            sent=len(batch),
            inserted=outcome.inserted,
            duplicates=len(batch) - outcome.inserted,
        )
        return 0.0 if more else self._settings.upload_interval_s

    def _refuse(self, reasons: dict[int, str], batch: list[Any], outcome: Outcome) -> float:
        """Set aside what the server refuses, unless it may be the server that is wrong."""
        if len(reasons) == len(batch):
            if not (self._newest_taken and reasons.keys() <= self._doubted):
                self._doubted, self._newest_taken = frozenset(reasons), False
                cause = f"all {len(batch)} samples of a batch are held: {outcome.cause}"
                return self._hold(replace(outcome, cause=cause))
            self._doubted, self._newest_taken = frozenset(), False
        self._spool.set_aside(reasons.items())
        msg = f"{len(reasons)} samples set aside: the server refuses them"
        logs.event(log, logging.WARNING, "set_aside", msg, reasons=list(reasons.values())[:5])
        return 0.0

    def _hold(self, outcome: Outcome) -> float:
        """Keep everything and say how long to wait."""
        self._newest_at = float("-inf")  # after an outage the newest samples go first
        is_long = outcome.action is Action.HOLD_LONG
        wait_s = self._backoff.longest_s if is_long else self._backoff.next_s()
        if outcome.retry_after_s > 0:
            self._not_before = monotonic() + outcome.retry_after_s
            wait_s = max(wait_s, outcome.retry_after_s)
        self.error, self.backoff_s = outcome.cause, wait_s
        msg, fields = f"upload failed: {outcome.cause}", {"cause": outcome.cause}
        logs.event(log, logging.WARNING, "upload_failed", msg, **fields, wait=round(wait_s, 3))
        return wait_s
