"""Forty days of the house's past, one sample a minute, sent as an agent would: the newest first."""

import http.client
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

from scripts.demonstration.house import INVERTER, METER, House
from tests.simulators import house as simulated
from tests.simulators.year import inverter_samples, meter_samples

DAYS = 40
EVERY = timedelta(minutes=1)
BATCH = 1000
# The live meter counts each tariff from its own start on.
PER_TARIFF = ("import_t1", "import_t2", "export_t1", "export_t2")


class Past:
    """Fills the past in a thread while the demo runs, and stops when it is left."""

    def __init__(self, house: House):
        self._house = house
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="past", daemon=True)

    def __enter__(self) -> "Past":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _fill(self) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        yesterday = now - timedelta(days=1)
        try:
            # What the first page shows comes first; the rest takes some seconds to be made.
            for start, end in ((yesterday, now), (now - timedelta(days=DAYS), yesterday)):
                for device_id, made in _make(start, end):
                    samples = list(takewhile(lambda _: not self._stop.is_set(), made))
                    for batch in _batches(samples):
                        if self._stop.is_set():
                            return
                        self._send(device_id, batch)
        except (OSError, http.client.HTTPException) as error:
            print(f"demo: the past was not filled: {error}", file=sys.stderr)

    def _send(self, device_id: str, batch: Sequence[dict[str, Any]]) -> None:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._house.api.port, timeout=30, context=self._house.trusting()
        )
        try:
            token = self._house.device_tokens[device_id]
            body = json.dumps({"samples": batch})
            connection.request("POST", "/v1/ingest", body, {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise OSError(f"{answer.status} {answer.read().decode()}")
        finally:
            connection.close()


def _make(start: datetime, end: datetime) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    house = simulated.House()
    yield INVERTER, inverter_samples(house, INVERTER, start, end, EVERY)
    unknown = {f"energy_{name}_kwh": None for name in PER_TARIFF}
    yield METER, (one | unknown for one in meter_samples(house, METER, start, end, EVERY))


def _batches(samples: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for end in range(len(samples), 0, -BATCH):
        yield samples[max(0, end - BATCH) : end]
