"""The tokens of a fleet, from a file that is read again while devices send."""

import hashlib
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Event, Thread

import pytest

from api_server import devices
from api_server.devices import Device
from tests.support.client import INVERTER, Client
from tests.support.servers import Api, open_folder, wait_until

MANY = 50_000


def test_the_tokens_of_many_devices_are_read_at_once() -> None:
    """Within a second, each with its device."""
    digests = [hashlib.sha256(f"{number}".encode()).digest() for number in range(MANY)]
    kinds = ("sungrow", "p1")
    text = ",".join(
        f"sha256-{one.hex()}:device-{number}:{kinds[number % 2]}"
        for number, one in enumerate(digests)
    )
    start = time.process_time()
    tokens = devices.device_tokens(text)
    assert time.process_time() - start < 1
    assert len(tokens) == MANY
    assert tokens[digests[7]] == Device("device-7", "p1")


@pytest.mark.slow
def test_a_reload_drops_no_request(settings: dict[str, str]) -> None:
    """And then knows the new tokens."""
    stop, statuses = Event(), []

    def send(client: Client, begin: datetime) -> None:
        for number in count():
            if stop.is_set():
                return
            sample = INVERTER | {"ts": (begin + number * timedelta(seconds=1)).isoformat()}
            statuses.append(client.post(sample).status)

    with open_folder("sunspool-tokens-") as folder:
        file = folder / "device_tokens"
        file.write_text(settings.pop("DEVICE_TOKENS"))
        with Api(folder, {**settings, "DEVICE_TOKENS_FILE": str(file)}) as api:
            old = set(api.worker_pids())
            begin = datetime(2026, 6, 1, tzinfo=UTC)
            threads = [
                Thread(target=send, args=(Client(api.url), begin + hour * timedelta(hours=1)))
                for hour in range(4)
            ]
            for thread in threads:
                thread.start()
            file.write_text(f"{file.read_text()},new-token:roof")
            os.kill(api.pid, signal.SIGHUP)
            wait_until(lambda: not old & set(api.worker_pids()), 30, "the old workers to end")
            assert Client(api.url, "new-token").post(INVERTER).status == 200
            stop.set()
            for thread in threads:
                thread.join()
    assert set(statuses) == {200}
