"""A spool that version 1.0.0 left behind: opened, kept whole, delivered."""

import json
import sqlite3
import zlib
from contextlib import closing

from edge_agent.clock import ReadingTime
from edge_agent.spool.status import read_status
from tests.edge_agent.test_clock import SECOND, even
from tests.support.agent import START, numbers, sample

# As version 1.0.0 made its tables.
SCHEMA = """
PRAGMA page_size = 1024;
PRAGMA journal_mode = WAL;
CREATE TABLE samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ts TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    boot_s REAL NOT NULL,
    held INTEGER NOT NULL CHECK (held IN (0, 1)),
    note TEXT,
    crc INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX held ON samples (id) WHERE held = 1;
CREATE TABLE set_aside (
    number INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    id INTEGER, ts TEXT, boot_id TEXT, boot_s REAL, held INTEGER, note TEXT, crc INTEGER,
    payload BLOB
);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
COUNT, CONFIRMED = 10_000, 100
ASIDE = range(200, 250)
GUESSED = range(9_000, 9_100)  # of a boot that never knew the time; version 1.0.0 placed them
EARLIER = range(9_800, 9_900)  # held, of a boot that never knew the time
HELD = range(9_900, 10_000)  # held, of the boot in which the new version begins


def columns(number):
    """A row as version 1.0.0 wrote it: id, ts, boot_id, boot_s, held, note, crc, payload."""
    held = number in EARLIER or number in HELD
    boot_id = "boot-3" if number in HELD else "boot-2" if number in EARLIER else "boot-1"
    note = "time unknown: placed after the last known reading" if number in GUESSED else None
    taken = sample(number)
    if held:
        taken = sample(number - 400 * 86400 // 5)
    payload = json.dumps(taken | {"pv_power_w": float(number)}, separators=(",", ":")).encode()
    rest = (taken["ts"], boot_id, 5.0 * (number % 100), int(held), note)
    crc = zlib.crc32("{} {} {} {} {} ".format(*rest).encode() + payload)
    return (number + 1, *rest, crc, payload)


def make_spool(path):
    """What an agent of version 1.0.0 left after days without its server."""
    pending = [number for number in range(CONFIRMED, COUNT) if number not in ASIDE]
    counters = {
        "pending": len(pending),
        "set_aside": len(ASIDE),
        "last_id": COUNT,
        "newest_ts": sample(EARLIER[0] - 1)["ts"],
        "thinned": 3,
        "dropped": 2,
        "lost": 1,
    }
    text = json.dumps(counters)
    marks = ", ".join("?" * 8)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(SCHEMA)
        db.execute("BEGIN")
        rows = map(columns, pending)
        db.executemany(f"INSERT INTO samples VALUES ({marks})", rows)
        db.execute("UPDATE sqlite_sequence SET seq = ?", (COUNT,))
        aside = ((None, "no", *columns(number)) for number in ASIDE)
        db.executemany(f"INSERT INTO set_aside VALUES (?, ?, {marks})", aside)
        value = f"{zlib.crc32(text.encode()):08x} {text}"
        db.execute("INSERT INTO meta VALUES ('counters', ?)", (value,))
        db.execute("INSERT INTO meta VALUES ('set_aside_today', '{}')")
        db.execute("COMMIT")


def test_it_loses_nothing_is_converted_and_all_is_delivered(tmp_path, site, server):
    path = tmp_path / "spool.db"
    make_spool(path)
    before = read_status(path)
    assert (before["pending"], before["set_aside"]) == (COUNT - CONFIRMED - 50, 50)
    one = site(count=0, BATCH_SIZE=1000)
    status = one.spool.status()
    assert {key: before[key] for key in ("thinned", "dropped", "lost")} == {
        "thinned": 3,
        "dropped": 2,
        "lost": 1,
    }
    assert status == before
    one.drain()
    held = [*EARLIER, *HELD]
    sent = [number for number in range(CONFIRMED, COUNT) if number not in ASIDE]
    assert numbers(server.stored) == [number for number in sent if number not in held]
    assert one.spool.counts()["pending"] == len(held)

    assert one.spool.retry() == len(ASIDE)
    now = START + 5 * COUNT * SECOND
    one.spool.place(ReadingTime(now, 5.0 * len(HELD), "boot-3", trusted=True))
    one.drain()
    status = one.spool.status()
    assert (status["pending"], status["set_aside"], status["rejected"]) == (0, 0, [])
    times = {round(each["pv_power_w"]): even(each["ts"]) for each in server.stored.values()}
    assert sorted(times) == list(range(CONFIRMED, COUNT))
    for number in HELD:
        assert times[number] == START + number * 5 * SECOND
    after = times[EARLIER[0] - 1]
    assert [times[number] - after for number in EARLIER] == [
        SECOND + 5 * n * SECOND for n in range(len(EARLIER))
    ]
    one.spool.enqueue(sample(COUNT))
    (entry,) = one.spool.peek(9)
    assert entry.id == COUNT + 1, "no id is given twice"
