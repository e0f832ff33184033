"""Months of samples with everything that makes a history awkward; the same for the same seed."""

import csv
import io
import random
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import psycopg2
from psycopg2 import extensions

from api_server.data import samples
from api_server.data.database import Store
from edge_agent.shared.samples import KINDS


def make(kind: str, device: str, start: datetime, days: int, seed: int) -> list[dict[str, Any]]:
    """Samples every 1 to 15 minutes: gaps, nulls, a counter's swap, glitches, late arrivals last.

    Some of them come twice, the second time with other values.
    """
    chance = random.Random(seed)
    end = start + timedelta(days=days)
    gaps = [
        (start + days * share * timedelta(days=1), timedelta(hours=hours))
        for share, hours in ((0.1, 0.4), (0.15, 5), (0.31, 31), (0.5, 24 * 20), (0.83, 24 * 3))
    ]
    counters = {name: chance.uniform(0, 9000) for name in KINDS[kind].counters}
    swap = start + timedelta(days=days * 0.4, minutes=7)
    made, at, pace = [], start + timedelta(minutes=3), 60.0
    while at < end:
        if chance.random() < 0.01:
            pace = chance.choice((60, 600, 600, 900))
        before, at = at, at + timedelta(seconds=pace * chance.uniform(0.7, 1.3))
        for begin, length in gaps:
            if begin < at < begin + length:
                at = begin + length
        hours = (at - before) / timedelta(hours=1)
        for number, name in enumerate(counters):
            counters[name] += hours * chance.uniform(0, 3) * (number != 1 or chance.random() < 0.5)
        if before < swap <= at:
            counters[next(iter(counters))] = 1.5
        sample = _sungrow(chance) if kind == "sungrow" else _p1(chance)
        step = 1 if kind == "sungrow" else 3
        for name, value in counters.items():
            sample[name] = None if chance.random() < 0.02 else round(value, step)
        _confuse(sample, kind, (at - start) / (end - start), chance)
        made.append({"device_id": device, "ts": at, **sample})
    made += [
        {**sample, "ts": sample["ts"], next(iter(counters)): 1.0}
        for sample in chance.sample(made, 20)
    ]
    stretches = set(chance.sample(range(100), 10))
    late = [number for number in range(len(made)) if number * 100 // len(made) in stretches]
    arrived = set(range(len(made))) - set(late)
    return [made[number] for number in (*sorted(arrived), *sorted(late))]


def _sungrow(chance: random.Random) -> dict[str, Any]:
    maybe = chance.random() > 0.05
    return {
        "pv_power_w": round(chance.uniform(0, 5000), 1),
        "battery_power_w": round(chance.uniform(-3000, 3000), 1) if maybe else None,
        "battery_soc_pct": round(chance.uniform(5, 100), 1) if chance.random() > 0.2 else None,
        "load_power_w": round(chance.uniform(-50, 9000), 1) if chance.random() > 0.1 else None,
        "export_power_w": round(chance.uniform(-6000, 5000), 1) if maybe else None,
        "sample_count": chance.randint(1, 12),
    }


def _p1(chance: random.Random) -> dict[str, Any]:
    power = chance.randint(-6000, 9000)
    return {"power_w": power, "import_power_w": max(power, 0)}


def _confuse(sample: dict[str, Any], kind: str, share: float, chance: random.Random) -> None:
    """What counters do: glitches up and down, weeks without one, one that is never known."""
    names = KINDS[kind].counters
    if chance.random() < 0.0005:
        sample[names[0]] = chance.choice((0.0, 9_999_999.0, 4_000.0))
    if 0.6 < share < 0.75:
        sample[names[1]] = None
    if kind == "sungrow":
        sample["discharge_total_kwh"] = None
        if share > 0.05:
            sample["charge_total_kwh"] = None


def insert(url: str, kind: str, made: list[dict[str, Any]]) -> None:
    """Load samples by COPY; what is known already stays."""
    names = [name for name in KINDS[kind].columns if name in made[0]]
    text = io.StringIO()
    csv.writer(text).writerows(
        [sample[name].astimezone(UTC) if name == "ts" else sample[name] for name in names]
        for sample in made
    )
    text.seek(0)
    listed = ", ".join(names)
    with psycopg2.connect(url) as conn, conn.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE new (LIKE {kind}_samples INCLUDING DEFAULTS)")
        copy(cursor, f"COPY new ({listed}) FROM STDIN (FORMAT csv)", text)
        cursor.execute("SELECT to_regproc('rollup_marked') IS NOT NULL")
        if cursor.fetchone()[0]:  # not in version 1.0; from then on everybody who stores does so
            for device_id in {sample["device_id"] for sample in made}:
                cursor.execute("SELECT rollup_marked(%s, %s)", (kind, device_id))
        cursor.execute(
            f"INSERT INTO {kind}_samples SELECT * FROM new ORDER BY ctid ON CONFLICT DO NOTHING"
        )
    conn.close()


def copy(cursor: Any, statement: str, text: IO[str]) -> None:
    """Run a COPY, which psycopg2 refuses while a callback waits for the API in this process."""
    callback = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    try:
        cursor.copy_expert(statement, text)
    finally:
        extensions.set_wait_callback(callback)


def send(url: str, kind: str, made: list[dict[str, Any]], batch: int = 500) -> None:
    """Store samples of one device through the server's own code, which marks what is late."""
    store = Store(url)
    for at in range(0, len(made), batch):
        part = made[at : at + batch]
        columns = {name: [one.get(name) for one in part] for name in KINDS[kind].columns}
        for field in KINDS[kind].fields:
            if field.default is not None:
                columns[field.name] = [value or field.default for value in columns[field.name]]
        samples.insert(store, KINDS[kind], columns)
    store._drop()
