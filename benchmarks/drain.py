"""A week's backlog of an inverter, from its spool over TLS into the database.

On TimescaleDB Community into chunks that were compressed long ago, with the week of a neighbour.
"""

import io
import time
from contextlib import closing
from itertools import count
from pathlib import Path

import psycopg2

from benchmarks import Laps, Row
from benchmarks._load import inverter_sample
from benchmarks._site import site
from edge_agent import config
from edge_agent.shared.samples import SUNGROW
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.queue import Spool
from edge_agent.spool.row import make_row
from edge_agent.upload.uploader import Uploader
from tests.support.history import copy
from tests.support.servers import Api, CertificateAuthority

NAME = "Drain of a week's backlog over TLS"
WEEK = 7 * 24 * 3600 // 5
TARGET_S, COMPRESSED_TARGET_S = 10.0, 15.0
DEVICE = "inverter-1"
_UNCOMPRESSED = """
SELECT count(*) FROM timescaledb_information.chunks
WHERE hypertable_name = 'sungrow_samples' AND NOT is_compressed
"""


def run(rounds: int) -> list[Row]:
    """Seconds to drain, and the ratio to COPY of the same rows."""
    return [
        _row(rounds, NAME, None, TARGET_S),
        _row(rounds, "the same into compressed chunks", "community", COMPRESSED_TARGET_S),
    ]


def _row(rounds: int, what: str, timescaledb: str | None, target_s: float) -> Row:
    laps = Laps({"drain": [], "copy": []})
    weeks = count()
    with site(timescaledb) as place:
        ca = CertificateAuthority(place.folder / "ca")
        place.env["DEVICE_TOKENS"] = f"secret:{DEVICE}"
        with Api(place.folder / "api", place.env, tls=ca.issue("api")) as api:
            for number in range(rounds + 1):
                week, other = next(weeks), next(weeks)
                if timescaledb:
                    _compress(place.url, week, other)
                drained = _drain(place.folder / f"spool-{number}.db", _week(week), api, ca)
                copied = _copy(place.url, _week(other))
                if number:
                    laps.seconds["drain"].append(drained)
                    laps.seconds["copy"].append(copied)
    ratio, low, high = laps.ratios("drain", "copy")
    drained = laps.median("drain")
    note = f"{drained:.1f} s for {WEEK} samples, {WEEK / drained:.0f} a second; COPY "
    note += f"{laps.median('copy'):.1f} s"
    target = f"<= {target_s:.0f} s on loopback"
    return Row(what, "COPY", ratio, low, high, target, drained <= target_s, note)


def _compress(url: str, *weeks: int) -> None:
    """Fill and compress the chunks of these weeks."""
    for week in weeks:
        _copy(url, _week(week, "neighbour"))
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT compress_chunk(show_chunks('sungrow_samples'), true)")
        cursor.execute(_UNCOMPRESSED)
        assert cursor.fetchone()[0] == 0


def _week(number: int, device_id: str = DEVICE) -> list[dict]:
    start = number * WEEK * 5 - 40_000_000
    return [inverter_sample(device_id, start + 5 * n) for n in range(WEEK)]


def _drain(path: Path, samples: list[dict], api: Api, ca: CertificateAuthority) -> float:
    _fill(path, samples)
    settings = config.load(
        {
            "SUNGROW_HOST": "127.0.0.1",
            "VPS_INGEST_URL": api.url,
            "VPS_DEVICE_TOKEN": "secret",
            "VPS_CA_FILE": str(ca.file),
            "DEVICE_ID": DEVICE,
            "SPOOL_PATH": str(path),
        }
    )
    spool = Spool(path)
    uploader = Uploader(settings, spool)
    start = time.perf_counter()
    while spool.status()["pending"]:
        if uploader.tick() and uploader.error:
            raise RuntimeError(uploader.error)
    elapsed = time.perf_counter() - start
    uploader.close()
    spool.close()
    return elapsed


def _fill(path: Path, samples: list[dict]) -> None:
    """Write a spool in large transactions: how it was filled is not what is measured."""
    file = SpoolFile(path, 1024)
    for first in range(0, len(samples), 5000):
        file.insert([make_row(None, sample, "", 0.0) for sample in samples[first : first + 5000]])
    file.close()


def _copy(url: str, samples: list[dict]) -> float:
    """Seconds that COPY takes for the same rows, from memory."""
    columns = SUNGROW.columns
    lines = (
        "\t".join("\\N" if row.get(name) is None else str(row[name]) for name in columns)
        for row in ({"sample_count": 1, **sample} for sample in samples)
    )
    text = io.StringIO("\n".join(lines) + "\n")
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        start = time.perf_counter()
        copy(cursor, f"COPY sungrow_samples ({', '.join(columns)}) FROM STDIN", text)
        connection.commit()
        return time.perf_counter() - start
