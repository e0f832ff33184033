"""Uploads the spool: one piece of a batch per pass, and what its answer means for the spool."""

import gzip
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from edge_agent import config
from edge_agent.http import Connection, NoAnswer
from edge_agent.shared import logs
from edge_agent.upload.allowance import Allowance
from edge_agent.upload.batch import Batch, ServerSuspected
from edge_agent.upload.outcomes import Meaning, Verdict, judge

PATH = "/v1/ingest"
EXCHANGE_S = 20.0
GZIP_BYTES = 4096
BODY_BYTES = 1_000_000  # the server's limit is 1 MiB, also after inflation
ACCEPTED_LATELY_S = 600.0
NEWEST_EVERY_S = 60.0

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
        """Start anew."""
        self._nominal_s = 0.0


class Uploader:
    """Sends what the spool holds and tells it what became of each sample."""

    def __init__(
        self,
        settings: Any,
        spool: Any,
        *,
        heard_time: Callable[[datetime], None] = lambda date: None,
    ):
        self.error: str | None = None  # what stands between the spool and the server now
        self.backoff_s = 0.0
        self.last_upload: datetime | None = None
        self._settings = settings
        self._spool = spool
        self._heard_time = heard_time
        self._server = Connection.to_server(settings.vps_ingest_url, settings.vps_ca_file)
        self._backoff = Backoff(settings.min_backoff_s, settings.max_backoff_s)
        self._allowance = Allowance(spool)
        self._batch: Batch | None = None
        self._limit = settings.batch_size
        self._token: str = settings.vps_device_token
        self._gzip = True
        self._exchange_s = EXCHANGE_S
        self._accepted_at = self._newest_at = float("-inf")
        self._not_before = 0.0  # what the server itself asked for

    def tick(self) -> float:
        """Send one piece; returns how long to wait until the next pass, 0 for not at all."""
        self._batch = self._batch or self._next_batch()
        if self._batch is None and not self._spool.counts()["pending"]:
            return self._settings.upload_interval_s
        try:
            if self._batch is None:
                return self._ask_time()
            piece = self._batch.pieces[0]
            verdict = self._send(piece)
            return self._obey(verdict, piece)
        except NoAnswer as error:
            return self._hold(str(error))
        except ServerSuspected as alarm:
            self._batch = None
            logs.event(log, logging.ERROR, "alarm", f"nothing more is uploaded: {alarm}")
            return self._hold(str(alarm))

    def finish(self, within_s: float) -> None:
        """Send what is pending until it is through, fails, or the time is over."""
        ends = monotonic() + within_s
        while monotonic() < ends and monotonic() >= self._not_before:
            self._exchange_s = min(EXCHANGE_S, ends - monotonic())
            if self.tick() > 0:
                break

    def close(self) -> None:
        """Let go of the server."""
        self._server.close()

    def _next_batch(self) -> Batch | None:
        """The oldest samples; of a long backlog, now and then the newest, for realtime's sake."""
        entries = self._spool.peek(self._limit)
        more = len(entries) == self._limit
        if more and monotonic() - self._newest_at > NEWEST_EVERY_S:
            self._newest_at = monotonic()
            if self._spool.counts()["pending"] > 2 * self._limit:
                entries = self._spool.peek(self._limit, newest=True)
        return Batch(entries, more) if entries else None

    def _ask_time(self) -> float:
        """Ask the server for its time while all that waits is held for want of one."""
        verdict = self._send([])
        if verdict.meaning is not Meaning.CONFIRMED:
            return self._hold(verdict.cause, verdict, login=verdict.meaning is Meaning.LOGIN)
        self._be_well()
        return self._settings.upload_interval_s

    def _be_well(self) -> None:
        self._backoff.reset()
        self.error, self.backoff_s = None, 0.0

    def _choose_anew(self) -> None:
        self._batch, self._newest_at = None, float("-inf")

    def _send(self, piece: list[Any]) -> Verdict:
        body = b'{"samples":[%b]}' % b",".join(entry.payload for entry in piece)
        if len(body) > BODY_BYTES and len(piece) > 1:
            return Verdict(Meaning.TOO_LARGE, f"a body of {len(body)} bytes")
        headers = {"Authorization": f"Bearer {self._current_token()}"}
        gzipped = self._gzip and len(body) > GZIP_BYTES
        if gzipped:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1, mtime=0)
        answer = self._server.request("POST", PATH, headers, body, within_s=self._exchange_s)
        if answer.date:
            self._heard_time(answer.date)
        return judge(answer, len(piece), gzipped)

    def _current_token(self) -> str:
        """The token, read again from its file each time: it may have been rotated."""
        if self._settings.vps_device_token_file:
            token = config.read_token(self._settings.vps_device_token_file)
            if token and token != self._token:
                logs.mask(token)
                self._token = token
        return self._token

    def _obey(self, verdict: Verdict, piece: list[Any]) -> float:
        match verdict.meaning:
            case Meaning.CONFIRMED:
                return self._confirm(verdict)
            case Meaning.NO_GZIP:
                self._gzip = False
                return 0.0
            case Meaning.TOO_LARGE:
                return self._shrink(verdict, piece)
            case Meaning.REFUSED:
                self._set_aside(self._batch.refuse(verdict.named, verdict.cause))
                return self._go_on()
            case Meaning.LOGIN:
                return self._hold(verdict.cause, verdict, login=True)
        return self._hold(verdict.cause, verdict)

    def _confirm(self, verdict: Verdict) -> float:
        piece = self._batch.accept()
        self._spool.ack([entry.id for entry in piece])
        self._allowance.confirm(len(piece))
        self._accepted_at = monotonic()
        self.last_upload = datetime.now(UTC)
        if len(piece) >= self._limit:
            grown = self._limit + max(1, self._limit // 20)
            self._limit = min(grown, self._settings.batch_size)
        self._be_well()
        logs.event(
            log,
            logging.INFO,
            "upload_ok",
            f"uploaded {len(piece)}, new {verdict.inserted}",
            sent=len(piece),
            inserted=verdict.inserted,
            duplicates=len(piece) - verdict.inserted,
        )
        return self._go_on()

    def _go_on(self) -> float:
        """Go on with the batch, end it if it is through; a backlog is drained without pause."""
        if self._batch.pieces:
            return 0.0
        batch, self._batch = self._batch, None
        lately = monotonic() - self._accepted_at < ACCEPTED_LATELY_S
        self._set_aside(batch.verdict_on_suspects(lately))
        return 0.0 if batch.more else self._settings.upload_interval_s

    def _shrink(self, verdict: Verdict, piece: list[Any]) -> float:
        """Send less at once from now on; what is too large alone is set aside."""
        self._limit = max(1, len(piece) // 2)
        if len(piece) > 1:
            self._choose_anew()
            return 0.0
        self._batch.pieces.popleft()
        self._set_aside({piece[0].id: verdict.cause})
        return self._go_on()

    def _set_aside(self, refused: dict[int, str]) -> None:
        if refused:
            self._allowance.spend(len(refused))
            self._spool.set_aside(refused.items())
            msg = f"{len(refused)} samples set aside, as the server refuses them"
            logs.event(log, logging.WARNING, "set_aside", msg, reasons=list(refused.values())[:5])

    def _hold(self, cause: str, verdict: Verdict | None = None, login: bool = False) -> float:
        """Keep everything and say how long to wait."""
        if self._batch and self._batch.untouched:
            self._choose_anew()  # after an outage the newest samples go first
        wait_s = self._backoff.longest_s if login else self._backoff.next_s()
        if verdict and verdict.retry_after_s > 0:
            self._not_before = monotonic() + verdict.retry_after_s
            wait_s = max(wait_s, verdict.retry_after_s)
        self.error, self.backoff_s = cause, wait_s
        fields = {"cause": cause, "wait": round(wait_s, 3)}
        logs.event(log, logging.WARNING, "upload_failed", f"upload failed: {cause}", **fields)
        return wait_s
