"""The tables of the spool.

A row of `samples` is a reading that waits for its confirmation, `set_aside` holds what the server
refused or the disk damaged, `meta` the counters.
"""

SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ts TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    boot_s REAL NOT NULL,
    held INTEGER NOT NULL CHECK (held IN (0, 1)),
    note TEXT,
    crc INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS held ON samples (id) WHERE held = 1;
CREATE TABLE IF NOT EXISTS set_aside (
    number INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    id INTEGER, ts TEXT, boot_id TEXT, boot_s REAL, held INTEGER, note TEXT, crc INTEGER,
    payload BLOB
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
