"""The migrations there are, and what a database remembers of them: applied, skipped, its zone."""

import hashlib
import itertools
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg2.extensions import connection as Connection

COMMAND = "python -m api_server.migrate"
FOLDER = Path(__file__).parents[2] / "sql"
TABLES = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE IF NOT EXISTS schema_skipped (version integer PRIMARY KEY, reason text NOT NULL);
    CREATE TABLE IF NOT EXISTS schema_settings (name text PRIMARY KEY, value text NOT NULL);
"""
ZONE = "site_timezone"
# The file with which a new database begins, and none that is there already.
FIRST = {0: "this database has tables of samples"}
# What version 1.0.0 applied, whose files are gone: what comes after them builds on their tables.
PAST = {  # name and checksum by version
    1: ("samples", "385de058aa8597f5e65ac6810097e04507823cfbb29556226c86e7f0f3e8f36c"),
    2: ("counters", "fb8b66c78c5328cfd591aea6937b3d29f131752ae7ba80cfe5e0a5501819b9ec"),
    3: ("hypertables", "ed0a72a01d95f78c2210e8c5f3030adc27d068bfb7c6b2cfd7cda1c05b3b72ac"),
    4: ("views", "175de9bbacd0c08f06696dc8ec0174288c1e0129a170da076af5bd35abaa840e"),
    5: ("quarter_views", "81166e29fa820131567d5fb04f34c36c07647bc718a9bb5ecad80c7f69d2d3d9"),
    6: (
        "continuous_aggregates",
        "5b89880a99d73b3f491fca7b06fa4de1a57ce7c37fdae2a3bb06653c7926f132",
    ),
    7: ("compression", "d7f6699f2a8c0d7fb6080bc6aed04b2e663b884c6c47b4bac3b11a038778c6d1"),
    8: ("slow_registers", "fb9733ec6cfcc524df3153becb50060ec0aac39a35b6a1808a89bfc9f4ac31c7"),
    9: ("parallel_views", "1c40839494b3b9f1613fe581fae1b87e0710c0b138bf37900e3b30f7fb3678c9"),
    10: ("prompt_refresh", "cd097c2a07e894f2c6ea2eb240e47be0a4022cf5fb43af306fb6cff3b317e867"),
}


class SchemaProblem(Exception):
    """The database and this program do not fit; the text says what to do."""


@dataclass(frozen=True)
class Migration:
    """One file of sql/; `needs` is what it requires of the database."""

    version: int
    file: str
    text: str
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is about."""
        return self.file[5:-4]

    @property
    def checksum(self) -> str:
        """Of the template: what is filled in does not count."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Ledger:
    """What the database remembers; empty if no migration ever ran."""

    applied: dict[int, tuple[str, str, datetime]]  # name, checksum and time by version
    skipped: dict[int, str]  # reason by version
    zone: str | None


def load(folder: Path = FOLDER) -> list[Migration]:
    """Read every migration, in order; raises SchemaProblem if two share a number."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        if not re.fullmatch(r"\d{4}_\w+\.sql", path.name):
            raise SchemaProblem(f"sql/{path.name} must be called NNNN_subject.sql")
        text = path.read_text(encoding="utf-8")
        found.append(Migration(int(path.name[:4]), path.name, text, _needs(text)))
    for one, next_one in itertools.pairwise(found):
        if one.version == next_one.version:
            raise SchemaProblem(f"sql/{one.file} and sql/{next_one.file} have the same number")
    return found


def _needs(text: str) -> tuple[str, ...]:
    """Whatever the comment lines at the top say after `requires:`."""
    needs: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        header = re.fullmatch(r"--\s*requires:(.*)", line)
        if header:
            needs += [need.strip() for need in header[1].split(",")]
    return tuple(needs)


def read(conn: Connection) -> Ledger:
    """Read what the database remembers, without changing it."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT to_regclass('schema_settings') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return Ledger({}, {}, None)
        cursor.execute("SELECT version, name, checksum, applied_at FROM schema_migrations")
        applied = {version: tuple(rest) for version, *rest in cursor.fetchall()}
        cursor.execute("SELECT version, reason FROM schema_skipped")
        skipped = FIRST | dict(cursor.fetchall())
        cursor.execute("SELECT value FROM schema_settings WHERE name = %s", (ZONE,))
        row = cursor.fetchone()
    return Ledger(applied, skipped, row[0] if row else None)


def find_due(migrations: list[Migration], ledger: Ledger) -> list[Migration]:
    """What is not applied, in order; raises SchemaProblem if the files and the past disagree."""
    known = {migration.version for migration in migrations}
    for version, (name, checksum, _) in sorted(ledger.applied.items()):
        if PAST.get(version) == (name, checksum):
            continue
        if version not in known:
            raise SchemaProblem(
                f"the database has the migration {version:04}_{name}, which this version of "
                "Sunspool does not know: install the newer one"
            )
    due = []
    newest = max(ledger.applied, default=0)
    for migration in migrations:
        if migration.version in ledger.applied:
            if ledger.applied[migration.version][1] != migration.checksum:
                raise SchemaProblem(
                    f"sql/{migration.file} was changed after it was applied: restore it, "
                    "and put the change into a new file"
                )
            continue
        if migration.version < newest and migration.version not in ledger.skipped:
            raise SchemaProblem(
                f"sql/{migration.file} is numbered below {newest:04}, which is applied already: "
                "give it a higher number"
            )
        due.append(migration)
    return due


def check_zone(ledger: Ledger, zone: str) -> None:
    """Raise SchemaProblem if the rollups were made for another zone."""
    if ledger.zone not in (None, zone):
        raise SchemaProblem(
            f"the rollups of this database were made for {ledger.zone} and SITE_TIMEZONE is "
            f"{zone}: set it back, or run `{COMMAND} --rebuild-rollups`"
        )


def pending(conn: Connection) -> list[str]:
    """Names of the migrations that this database should have and has not."""
    past = read(conn)
    return [
        migration.file
        for migration in load()
        if migration.version not in past.applied and migration.version not in past.skipped
    ]
