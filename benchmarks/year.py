"""A home's first year on disk: a week of a simulated one, on TimescaleDB Community and InfluxDB.

An inverter every 5 s and a meter every second, with every field that an agent sends.
"""

import io
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks import Row, _stacks
from benchmarks._load import send_all
from benchmarks._site import site
from edge_agent.shared.samples import KINDS
from tests.simulators.house import House
from tests.simulators.year import inverter_samples, meter_samples
from tests.support.history import copy
from tests.support.servers import wait_until

NAME = "A home's first year on disk"
START, DAYS = datetime(2026, 4, 2, tzinfo=UTC), 7  # a Thursday: a chunk begins
YEAR_DAYS = 365
# A chunk of seven days is compressed when its last day is a week old.
UNCOMPRESSED_DAYS = 7 + 7 / 2
BATCH = 5000
LIMIT = 0.85
_SIZE = """
SELECT sum(hypertable_size(format('%I.%I', place, name)::regclass)) FROM (
    SELECT hypertable_schema, hypertable_name FROM timescaledb_information.hypertables
    UNION ALL SELECT materialization_hypertable_schema, materialization_hypertable_name
    FROM timescaledb_information.continuous_aggregates
) AS kept (place, name)
"""


def run(rounds: int) -> list[Row]:
    """Bytes of a year, and their ratio to InfluxDB's; rounds do not matter here."""
    with site("community") as place, _stacks.influxdb(compact=True) as influxdb:
        for kind, samples in _week():
            for batch in iter(lambda rest=samples: list(islice(rest, BATCH)), []):
                _copy(place.url, kind, batch)
                if influxdb:
                    send_all(influxdb.url, [[influxdb.request("", batch)]])
        plain, compressed = _sizes(place.url)
        ours = UNCOMPRESSED_DAYS * plain + (YEAR_DAYS - UNCOMPRESSED_DAYS) * compressed
        note = f"{plain / 2**20:.1f} MB a day before compression, {compressed / 2**20:.2f} MB after"
        if not influxdb:
            return [Row(NAME, "InfluxDB", 0, 0, 0, "told", True, note + "; no influxd here")]
        theirs = YEAR_DAYS * _settled(influxdb.folder) / DAYS
        ratio = ours / theirs
        note = f"{ours / 2**20:.0f} MB ({note}), {influxdb.name} {theirs / 2**20:.0f} MB"
        target = f"<= {LIMIT} x"
        return [Row(NAME, influxdb.name, ratio, ratio, ratio, target, ratio <= LIMIT, note)]


def _week() -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    house, end = House(), START + timedelta(days=DAYS)
    yield "sungrow", inverter_samples(house, "roof", START, end, timedelta(seconds=5))
    yield "p1", meter_samples(house, "meter", START, end, timedelta(seconds=1))


def _copy(url: str, kind: str, samples: list[dict[str, Any]]) -> None:
    columns = KINDS[kind].columns
    lines = (
        "\t".join("\\N" if row.get(name) is None else str(row[name]) for name in columns)
        for row in ({"sample_count": 1, **sample} for sample in samples)
    )
    statement = f"COPY {kind}_samples ({', '.join(columns)}) FROM STDIN"
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        copy(cursor, statement, io.StringIO("\n".join(lines) + "\n"))


def _sizes(url: str) -> list[float]:
    """Bytes a day with the rollups, before and after the policies' compression."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for level in ("quarter_hourly", "hourly", "daily", "monthly"):
            for kind in KINDS:
                cursor.execute(f"CALL refresh_continuous_aggregate('{kind}_{level}', NULL, NULL)")
        sizes = []
        for query in ("SELECT", "SELECT compress_chunk(show_chunks(%s))"):
            for kind in KINDS:
                cursor.execute(query, (f"{kind}_samples",) if "%s" in query else None)
            cursor.execute(_SIZE)
            sizes.append(float(cursor.fetchone()[0]) / DAYS)
        return sizes


def _settled(folder: Path) -> int:
    """The bytes of a folder once they stay the same."""
    sizes = [-1, -2]

    def same() -> bool:
        files = [path for path in folder.rglob("*") if path.is_file()]
        sizes.append(sum(path.stat().st_size for path in files))
        return sizes[-400:].count(sizes[-1]) == 400  # 8 s

    wait_until(same, 300, "InfluxDB to compact")
    return sizes[-1]
