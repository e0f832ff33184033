"""Open pages beside the ingest of a thousand homes: what they take of the processors, in turn with
the same ingest alone."""

import os
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks import Row
from benchmarks._load import (
    body,
    inverter_sample,
    meter_sample,
    request,
    seconds_now,
    send_paced,
)

HOMES, CYCLE_S, LANES = 1000, 10, 8  # each home sends every cycle, over connections of a proxy
OPEN, LIVE_S, TODAY_S, LOOKS = 100, 5, 60, 4
SHARE = 0.05
TOKENS = ",".join(f"i{home}:inverter-{home},m{home}:meter-{home}:p1" for home in range(HOMES))


class Cycle(NamedTuple):
    """What the servers' processors did, in seconds, and how long each ingest took."""

    cpu_s: float
    waits_s: list[float]


def measure(url: str, cookie: str, cpu_s: Callable[[], float], rounds: int) -> Row:
    """Cycles with and without so many open pages, in turn; `cpu_s` is of all servers.

    All pages show the house of `roof` and `meter`, which sends twice a cycle.
    """
    begin = seconds_now() - (2 * rounds + 2) * CYCLE_S
    starts = iter(range(begin, begin + (2 * rounds + 1) * CYCLE_S, CYCLE_S))
    pages = list(_pages(cookie))

    def run(with_pages: bool) -> Cycle:
        sent = _sent(next(starts))
        before = cpu_s()
        with ThreadPoolExecutor(2) as threads:
            ingest = threads.submit(send_paced, url, _deal(sent, LANES), len(sent) / CYCLE_S)
            if with_pages:
                threads.submit(send_paced, url, _deal(pages, LOOKS), len(pages) / CYCLE_S).result()
            waits_s = ingest.result()
        return Cycle(cpu_s() - before, waits_s)

    run(with_pages=False)  # a warm-up
    pairs = [(run(with_pages=False), run(with_pages=True)) for _ in range(rounds)]
    return _row(pairs, len(pages))


def _row(pairs: list[tuple[Cycle, Cycle]], pages: int) -> Row:
    cores = os.cpu_count() or 1
    more_s = [beside.cpu_s - alone.cpu_s for alone, beside in pairs]
    shares = sorted(max(one, 1e-3) / CYCLE_S / cores for one in more_s)
    share = statistics.median(shares)
    alone_s = statistics.median(alone.cpu_s for alone, _ in pairs)
    medians = [
        1000 * statistics.median(statistics.median(pair[place].waits_s) for pair in pairs)
        for place in (0, 1)
    ]
    note = (
        f"{share:.1%}: {1000 * statistics.median(more_s) / pages:.1f} ms of processor a look, "
        f"{pages / CYCLE_S:.0f} a second; the ingest of {HOMES} homes takes "
        f"{alone_s / CYCLE_S / cores:.0%}, all of it is taken with the pages too, "
        f"median {medians[0]:.1f} ms without them, {medians[1]:.1f} ms beside them"
    )
    what, limit = f"{OPEN} open pages beside the ingest of {HOMES} homes", f"{SHARE:.0%}"
    ratios = [SHARE / one for one in reversed(shares)]
    against = f"{limit} of {cores} cores"
    ratio = SHARE / share
    return Row(what, against, ratio, ratios[0], ratios[-1], ">= 1 x", share <= SHARE, note)


def _sent(start: int) -> list[bytes]:
    """What the homes send in a cycle, samples of an inverter every 5 s and of a meter every second,
    and the house that the pages show."""
    made = []
    for home in range(HOMES):
        inverter = [inverter_sample(f"inverter-{home}", start + t) for t in (0, 5)]
        meter = [meter_sample(f"meter-{home}", start + t) for t in range(CYCLE_S)]
        made += [(f"i{home}", inverter), (f"m{home}", meter)]
        if home % (HOMES // 2) == 0:
            second = seconds_now() - (LIVE_S if home == 0 else 0)
            made.append(("roof", [inverter_sample("roof", second)]))
            made.append(("meter", [meter_sample("meter", second)]))
    return [request("/v1/ingest", token, body(samples)) for token, samples in made]


def _pages(cookie: str) -> Iterator[bytes]:
    """What the pages ask for in a cycle."""
    for number in range(OPEN * CYCLE_S // LIVE_S):
        yield _look("/ui/live", cookie)
        if number % (TODAY_S // LIVE_S) == 0:
            yield _look("/ui/today", cookie)


def _look(path: str, cookie: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nCookie: {cookie}\r\n\r\n".encode()


def _deal(requests: list[bytes], lanes: int) -> list[list[bytes]]:
    return [requests[number::lanes] for number in range(lanes)]
