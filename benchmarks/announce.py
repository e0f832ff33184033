"""How soon a person knows: from the moment that a quarter's projection passes its limit."""

import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

from api_server.data.capacity import FLOOR_W
from api_server.data.capacity.running import foresee
from api_server.data.periods import quarter_start
from benchmarks import Row
from benchmarks._processes import alerts_process
from benchmarks._site import site
from tests.simulators.message_sink import MessageSink

NAME = "Alerts of new peaks"
TRIALS = 20
INTERVAL_S = 15
APART_S = 15.75  # one message a look at most, and every moment between two looks has its turn
BEGINS_S, LATEST_START_S = 185, 330  # of the quarter
GIVEN_UP_S = 120
IDLE_W, OVEN_W = 700, 12_000
LEAD_S = 90
AIM_S = 65  # the rule's 30 s, a look before and one after, and the sending
_INSERT = """
INSERT INTO p1_samples (device_id, ts, power_w, import_power_w, energy_import_kwh)
SELECT device_id, %s, watts, watts, kwh FROM unnest(%s::text[], %s::int[], %s::float8[])
    AS new (device_id, watts, kwh)
"""


class Meter:
    """A meter whose oven is switched on at one moment, and what its quarter is seen to come to."""

    def __init__(self, number: int, start: datetime, oven_on: datetime):
        self.name = f"meter-{number:02}"
        self.watts = IDLE_W
        self.kwh = 1000.0
        self.passed_at: float | None = None
        self._start, self._oven_on = start, oven_on
        self._at_start: float | None = None
        self._minute: deque[int] = deque(maxlen=60)

    def tick(self, now: datetime) -> None:
        """One second more."""
        self.watts = OVEN_W if now >= self._oven_on else IDLE_W
        self.kwh += self.watts / 3_600_000
        self._minute.append(self.watts)
        if now >= self._start and self._at_start is None:
            self._at_start = self.kwh

    def judge(self, now: datetime) -> None:
        """Note the moment in which its projection passes the limit."""
        elapsed_s = (now - self._start).total_seconds()
        if self._at_start is None or elapsed_s < 1 or self.passed_at is not None:
            return
        average_w = (self.kwh - self._at_start) * 3_600_000 / elapsed_s
        power_w = statistics.fmean(self._minute)
        if foresee(elapsed_s, average_w, power_w, None)["projected_w"] > FLOOR_W:
            self.passed_at = time.monotonic()


def run(_rounds: int) -> list[Row]:
    """Twenty quarters that pass their limit, one after the other, before one process."""
    with site() as place, MessageSink() as sink, closing(psycopg2.connect(place.url)) as database:
        database.autocommit = True
        place.env |= {
            "DEVICE_TOKENS": ",".join(f"t{n}:meter-{n:02}:p1" for n in range(TRIALS)),
            "ALERT_URLS": sink.url(),
            "ALERT_INTERVAL_S": str(INTERVAL_S),
        }
        with alerts_process(place):
            meters = _feed(database, sink)
        told = {one.body["message"][:8]: one.at for one in sink.received}
    waits = sorted(told[one.name] - one.passed_at for one in meters if one.name in told)
    median_s, worst_s = statistics.median(waits), waits[-1]
    return [
        Row(
            "from a projection over its limit to its message", f"{AIM_S} s",
            median_s / AIM_S, waits[0] / AIM_S, worst_s / AIM_S, "<= 1 x",
            worst_s <= AIM_S and len(waits) == TRIALS,
            f"median {median_s:.1f} s, worst {worst_s:.1f} s, best {waits[0]:.1f} s of {len(waits)}"
            f" trials at an interval of {INTERVAL_S} s; 30 s of it are the rule's",
        )
    ]  # fmt: skip


def _feed(database: Any, sink: MessageSink) -> list[Meter]:
    """Store a sample of each meter a second, until each has its message."""
    start = _wait_for_quarter()
    first = max(datetime.now(UTC), start + timedelta(seconds=BEGINS_S)) + timedelta(seconds=5)
    meters = [
        Meter(number, start, first + timedelta(seconds=APART_S * number))
        for number in range(TRIALS)
    ]
    ends = first + timedelta(seconds=APART_S * TRIALS + GIVEN_UP_S)
    with database.cursor() as cursor:
        for now in _seconds(start - timedelta(seconds=LEAD_S), ends):
            for meter in meters:
                meter.tick(now)
            _insert(cursor, now, meters)
            for meter in meters:
                meter.judge(now)
            if len(sink.received) >= TRIALS:
                break
    return meters


def _wait_for_quarter() -> datetime:
    """The start of a quarter that is neither too young nor too old."""
    while True:
        now = datetime.now(UTC)
        start = quarter_start(now)
        if BEGINS_S - LEAD_S < (now - start).total_seconds() < LATEST_START_S:
            return start
        time.sleep(1)


def _seconds(begin: datetime, end: datetime) -> Iterator[datetime]:
    """Each second, when it has come."""
    while begin < end:
        time.sleep(max(0.0, (begin - datetime.now(UTC)).total_seconds()))
        yield begin
        begin += timedelta(seconds=1)


def _insert(cursor: Any, now: datetime, meters: Iterable[Meter]) -> None:
    rows = [(one.name, one.watts, round(one.kwh, 3)) for one in meters]
    cursor.execute(_INSERT, (now, *map(list, zip(*rows, strict=True))))
