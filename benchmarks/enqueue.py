"""What a durable reading costs on the Pi's disk: time against plain SQLite, and bytes written."""

import json
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks import Row, interleave
from edge_agent.spool.queue import Spool
from tests.support.readings import reading

NAME = "Spool: durable readings"
READINGS = 500  # per round
LAPS = 10  # a round is cut up, so that a neighbour's writes do not meet one queue only
READINGS_A_YEAR = 365 * 24 * 3600 // 5
SECTOR = 512


def run(rounds: int) -> list[Row]:
    """Measure the rate of enqueueing and the bytes that reach the disk per reading."""
    with tempfile.TemporaryDirectory() as folder:
        rate = _rate(rounds, Path(folder))
    with tempfile.TemporaryDirectory() as folder, _own_disk(Path(folder)) as (disk, written):
        return [rate, _bytes(rounds, disk, written)]


def _rate(rounds: int, folder: Path) -> Row:
    spool, plain = Spool(folder / "spool.db"), PlainQueue(folder / "plain.db")
    ours, theirs = count(), count()
    few = READINGS // LAPS
    laps = interleave(
        rounds * LAPS,
        {
            "ours": lambda: [spool.enqueue(reading(n)) for n in islice(ours, few)],
            "plain": lambda: [plain.enqueue(reading(n)) for n in islice(theirs, few)],
        },
    )
    spool.close()
    plain.close()
    ratio, low, high = laps.ratios("ours", "plain")
    note = f"{few / laps.median('ours'):.0f} readings/s, one fsync each"
    against = "plain SQLite insert, synchronous=FULL"
    return Row("durable enqueue", against, ratio, low, high, ">= 0.8 x", ratio >= 0.8, note)


def _bytes(rounds: int, disk: Path, written: Callable[[], int]) -> Row:
    """Both queues, confirmed two by two as an agent does with a fast server."""
    used: dict[str, list[int]] = {"ours": [], "plain": []}
    queues = {"ours": Spool(disk / "spool.db"), "plain": PlainQueue(disk / "plain.db")}
    clock = count()
    for number in range(rounds + 1):
        for name, queue in queues.items():
            before = written()
            for n in islice(clock, READINGS):
                queue.enqueue(reading(n))
                if n % 2:
                    queue.ack([entry.id for entry in queue.peek(500)])
            if number:
                used[name].append((written() - before) // READINGS)
    for queue in queues.values():
        queue.close()
    each = [plain / ours for ours, plain in zip(used["ours"], used["plain"], strict=True)]
    ours = sorted(used["ours"])[rounds // 2]
    note = f"{ours} bytes per reading at 5 s: {ours * READINGS_A_YEAR / 1e9:.0f} GB a year"
    what, against = "bytes on disk, stored and confirmed", "plain SQLite queue, 4 KB pages"
    ratio = sorted(each)[rounds // 2]
    return Row(what, against, ratio, min(each), max(each), ">= 1 x", ratio >= 1, note)


class PlainQueue:
    """The same work as one would first write it: insert, select, delete."""

    def __init__(self, path: Path):
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY AUTOINCREMENT, sample TEXT)")

    def enqueue(self, sample: dict[str, Any]) -> None:
        """Insert one reading."""
        self._db.execute("INSERT INTO queue (sample) VALUES (?)", (json.dumps(sample),))

    def peek(self, limit: int) -> list[Any]:
        """The oldest readings."""
        rows = self._db.execute("SELECT id, sample FROM queue ORDER BY id LIMIT ?", (limit,))
        return [_Entry(id_) for id_, _ in rows.fetchall()]

    def ack(self, ids: list[int]) -> None:
        """Delete readings."""
        marks = ",".join("?" * len(ids))
        self._db.execute(f"DELETE FROM queue WHERE id IN ({marks})", ids)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


class _Entry:
    def __init__(self, id_: int):
        self.id = id_


@contextmanager
def _own_disk(folder: Path) -> Iterator[tuple[Path, Callable[[], int]]]:
    """A folder, and how many bytes were written there: on an ext4 of its own where root runs this.

    Elsewhere it is what the process gave to the kernel, without the file system's journal.
    """
    image, disk = folder / "image", folder / "disk"
    disk.mkdir()
    with suppress(OSError, subprocess.CalledProcessError):
        _quietly("truncate", "-s", "256M", image)
        _quietly("mkfs.ext4", "-q", image)
        _quietly("mount", "-o", "loop", image, disk)
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        device = Path(next(source for source, target, *_ in mounts if target == str(disk))).name
        try:
            yield disk, lambda: _sectors(device) * SECTOR
        finally:
            _quietly("umount", disk)
        return
    yield disk, _given_to_kernel


def _quietly(*command: Any) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _sectors(device: str) -> int:
    return int(Path(f"/sys/block/{device}/stat").read_text().split()[6])


def _given_to_kernel() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
