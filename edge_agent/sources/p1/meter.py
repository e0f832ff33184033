"""The HomeWizard P1 meter as a source: over HTTPS with a token (v2), or plain HTTP (v1)."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from edge_agent.clock import ReadingTime
from edge_agent.http import Answer, Connection, NoAnswer
from edge_agent.shared import logs
from edge_agent.sources import NothingNew, Sample, SourceError, retry_wait_s
from edge_agent.sources.p1 import telegram
from edge_agent.sources.p1.normalize import V1, V2, NoPower, PeakTime, meter_time, normalize
from edge_agent.sources.p1.tls import Identity

P1 = "HWE-P1"
HUMAN_WAIT_S = 300.0  # until somebody has pressed the button or turned the switch
NO_DATA_WAIT_S = 5.0
FROZEN_WAIT_S = 10.0  # as often as the slowest meters send a telegram
FROZEN_AFTER_S = 60.0
TELEGRAM_EVERY_S = 86_400.0
TELEGRAM_AGAIN_S = 3600.0  # after it could not be had
TELEGRAM_TIMEOUT_S = 1.0  # the next measurement waits for it
CLOCK_TOLERANCE = timedelta(seconds=15)  # a slow meter's telegram alone may be 10 s old

_log = logging.getLogger(__name__)


class P1Source:
    """Reads the meter with one request per sample; opens its connection on the first."""

    def __init__(
        self,
        settings: Any,
        now: Callable[[], ReadingTime],
        monotonic: Callable[[], float] = time.monotonic,
    ):
        self._device_id = settings.device_id
        self._zone = settings.hw_p1_timezone
        self._now = now
        self._api = V1
        self._headers: dict[str, str] = {}
        self._identity = None
        if settings.hw_p1_api == "v2":
            self._api = V2
            token = f"Bearer {settings.hw_p1_token}"
            self._headers = {"Authorization": token, "X-Api-Version": "2"}
            spool = settings.spool_path
            pin_file = spool.with_name(spool.name + ".p1-serial")
            self._identity = Identity(settings.hw_p1_ca_file, settings.hw_p1_serial, pin_file)
        secure = self._identity.secure if self._identity else None
        self._connection = Connection(settings.hw_p1_host, settings.hw_p1_port, secure)
        self._timeout_s = settings.hw_p1_timeout_s
        self._failures = 0  # in a row
        self._monotonic = monotonic
        self.month_peaks: list[dict[str, Any]] | None = None  # of past months, as last read
        self._peak_time = PeakTime(self._zone)
        self._telegram_due = float("-inf")
        self._taken: Any = None  # the timestamp of the telegram last taken
        self._values: Sample = {}
        self._moved_at = 0.0
        self._warned_of_standstill = False
        self._warned_of_clock = False
        self._product_known = self._identity is not None  # its certificate says so

    def read(self) -> tuple[Sample, ReadingTime]:
        """Ask once; raises NothingNew for a telegram that was taken before, else SourceError."""
        body = self._measurement()
        shown = body.get("timestamp")
        self._refuse_repetition(shown)
        taken = self._now()
        self._read_telegram()
        try:
            sample = normalize(body, self._api, self._device_id, taken.ts, self._peak_time)
        except NoPower as error:
            raise SourceError(f"no electricity data yet: {error}", NO_DATA_WAIT_S) from error
        self._check_product()
        self._compare_clocks(shown, taken.ts)
        self._note(shown, sample)
        return sample, taken

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _measurement(self) -> dict[str, Any]:
        try:
            answer = self._get(self._api.measurement, self._timeout_s)
        except NoAnswer as error:
            raise self._failed(str(error)) from error
        cause = f"{self._connection.where} answered {answer.status}"
        if answer.status in (401, 403):
            raise SourceError(f"{cause}: {self._api.remedy}", HUMAN_WAIT_S)
        if answer.status != 200:
            raise self._failed(cause)
        body = answer.json()
        if not isinstance(body, dict):
            raise self._failed(f"{cause} and something that is not a JSON object")
        self._failures = 0
        if self._identity is not None:
            self._identity.remember()
        return body

    def _failed(self, cause: str) -> SourceError:
        self._failures += 1
        return SourceError(cause, retry_wait_s(self._failures))

    def _get(self, path: str, within_s: float) -> Answer:
        try:
            return self._connection.request("GET", path, self._headers, within_s=within_s)
        except NoAnswer:
            self._product_known = self._identity is not None  # another may answer next time
            raise

    def _read_telegram(self) -> None:
        """Once a day read what only the telegram tells; without it nothing else is missing.

        Not with the first sample: `--once` asks for nothing but that.
        """
        now = self._monotonic()
        if not self._values or now < self._telegram_due:
            return
        self._telegram_due = now + TELEGRAM_AGAIN_S
        try:
            answer = self._get(self._api.telegram, TELEGRAM_TIMEOUT_S)
        except NoAnswer as error:
            logs.event(_log, logging.DEBUG, "telegram_failed", f"no telegram: {error}")
            return
        if answer.status != 200 or not answer.body:
            return
        self._telegram_due = now + TELEGRAM_EVERY_S
        text = answer.body.decode("ascii", "replace")
        self.month_peaks = telegram.month_peaks(text, self._zone) or None
        self._peak_time.known = telegram.running_peak(text, self._zone) or self._peak_time.known

    def _refuse_repetition(self, shown: Any) -> None:
        if shown is None or shown != self._taken:
            return
        if self._monotonic() - self._moved_at <= FROZEN_AFTER_S:
            raise NothingNew(f"still the telegram of {shown}")
        raise SourceError(
            f"the meter is frozen: no telegram after that of {shown} for over a minute; "
            "check the cable to the electricity meter",
            FROZEN_WAIT_S,
        )

    def _note(self, shown: Any, sample: Sample) -> None:
        """Remember what was taken; without timestamps only equal values hint at a dead cable."""
        values = {**sample, "ts": None}
        stood_s = self._monotonic() - self._moved_at
        if shown is not None or values != self._values:
            self._taken, self._values = shown, values
            self._moved_at = self._monotonic()
            self._warned_of_standstill = False
        elif stood_s > FROZEN_AFTER_S and not self._warned_of_standstill:
            self._warned_of_standstill = True
            msg = "the meter's values have not changed for a minute: is its cable connected?"
            logs.event(_log, logging.WARNING, "meter_standstill", msg)

    def _check_product(self) -> None:
        """Refuse another HomeWizard device that answers the same paths, if it says what it is."""
        if self._product_known:
            return
        try:
            device = self._get("/api", self._timeout_s).json()
        except NoAnswer:
            device = None
        product = device.get("product_type", P1) if isinstance(device, dict) else P1
        self._product_known = product == P1
        if not self._product_known:
            cause = f"{self._connection.where} is a {product!s:.20}, not a P1 meter ({P1})"
            raise SourceError(cause, HUMAN_WAIT_S)

    def _compare_clocks(self, shown: Any, ts: datetime) -> None:
        clock = meter_time(shown, self._zone, near=ts)
        if clock is None or abs(clock - ts) <= CLOCK_TOLERANCE or self._warned_of_clock:
            return
        self._warned_of_clock = True
        offset_s = round((clock - ts).total_seconds())
        side = "ahead of" if offset_s > 0 else "behind"
        msg = f"the meter's clock is {abs(offset_s)} s {side} this one; it cuts the quarter hours"
        logs.event(_log, logging.WARNING, "meter_clock", msg, offset_s=offset_s)
