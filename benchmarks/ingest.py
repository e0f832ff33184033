"""Batches of 500 inverter samples over HTTP against the same rows without HTTP, and by COPY."""

import io
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import count
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from benchmarks import Laps, Row, interleave
from benchmarks._load import Connection, body, inverter_sample
from benchmarks._site import site
from edge_agent.shared.samples import SUNGROW, parse_time
from tests.support.servers import Api

NAME = "Ingest: batches of 500, one connection"
BATCH, BATCHES = 500, 20
NAMES = ", ".join(SUNGROW.columns)
INSERT = f"INSERT INTO sungrow_samples ({NAMES}) VALUES %s ON CONFLICT DO NOTHING"
REST = "only the rows' way into the tables is saved: JSON, checks and wire stay"
COPY = f"COPY sungrow_samples ({NAMES}) FROM STDIN"


def run(rounds: int) -> list[Row]:
    """Everything on: authentication, validation, durable commit, cache."""
    with site(limited=True) as place:
        place.env["DEVICE_TOKENS"] = "secret:inverter"
        with (
            Api(place.folder / "api", place.env) as api,
            closing(psycopg2.connect(place.url)) as database,
        ):
            connection = Connection(api.url, "secret")
            laps = _measure(rounds, connection, database)
    rate = BATCH * BATCHES / laps.median("http")
    note = f"{rate:.0f} samples/s, {1000 * laps.median('http') / BATCHES:.1f} ms a batch"
    return [
        _row(laps, "ingest over HTTP", "http", "execute_values", note),
        _row(laps, "ingest over HTTP", "http", "copy", note),
        _row(laps, "a batch that is there already", "again", "http", REST),
    ]


def _row(laps: Laps, what: str, ours: str, against: str, note: str) -> Row:
    ratio, low, high = laps.ratios(ours, against)
    name, target = {
        "execute_values": ("execute_values ... ON CONFLICT DO NOTHING", 1.2),
        "copy": ("COPY", 0.5),
        "http": ("its first insertion", 1.0),
    }[against]
    return Row(what, name, ratio, low, high, f">= {target} x", ratio >= target, note)


def _measure(rounds: int, connection: Connection, database: Any) -> Laps:
    """Every variant inserts rows of its own second, all into the same table."""
    cursor = database.cursor()
    first = count(0, BATCH * BATCHES)
    batches: list[list[dict]] = []
    bodies: list[bytes] = []
    rows: list[list[tuple]] = []

    def prepare() -> None:
        start = next(first)
        batches[:] = [
            [inverter_sample("inverter", second) for second in range(begin, begin + BATCH)]
            for begin in range(start, start + BATCH * BATCHES, BATCH)
        ]
        bodies[:] = map(body, batches)
        rows[:] = [list(_rows(batch)) for batch in batches]

    def http() -> None:
        for payload in bodies:
            connection.post(payload)
        sent[:] = bodies

    def again() -> None:
        for payload in sent:
            connection.post(payload)

    def values() -> None:
        for batch in rows:
            execute_values(cursor, INSERT, batch, page_size=BATCH)
            database.commit()

    def copy() -> None:
        for batch in rows:
            text = "\n".join("\t".join(map(_text, row)) for row in batch)
            copy(cursor, COPY, io.StringIO(text))
            database.commit()

    sent: list[bytes] = []
    variants = {"http": http, "again": again, "execute_values": values, "copy": copy}
    return interleave(rounds, variants, prepare)


def _rows(batch: list[dict]) -> Iterator[tuple]:
    for sample in batch:
        row = {"sample_count": 1, **sample, "ts": parse_time(sample["ts"])}
        yield tuple(row[name] for name in SUNGROW.columns)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "\\N" if value is None else str(value)
