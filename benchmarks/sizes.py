"""What fleets of homes need, computed from what a few homes cost on this machine."""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from benchmarks import Row, _cost, _stacks, homes
from benchmarks._load import Connection, inverter_sample, meter_sample, seconds_now, send_all
from benchmarks._stacks import Stack
from tests.support.servers import ROOT, Api, ServerFailed

NAME = "What fleets need"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
BUSY = 0.7  # of each core, at most: the rest is for the hour when all spools come at once
CORES, DISK_TB = 32, 16  # of the largest machine that is counted on
READS = 100  # of a day's chart, for each home and day
KEPT_DAYS = (365, 40)  # of samples, not compressed; 40 is the least that may be set
DEVICES_A_HOME = 2
HOT_S = 1200  # of samples are read again by the next refresh of the rollups, from memory
TOKENS_MB = 12 / 50_000  # of a process, for each device
DAY_S, DAY = homes.DAY_S, timedelta(days=1)
PARTS = ("API", "PostgreSQL", "coordinator", "workers")


@dataclass(frozen=True)
class Cost:
    """Of one home: cores of each part, bytes of a day; MB of a process of the API."""

    cores: dict[str, float]
    day_bytes: float = 0
    read_cores: float = 0
    process_mb: float = 0


def run(_rounds: int) -> list[Row]:
    """What each step carries, and one row for each size of a fleet; once, whatever the rounds."""
    with _stacks.ours(homes.TOKENS) as (stack, api):
        cores = _live(stack)
        day_bytes = _day(stack, api)
        refresh, read = _looks(stack, api)
        cores["PostgreSQL"] += refresh
        memory = max(map(_cost.resident_mb, api.worker_pids()))
        alone = Cost(cores, day_bytes, read, memory)
    try:
        with _stacks.citus(homes.TOKENS) as (stack, _):
            spread = _live(stack)
    except ServerFailed:  # no Citus here
        spread = {}
    return [_steps(alone, spread), *(_row(size, alone, spread) for size in SIZES)]


def _live(stack: Stack) -> dict[str, float]:
    """Cores of each part for one home that sends every ten seconds, after a cycle for nothing."""
    length = homes.CYCLES * homes.CYCLE_S
    begin = seconds_now() - 3 * length
    send_all(stack.url, homes.cycles(stack, begin))
    before = stack.cpu_s()
    for first in (begin + length, begin + 2 * length):
        send_all(stack.url, homes.cycles(stack, first))
    found = dict.fromkeys(PARTS, 0.0)
    for part, cpu_s in stack.cpu_s().items():
        name = {"Redis": "API", "worker 1": "workers", "worker 2": "workers"}.get(part, part)
        found[name] += (cpu_s - before[part]) / (2 * length * homes.HOMES)
    return found


def _day(stack: Stack, api: Api) -> float:
    """Send the day before of one home; the bytes of it, with its indexes."""
    before = homes.stored_bytes(api.env["DATABASE_URL"])
    first = (seconds_now() - DAY_S) // DAY_S * DAY_S
    requests = []
    for start in range(first, first + DAY_S, 500):
        times = range(start, min(start + 500, first + DAY_S))
        requests.append(stack.request("m0", [meter_sample("meter-0", t) for t in times]))
        inverter = [inverter_sample("inverter-0", t) for t in times if t % 5 == 0]
        requests.append(stack.request("i0", inverter))
    send_all(stack.url, [requests[number::8] for number in range(8)])
    return homes.stored_bytes(api.env["DATABASE_URL"]) - before


def _looks(stack: Stack, api: Api) -> tuple[float, float]:
    """Cores of the database for one home: to keep its rollups, and to have its day looked at."""
    before = stack.cpu_s()["PostgreSQL"]
    environ = {**os.environ, "DATABASE_URL": api.env["DATABASE_URL"]}
    command = [sys.executable, "-m", "api_server.rollups"]
    subprocess.run(command, cwd=ROOT, env=environ, check=True)
    kept = stack.cpu_s()["PostgreSQL"]
    connection, yesterday = Connection(stack.url, "m0"), datetime.now(UTC).date() - DAY
    for _ in range(READS):
        connection.get(f"/v1/series?device_id=meter-0&frame=day&date={yesterday}")
    connection.http.close()
    return (kept - before) / DAY_S, (stack.cpu_s()["PostgreSQL"] - kept) / DAY_S


def _steps(alone: Cost, spread: dict[str, float]) -> Row:
    """How many homes each step carries, each machine being as large as is counted on."""
    api, database = alone.cores["API"], alone.cores["PostgreSQL"]
    usable = CORES * BUSY
    homes_gb = {days: DISK_TB * 1000 / (days * alone.day_bytes / 1e9) for days in KEPT_DAYS}
    said = [
        f"one machine {_round(usable / (api + database + alone.read_cores))}",
        f"the API elsewhere {_round(usable / (database + alone.read_cores))}",
        f"reads by a replica {_round(usable / database)}",
        *(f"its disk with {days} days {_round(number)}" for days, number in homes_gb.items()),
    ]
    if spread:
        said += [
            f"a Citus coordinator {_round(usable / spread['coordinator'])}",
            f"a worker {_round(usable / spread['workers'])}",
        ]
    most = usable / (api + database + alone.read_cores)
    note = f"homes, sending every {homes.CYCLE_S} s: {', '.join(said)}"
    what = f"steps, of machines with {CORES} cores and {DISK_TB} TB"
    return Row(what, "1,000 homes", most / 1000, most / 1000, most / 1000, "told", True, note)


def _round(number: float) -> str:
    """Two digits are known of it."""
    return f"{float(f'{number:.2g}'):,.0f}"


def _row(size: int, alone: Cost, spread: dict[str, float]) -> Row:
    """What a fleet needs in all, however it is spread."""
    api, database = (size * alone.cores[part] / BUSY for part in ("API", "PostgreSQL"))
    reads = size * alone.read_cores / BUSY
    day_gb = size * alone.day_bytes / 1e9
    tokens_mb = DEVICES_A_HOME * size * TOKENS_MB
    memory_gb = ceil(api) * (alone.process_mb + tokens_mb) / 1000 + day_gb * HOT_S / homes.DAY_S
    kept = ", ".join(f"{day_gb * days / 1000:.1f} TB with {days} days" for days in KEPT_DAYS)
    note = (
        f"cores: API {api:.1f} ({ceil(api)} processes), PostgreSQL {database:.1f}, its reads"
        f" {reads:.1f}; memory {memory_gb:.1f} GB; disk {day_gb:.0f} GB a day, {kept}"
    )
    if spread:
        cores = (size * spread[part] / BUSY for part in ("API", "coordinator", "workers"))
        note += "; on Citus: API {:.1f} cores, coordinator {:.1f}, workers {:.1f}".format(*cores)
    ratio = (api + database + reads) / CORES
    against = f"{CORES} cores, {BUSY:.0%} busy"
    return Row(f"{size:,} homes", against, ratio, ratio, ratio, "told", True, note)
