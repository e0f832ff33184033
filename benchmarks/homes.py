"""How many homes a machine carries: inverter every 5 s, meter every second, sent every 10 s."""

import os
import time
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg2

from benchmarks import Row
from benchmarks._load import body, inverter_sample, meter_sample, post_all
from benchmarks._site import Site, site
from edge_agent.shared.samples import KINDS
from tests.support.servers import Api
from tests.support.servers.process import children

NAME = "Homes on one machine"
HOMES, CONNECTIONS, CYCLES = 64, 8, 6
CYCLE_S = 10
DAY_S = 86_400
TARGET = 2000  # homes


def run(rounds: int) -> list[Row]:
    """Live cycles of a number of homes, as fast as they are taken."""
    started = count()
    seconds, cpu = [], []
    with site() as place:
        place.env["DEVICE_TOKENS"] = ",".join(
            f"i{home}:inverter-{home},m{home}:meter-{home}:p1" for home in range(HOMES)
        )
        with Api(place.folder / "api", place.env) as api:
            for number in range(rounds + 1):
                work = _cycles(next(started) * CYCLES)
                before, start = _cpu_s(place, api), time.perf_counter()
                post_all(api.url, work, CONNECTIONS)
                if number:
                    seconds.append((time.perf_counter() - start) / CYCLES)
                    cpu.append((_cpu_s(place, api) - before) / CYCLES)
            return [_row(sorted(seconds), sorted(cpu), place, api, rounds + 1)]


def _cycles(first: int) -> list[tuple[str, list[bytes]]]:
    """What the homes send in some cycles."""
    work = []
    for home in range(HOMES):
        starts = [(first + cycle) * CYCLE_S for cycle in range(CYCLES)]
        inverter, meter = f"inverter-{home}", f"meter-{home}"
        batches = [[inverter_sample(inverter, s + t) for t in (0, 5)] for s in starts]
        work.append((f"i{home}", [body(batch) for batch in batches]))
        batches = [[meter_sample(meter, s + t) for t in range(CYCLE_S)] for s in starts]
        work.append((f"m{home}", [body(batch) for batch in batches]))
    return work


def _row(seconds: list[float], cpu: list[float], place: Site, api: Api, rounds: int) -> Row:
    ratios = [HOMES * CYCLE_S / each for each in reversed(seconds)]
    middle = len(seconds) // 2
    cores = os.cpu_count() or 1
    by_cpu = HOMES * CYCLE_S * cores / cpu[middle]
    day = _stored_bytes(place.url) / (HOMES * CYCLES * CYCLE_S * rounds) * DAY_S / 2**20
    memory = [_resident_mb(pid) for pid in api.worker_pids()]
    note = (
        f"load on the same {cores} cores; by the servers' CPU alone {by_cpu:.0f} homes; "
        f"{max(memory):.0f} MB a worker, {2 * 8} database connections, "
        f"{day:.1f} MB a home and day uncompressed"
    )
    ratio = ratios[middle]
    target = f">= {TARGET} homes"
    return Row(NAME, "one home", ratio, ratios[0], ratios[-1], target, ratio >= TARGET, note)


def _cpu_s(place: Site, api: Api) -> float:
    """Processor time of the API, PostgreSQL and Redis so far, in seconds."""
    pids = [api.pid, *api.worker_pids(), place.redis.pid, place.postgres.pid]
    return sum(map(_ticks, [*pids, *children(place.postgres.pid)])) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _stored_bytes(url: str) -> int:
    sizes = (f"pg_total_relation_size('{kind}_samples')" for kind in KINDS)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {' + '.join(sizes)}")
        return cursor.fetchone()[0]


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
