"""What a home's day costs on PostgreSQL alone: bytes on disk, WAL, processor time, and keeping it.

An inverter every 5 s and a meter every second, sent in batches of 12; then a day in batches of 500.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psycopg2

from api_server.data import refresh
from benchmarks import Row, _cost, _stacks
from benchmarks._load import inverter_sample, meter_sample, seconds_now, send_all
from benchmarks._stacks import Stack

NAME = "A home's day on PostgreSQL alone"
TOKENS = "roof:roof,meter:meter:p1"
DAY_S = 86_400
BATCHES = (12, 500)
PIECE_S = 7200  # so long is sent to the one, then to the other
SAMPLES = DAY_S + DAY_S // 5
WAL_LIMIT, BYTES_LIMIT, CPU_LIMIT, REFRESH_LIMIT_S = 420, 0.85, 0.95, 120
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
_SIZES = """
SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
WHERE relkind = 'r' AND relname ~ '^(sungrow|p1|rollup)_' ORDER BY 1
"""


@dataclass
class Cost:
    """What one version took for what it was sent."""

    stack: Stack
    url: str
    wal_bytes: int = 0
    cpu_s: float = 0.0

    def ask(self, query: str) -> list[tuple]:
        """The rows of a query."""
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()


def run(rounds: int, before: Path | None = None) -> list[Row]:
    """A day in each size of batches, piece by piece in turn; rounds do not matter here."""
    with ExitStack() as stack:
        new = stack.enter_context(_stacks.ours(TOKENS, limited=False))
        costs = [Cost(new[0], new[1].env["DATABASE_URL"])]
        if before:
            old = stack.enter_context(
                _stacks.ours(TOKENS, before, "the version before", limited=False)
            )
            costs.append(Cost(old[0], old[1].env["DATABASE_URL"]))
        rows = []
        for number, batch in enumerate(reversed(BATCHES)):
            end = seconds_now() // DAY_S * DAY_S - number * DAY_S
            for cost in costs:
                cost.wal_bytes, cost.cpu_s = 0, 0.0
            for start in range(end - DAY_S, end, PIECE_S):
                for cost in costs:
                    _send(cost, start, batch)
            rows += _ingest(batch, costs)
        return [*rows, _refresh(costs[0]), *_sizes(costs)]


def _send(cost: Cost, start: int, batch: int) -> None:
    requests = list(_requests(cost.stack, start, batch))
    [(wal,)] = cost.ask(_WAL)
    used = sum(cost.stack.cpu_s().values())
    send_all(cost.stack.url, [requests])
    cost.cpu_s += sum(cost.stack.cpu_s().values()) - used
    cost.wal_bytes += cost.ask(_WAL)[0][0] - wal


def _requests(stack: Stack, start: int, batch: int) -> Iterator[bytes]:
    for device, make, step in (("roof", inverter_sample, 5), ("meter", meter_sample, 1)):
        for first in range(start, start + PIECE_S, batch * step):
            seconds = range(first, min(first + batch * step, start + PIECE_S), step)
            yield stack.request(device, [make(device, second) for second in seconds])


def _ingest(batch: int, costs: list[Cost]) -> Iterator[Row]:
    wal = [cost.wal_bytes / SAMPLES for cost in costs]
    before = f", before {wal[1]:.0f} B" if len(costs) > 1 else ""
    yield Row(
        what=f"WAL of a sample, batches of {batch}",
        against=f"{WAL_LIMIT} B",
        ratio=wal[0] / WAL_LIMIT,
        low=wal[0] / WAL_LIMIT,
        high=wal[0] / WAL_LIMIT,
        target="<= 1 x",
        met=wal[0] <= WAL_LIMIT,
        note=f"{wal[0]:.0f} B{before}; with the images of pages after a checkpoint",
    )
    if len(costs) > 1:
        ratio = costs[1].cpu_s / costs[0].cpu_s
        yield Row(
            what=f"ingest in batches of {batch}, CPU of all servers",
            against="the version before",
            ratio=ratio,
            low=ratio,
            high=ratio,
            target=f">= {CPU_LIMIT} x",
            met=ratio >= CPU_LIMIT,
            note=f"{costs[0].cpu_s:.1f} s a day, before {costs[1].cpu_s:.1f} s",
        )


def _refresh(cost: Cost) -> Row:
    """What keeping both days took, as one core would take it for a day of 1000 homes."""
    used = _cost.tree_s(cost.stack.roots["PostgreSQL"])
    with closing(psycopg2.connect(cost.url)) as connection:
        connection.autocommit = True
        refresh.refresh(connection)
        spent = _cost.tree_s(cost.stack.roots["PostgreSQL"]) - used
    seconds = spent / len(BATCHES) * 1000
    return Row(
        what="keeping one day of 1000 homes",
        against=f"{REFRESH_LIMIT_S} s of one core",
        ratio=seconds / REFRESH_LIMIT_S,
        low=seconds / REFRESH_LIMIT_S,
        high=seconds / REFRESH_LIMIT_S,
        target="<= 1 x",
        met=seconds <= REFRESH_LIMIT_S,
        note=f"{seconds:.0f} s, from {len(BATCHES)} days of one home",
    )


def _sizes(costs: list[Cost]) -> Iterator[Row]:
    sizes = [cost.ask(_SIZES) for cost in costs]
    days = [sum(chain(*(row[1:] for row in rows))) / len(BATCHES) for rows in sizes]
    note = "; ".join(
        f"{name} {table / 2**20:.1f} + {index / 2**20:.1f}"
        for name, table, index in sizes[0]
        if table + index > 2**18
    )
    against = days[-1] if len(costs) > 1 else days[0]
    met = len(costs) == 1 or days[0] <= BYTES_LIMIT * against
    yield Row(
        what="bytes of a home and day, rollups included",
        against="the version before" if len(costs) > 1 else "itself",
        ratio=days[0] / against,
        low=days[0] / against,
        high=days[0] / against,
        target=f"<= {BYTES_LIMIT} x",
        met=met,
        note=f"{days[0] / 2**20:.1f} MB, against {against / 2**20:.1f} MB; two days in MB, table"
        f" + indexes: {note}",
    )
