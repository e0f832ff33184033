"""How long an ingest of a fleet waits at most of the load it can bear, and a worker's memory."""

import statistics
import time

from benchmarks import Row, _cost, _stacks
from benchmarks._load import seconds_now, send_all, send_paced
from benchmarks.fleet import CONNECTIONS, TOKENS, live
from tests.support.servers import Api

NAME = "Ingest from a fleet, waiting for an answer"
PACE, BATCHES = 0.8, 4  # of the most that it takes, and so many of each device a round
MAX_WAIT_S, MAX_MEMORY_MB = 0.1, 50


def run(rounds: int) -> list[Row]:
    """Each round finds the rate that it takes just then, and sends at a part of it."""
    waits, rates = [], []
    begin = seconds_now() - 12 * (BATCHES + 1) * (rounds + 1)
    with _stacks.ours(TOKENS) as (ours, api):
        for number in range(rounds + 1):
            firsts = [begin + 12 * (number * (BATCHES + 1) + n) for n in range(BATCHES + 1)]
            full = live(ours, firsts[0])
            start = time.perf_counter()
            send_all(ours.url, full)
            rate = sum(map(len, full)) / (time.perf_counter() - start)
            batches = zip(*(live(ours, first) for first in firsts[1:]), strict=True)
            lanes = [[one for lane in lanes for one in lane] for lanes in batches]
            each = sorted(send_paced(ours.url, lanes, PACE * rate))
            if number:
                rates.append(PACE * rate)
                waits.append((each[int(len(each) * 0.99)], statistics.median(each)))
        return [_wait(waits, rates), _memory(api)]


def _wait(waits: list[tuple[float, float]], rates: list[float]) -> Row:
    ratios = sorted(p99 / MAX_WAIT_S for p99, _ in waits)
    ratio = statistics.median(ratios)
    middle = statistics.median(median for _, median in waits)
    what = f"p99 of an ingest of 12, {CONNECTIONS} connections, {PACE:.0%} of the load"
    note = f"{statistics.median(rates):.0f} requests/s; median {1000 * middle:.0f} ms"
    return Row(what, "100 ms", ratio, ratios[0], ratios[-1], "<= 1 x", ratio <= 1, note)


def _memory(api: Api) -> Row:
    each = sorted(_cost.resident_mb(pid) / MAX_MEMORY_MB for pid in api.worker_pids())
    note = f"{each[-1] * MAX_MEMORY_MB:.0f} MB"
    what = "resident memory of a worker after it"
    return Row(what, "50 MB", each[-1], each[0], each[-1], "<= 1 x", each[-1] <= 1, note)
