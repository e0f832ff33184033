"""How many homes a machine carries: inverter every 5 s, meter every second, sent every 10 s."""

import os
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg2

from benchmarks import Row, _cost, _stacks
from benchmarks._load import inverter_sample, meter_sample, seconds_now, send_all
from benchmarks._stacks import Stack
from edge_agent.shared.samples import KINDS
from tests.support.servers import Api

NAME = "Homes on one machine"
HOMES, CONNECTIONS, CYCLES = 64, 8, 6
TOKENS = ",".join(f"i{home}:inverter-{home},m{home}:meter-{home}:p1" for home in range(HOMES))
CYCLE_S = 10
DAY_S = 86_400
TARGET = 2000  # homes
GAIN = 1.6  # over the version before


def run(rounds: int, before: Path | None = None) -> list[Row]:
    """Live cycles of a number of homes, as fast as they are taken."""
    begin = seconds_now() - rounds * CYCLES * CYCLE_S
    seconds: dict[str, list[float]] = {}
    cpu_s: dict[str, list[float]] = {}
    with ExitStack() as stack:
        ours, api = stack.enter_context(_stacks.ours(TOKENS))
        stacks = [ours]
        if before:
            stacks.append(
                stack.enter_context(_stacks.ours(TOKENS, before, "the version before"))[0]
            )
        for number in range(rounds + 1):
            for one in stacks:
                lanes = cycles(one, begin + number * CYCLES * CYCLE_S)
                used, start = sum(one.cpu_s().values()), time.perf_counter()
                send_all(one.url, lanes)
                if number:
                    seconds.setdefault(one.name, []).append((time.perf_counter() - start) / CYCLES)
                    each = (sum(one.cpu_s().values()) - used) / CYCLES
                    cpu_s.setdefault(one.name, []).append(each)
        rows = [_row(sorted(seconds[ours.name]), cpu_s[ours.name], api, rounds + 1)]
        if before:
            rows.append(_gain("homes by wall time", *seconds.values(), "told"))
            rows.append(_gain("homes by the servers' CPU", *cpu_s.values(), f">= {GAIN} x"))
        return rows


def cycles(stack: Stack, first: int) -> list[list[bytes]]:
    """What the homes send in some cycles, over a few kept connections as those of a proxy."""
    requests = []
    for start in range(first, first + CYCLES * CYCLE_S, CYCLE_S):
        for home in range(HOMES):
            inverter = [inverter_sample(f"inverter-{home}", start + t) for t in (0, 5)]
            meter = [meter_sample(f"meter-{home}", start + t) for t in range(CYCLE_S)]
            requests.append(stack.request(f"i{home}", inverter))
            requests.append(stack.request(f"m{home}", meter))
    return [requests[number::CONNECTIONS] for number in range(CONNECTIONS)]


def _row(seconds: list[float], cpu_s: list[float], api: Api, rounds: int) -> Row:
    ratios = [HOMES * CYCLE_S / each for each in reversed(seconds)]
    cores = os.cpu_count() or 1
    by_cpu = HOMES * CYCLE_S * cores / statistics.median(cpu_s)
    stored = stored_bytes(api.env["DATABASE_URL"])
    day = stored / (HOMES * CYCLES * CYCLE_S * rounds) * DAY_S / 2**20
    memory = max(map(_cost.resident_mb, api.worker_pids()))
    note = (
        f"load on the same {cores} cores; by the servers' CPU alone {by_cpu:.0f} homes; "
        f"{memory:.0f} MB a worker, {2 * 8} database connections, "
        f"{day:.1f} MB a home and day uncompressed"
    )
    ratio = statistics.median(ratios)
    target = f">= {TARGET} homes"
    return Row(NAME, "one home", ratio, ratios[0], ratios[-1], target, ratio >= TARGET, note)


def _gain(what: str, ours: Sequence[float], others: Sequence[float], target: str) -> Row:
    each = sorted(other / our for our, other in zip(ours, others, strict=True))
    ratio = statistics.median(each)
    met = target == "told" or ratio >= GAIN
    return Row(what, "the version before", ratio, each[0], each[-1], target, met)


def stored_bytes(url: str) -> int:
    """What the samples take, with their indexes."""
    sizes = (f"pg_total_relation_size('{kind}_samples')" for kind in KINDS)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {' + '.join(sizes)}")
        return cursor.fetchone()[0]
