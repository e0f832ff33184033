"""What the tokens of a fleet cost: time to read them, memory of a worker, a reload under load."""

import hashlib
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread

from api_server import devices
from benchmarks import Row, _cost
from benchmarks._load import Lane, body, inverter_sample, request, seconds_now
from benchmarks._site import Site, site
from tests.support.servers import Api, wait_until

NAME = "Tokens of 50,000 devices from a file"
DEVICES, SENDERS = 50_000, 8
MAX_S, MAX_MB = 1, 20


def run(rounds: int) -> list[Row]:
    """The same installation with one token and with those of all, which is then reloaded."""
    with site() as place:
        one, many = (_file(place.folder, number) for number in (SENDERS, DEVICES))
        size = many.stat().st_size / 2**20
        seconds = sorted(_read_s(many.read_text()) for _ in range(rounds))
        with _api(place, one) as api:
            few_mb = _memory_mb(api)
        with _api(place, many) as api:
            many_mb = _memory_mb(api)
            answered, dropped = _reload(api, rounds)
    took, each = statistics.median(seconds), [mb - few_mb[0] for mb in many_mb]
    return [
        Row(
            "reading them, processor time",
            f"{MAX_S} s",
            took,
            seconds[0],
            seconds[-1],
            "<= 1 x",
            took <= MAX_S,
            f"{1000 * took:.0f} ms for {size:.1f} MB",
        ),
        Row(
            "memory of a worker",
            f"that with {SENDERS}, + {MAX_MB} MB",
            each[-1] / MAX_MB,
            each[0] / MAX_MB,
            each[-1] / MAX_MB,
            "<= 1 x",
            each[-1] <= MAX_MB,
            f"{few_mb[-1]:.0f} MB + {each[-1]:.1f} MB",
        ),
        Row(
            f"requests dropped in {rounds} reloads",
            "none",
            dropped,
            dropped,
            dropped,
            "0",
            not dropped,
            f"{answered} answered with 200, each over a connection of its own",
        ),
    ]


def _file(folder: Path, number: int) -> Path:
    """Tokens of so many devices, by their digests as they are installed."""
    path = folder / f"tokens-{number}"
    digests = (hashlib.sha256(f"token-{n}".encode()).hexdigest() for n in range(number))
    path.write_text(",".join(f"sha256-{one}:inverter-{n}" for n, one in enumerate(digests)))
    return path


def _read_s(text: str) -> float:
    start = time.process_time()
    devices.device_tokens(text)
    return time.process_time() - start


@contextmanager
def _api(place: Site, tokens: Path) -> Iterator[Api]:
    with Api(
        place.folder / f"api-{tokens.name}", {**place.env, "DEVICE_TOKENS_FILE": str(tokens)}
    ) as api:
        yield api


def _memory_mb(api: Api) -> list[float]:
    """Of each worker once it has answered; they do not begin at once."""
    wait_until(lambda: min(map(_cost.resident_mb, api.worker_pids())) > 35, 20, "the workers")
    for number in range(100):
        _send(api, number % SENDERS, number)
    return sorted(map(_cost.resident_mb, api.worker_pids()))


def _send(api: Api, device: int, number: int) -> None:
    lane = Lane(api.url)
    sample = inverter_sample(f"inverter-{device}", seconds_now() - number)
    lane.send(request("/v1/ingest", f"token-{device}", body([sample])))
    lane.socket.close()


def _reload(api: Api, times: int) -> tuple[int, int]:
    """Requests that were answered, and dropped, while the tokens were read anew."""
    stop, answers = Event(), []

    def send(device: int) -> None:
        for number in count():
            if stop.is_set():
                return
            try:
                _send(api, device, number)
                answers.append(True)
            except (OSError, AssertionError):
                answers.append(False)

    threads = [Thread(target=send, args=(device,)) for device in range(SENDERS)]
    for thread in threads:
        thread.start()
    for _ in range(times):
        before, old = len(answers), set(api.worker_pids())
        os.kill(api.pid, signal.SIGHUP)
        wait_until(lambda old=old: not old & set(api.worker_pids()), 60, "the old workers to end")
        wait_until(lambda before=before: len(answers) > before + 200, 60, "new answers")
    stop.set()
    for thread in threads:
        thread.join()
    return answers.count(True), answers.count(False)
