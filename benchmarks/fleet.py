"""Many agents in live operation: small batches over many connections, against another stack."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from benchmarks import Row, interleave
from benchmarks._load import body, inverter_sample, post_all
from benchmarks._site import Site, site
from tests.support.servers import ROOT, Api, free_port

NAME = "Ingest from a fleet: batches of 12, 16 connections"
CONNECTIONS, BATCH, REQUESTS = 16, 12, 40
DEVICES = [f"inverter-{number}" for number in range(CONNECTIONS)]
TOKENS = ",".join(f"secret-of-{device}:{device}" for device in DEVICES)


def run(rounds: int) -> list[Row]:
    """Requests per second against FastAPI and asyncpg doing the same on the same database."""
    clock = count()

    work: list = []

    def prepare() -> None:
        first = next(clock) * REQUESTS * BATCH
        work[:] = [(f"secret-of-{device}", _bodies(device, first)) for device in DEVICES]

    with site() as place:
        place.env["DEVICE_TOKENS"] = TOKENS
        with Api(place.folder / "api", place.env) as api, _peer(place) as peer:
            variants = {
                "ours": lambda: post_all(api.url, work),
                "peer": lambda: post_all(peer, work),
            }
            laps = interleave(rounds, variants, prepare)
    ratio, low, high = laps.ratios("ours", "peer")
    rate = CONNECTIONS * REQUESTS / laps.median("ours")
    note = f"{rate:.0f} requests/s, {rate * BATCH:.0f} samples/s, load and servers on one machine"
    return [Row(NAME, "FastAPI + asyncpg", ratio, low, high, ">= 1 x", ratio >= 1, note)]


def _bodies(device: str, first: int) -> list[bytes]:
    """The batches of one device, from a second on."""
    seconds = [range(first + n * BATCH, first + (n + 1) * BATCH) for n in range(REQUESTS)]
    return [body([inverter_sample(device, s) for s in batch]) for batch in seconds]


@contextmanager
def _peer(place: Site) -> Iterator[str]:
    port = free_port()
    command = ["uvicorn", "benchmarks._fastapi_peer:app", "--workers", "2", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--log-level", "warning"],
        cwd=ROOT,
        env={**os.environ, **place.env},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url + "/openapi.json", timeout=5) as answer:
                json.load(answer)
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing answers at {url}")
