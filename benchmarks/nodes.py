"""A fleet on a Citus coordinator and two workers: what it takes, and whether anything is lost.

A round is a minute, in which each device sends once, again and again until it is confirmed.
"""

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg2

from benchmarks import Row, _stacks
from benchmarks._load import Lane, body, inverter_sample, meter_sample, request, seconds_now

NAME = "A fleet on Citus, a coordinator and two workers"
HOMES, LANES, ROUND_S = 2500, 32, 60
TOKENS = ",".join(f"i{n}:inverter-{n},m{n}:meter-{n}:p1" for n in range(HOMES))
LIMIT_S = 20  # an agent waits no longer for an answer, and sends again
FOUND = """
SELECT count(*), count(DISTINCT (device_id, ts)), count(DISTINCT device_id) FROM {kind}_samples
"""


def run(rounds: int) -> list[Row]:
    """So many minutes, after one that is not counted but must be stored too."""
    begin = seconds_now() - (rounds + 1) * ROUND_S
    waits: list[float] = []
    took_s = 0.0
    refused: Counter[str] = Counter()
    with _stacks.citus(TOKENS) as (stack, api):
        for number in range(rounds + 1):
            lanes = _requests(begin + number * ROUND_S)
            if number == 1:
                used = stack.cpu_s()
            start = time.perf_counter()
            each, answers = _send(stack.url, lanes)
            refused += answers
            if number:
                waits += each
                took_s += time.perf_counter() - start
        used = {part: cpu_s - used[part] for part, cpu_s in stack.cpu_s().items()}
        with closing(psycopg2.connect(api.env["DATABASE_URL"])) as connection:
            found = {kind: _find(connection, kind) for kind in ("sungrow", "p1")}
    return [_wait(sorted(waits), took_s, used), *_kept(found, rounds + 1, refused)]


def _find(connection: Any, kind: str) -> tuple[int, int, int]:
    with connection.cursor() as cursor:
        cursor.execute(FOUND.format(kind=kind))
        return cursor.fetchone()


def _requests(first: int) -> list[list[bytes]]:
    """A minute of each device: an inverter's sample every 5 s, a meter's every second."""
    every = []
    for n in range(HOMES):
        inverter = [inverter_sample(f"inverter-{n}", first + t) for t in range(0, ROUND_S, 5)]
        meter = [meter_sample(f"meter-{n}", first + t) for t in range(ROUND_S)]
        every.append(request("/v1/ingest", f"i{n}", body(inverter)))
        every.append(request("/v1/ingest", f"m{n}", body(meter)))
    return [every[number::LANES] for number in range(LANES)]


def _send(url: str, lanes: list[list[bytes]]) -> tuple[list[float], Counter[str]]:
    """Send all over a minute; the seconds from when each was due to its 200, and other answers."""
    step, start = ROUND_S / len(lanes[0]), time.perf_counter()
    refused: Counter[str] = Counter()

    def send(number: int) -> list[float]:
        lane, waits = Lane(url), []
        for place, one in enumerate(lanes[number]):
            due = start + step * (place + number / len(lanes))
            time.sleep(max(0, due - time.perf_counter()))
            while (status := lane.ask(one)) != b"200":
                refused[status.decode()] += 1
                time.sleep(1)
            waits.append(time.perf_counter() - due)
        lane.socket.close()
        return waits

    with ThreadPoolExecutor(len(lanes)) as threads:
        each = [wait for waits in threads.map(send, range(len(lanes))) for wait in waits]
    return each, refused


def _wait(waits: list[float], took_s: float, used: dict[str, float]) -> Row:
    p99, median = waits[int(len(waits) * 0.99)], statistics.median(waits)
    samples = len(waits) * (ROUND_S + ROUND_S // 5) // 2
    each = ", ".join(f"{part} {1e6 * s / samples:.0f}" for part, s in used.items())
    note = (
        f"{len(waits) / took_s:.0f} requests/s, {samples / took_s:.0f} samples/s for"
        f" {took_s / 60:.1f} minutes; median {1000 * median:.0f} ms, p99 {1000 * p99:.0f} ms,"
        f" highest {waits[-1]:.1f} s; us of processor a sample: {each}"
    )
    what = f"p99 of an ingest, {2 * HOMES} devices"
    ratio = p99 / LIMIT_S
    return Row(what, f"{LIMIT_S} s", ratio, ratio, ratio, "<= 1 x", ratio <= 1, note)


def _kept(
    found: dict[str, tuple[int, int, int]], rounds: int, refused: Counter[str]
) -> Iterator[Row]:
    """What is lost, doubled and refused."""
    sent = {"sungrow": HOMES * rounds * ROUND_S // 5, "p1": HOMES * rounds * ROUND_S}
    lost = sum(sent[kind] - found[kind][1] for kind in sent)
    doubled = sum(found[kind][0] - found[kind][1] for kind in sent)
    devices = sum(of_kind[2] for of_kind in found.values())
    note = f"{sum(sent.values())} confirmed, of {devices} devices"
    yield Row("samples lost", "all confirmed", lost, lost, lost, "0", not lost, note)
    yield Row("samples doubled", "all confirmed", doubled, doubled, doubled, "0", not doubled)
    failed = sum(refused.values())
    note = ", ".join(f"{count} x {status}" for status, count in refused.items()) or "none"
    yield Row("answers other than 200", "none", failed, failed, failed, "told", True, note)
