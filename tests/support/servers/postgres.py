"""A private PostgreSQL cluster, quick because it forgets everything if the machine stops."""

import os
import pwd
import secrets
import signal
from itertools import count
from pathlib import Path

import psycopg2

from tests.support.servers.process import (
    Server,
    ServerFailed,
    alive,
    children,
    free_port,
    run,
    wait_until,
)

OWNER = "sunspool_owner"
API_ROLE = "sunspool"
GRAFANA_ROLE = "sunspool_grafana"
SOCKET_PATH_LIMIT = 107
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def programs() -> Path:
    """The folder of the newest PostgreSQL that Debian has installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    if not found:
        raise ServerFailed("no PostgreSQL here: apt install postgresql")
    return found[-1].parent


class Postgres(Server):
    """A cluster with the roles `sunspool_owner`, `sunspool` and `sunspool_grafana`, without special
    rights.

    `timescaledb` may be "community" or "apache": the library is loaded, with that licence.
    Started as root it runs as the user postgres (or nobody), who must be able to reach `folder`.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # fast: it does not wait for its clients
    orphan_signal = signal.SIGINT  # killed, it would leave its shared memory behind

    def __init__(
        self, folder: Path | str, timescaledb: str | None = None, durable: bool = False
    ) -> None:
        super().__init__(folder)
        self.timescaledb = timescaledb
        self.durable = durable
        self.port = free_port()
        self.data = self.folder / "data"
        self.password = _password(self.folder / "password")
        self._numbers = count(1)

    def command(self) -> list[str]:
        """The postmaster in the foreground, on loopback and on a socket in its folder."""
        arguments = [word for option in self.options() for word in ("-c", option)]
        return [str(programs() / "postgres"), "-D", str(self.data), *arguments]

    def options(self) -> list[str]:
        """Its settings."""
        fits = len(f"{self.folder}/.s.PGSQL.{self.port}") <= SOCKET_PATH_LIMIT
        return [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.folder if fits else ''}",
            "max_connections=60",
            "timezone=UTC",
            *(() if self.durable else FAST),
            *self._timescale_options(),
        ]

    def _timescale_options(self) -> list[str]:
        if self.timescaledb is None:
            return []
        licence = "timescale" if self.timescaledb == "community" else "apache"
        return [
            "shared_preload_libraries=timescaledb",
            f"timescaledb.license={licence}",
            "timescaledb.telemetry_level=off",
            "max_worker_processes=24",
        ]

    def launch(self) -> None:
        """Make the cluster if there is none, and start it."""
        if not (self.data / "PG_VERSION").exists():
            self.make()
        super().launch()

    def make(self) -> None:
        """Make its files."""
        user = _user()
        if user:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            os.chown(self.folder / "password", user.pw_uid, user.pw_gid)
        command = [programs() / "initdb", "--no-sync", "-U", "postgres", "-D", self.data]
        # A superuser of PostgreSQL runs programs as its user: no other user of the machine may.
        entry = ["-A", "scram-sha-256", "--pwfile", self.folder / "password"]
        run(
            [
                "setpriv",
                *self.user_options(),
                *command,
                *entry,
                "-E",
                "UTF8",
                "--locale",
                "C.UTF-8",
            ],
            cwd="/",
        )

    def user_options(self) -> list[str]:
        """Not root, whom PostgreSQL refuses to be."""
        user = _user()
        if user is None:
            return []
        return [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    def start(self) -> "Postgres":
        """Start it and return when it is ready."""
        super().start()
        return self

    def finish_start(self) -> None:
        """Wait until it is ready; the first start also makes the roles."""
        super().finish_start()
        for role in (OWNER, API_ROLE, GRAFANA_ROLE):
            if not self.query("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)):
                self.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{self.password}'")

    def ready(self) -> bool:
        """True when it takes connections."""
        try:
            self.query("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kill the postmaster, and wait for its children, who end when they notice."""
        if self.process is None:
            return
        family = children(self.pid)
        super().kill()
        wait_until(lambda: not any(map(alive, family)), 20, "PostgreSQL's children to end")

    def url(self, database: str = "postgres", user: str = OWNER) -> str:
        """Where a database is, for libpq."""
        return f"postgresql://{user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str | None = None, template: str = "template0") -> str:
        """Make a database of the ordinary owner and return its URL.

        Not from template1: TimescaleDB looks into that one, and it must have no visitors.
        """
        name = name or f"test_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" OWNER {OWNER} TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, sql: str, database: str = "postgres") -> None:
        """Run one statement as the superuser."""
        self._ask(sql, None, database)

    def query(
        self, sql: str, values: tuple | None = None, database: str = "postgres"
    ) -> list[tuple]:
        """The rows of one statement, as the superuser."""
        return self._ask(sql, values, database)

    def _ask(self, sql: str, values: tuple | None, database: str) -> list[tuple]:
        connection = psycopg2.connect(self.url(database, "postgres"), connect_timeout=5)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


class Replica(Postgres):
    """A streaming replica of another cluster."""

    def __init__(self, folder: Path | str, primary: Postgres) -> None:
        super().__init__(folder)
        self.primary, self.password = primary, primary.password

    def make(self) -> None:
        """Copy the files of the other."""
        user = _user()
        if user:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        source = ["-d", self.primary.url(user="postgres"), "-D", self.data]
        command = [programs() / "pg_basebackup", *source, "--write-recovery-conf", "-c", "fast"]
        run(["setpriv", *self.user_options(), *command, "--no-sync"], cwd="/")

    def catch_up(self) -> None:
        """Wait until it has all that the other has."""
        [(end,)] = self.primary.query("SELECT pg_current_wal_insert_lsn()")
        there = "SELECT 1 WHERE pg_last_wal_replay_lsn() >= %s"
        wait_until(lambda: self.query(there, (end,)), 30, "the replica")


def _password(file: Path) -> str:
    """The cluster's password, kept in its folder."""
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as new:
            new.write(secrets.token_hex(16))
    return file.read_text()


def _user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as; None: as we are."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
