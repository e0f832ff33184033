"""A private installation to measure: PostgreSQL, Redis and a migrated database in a folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import ROOT, Postgres, Redis, open_folder


class Site:
    """What an API needs beside itself; `env` are its settings, `code` the checkout it runs."""

    def __init__(self, folder: Path, postgres: Postgres, redis: Redis, code: Path = ROOT):
        self.folder, self.postgres, self.redis, self.code = folder, postgres, redis, code
        self.url = postgres.create_database()
        self.env = {"DATABASE_URL": self.url, "REDIS_URL": redis.url}

    @property
    def name(self) -> str:
        """The database's."""
        return self.url.rpartition("/")[2]

    def migrate(self) -> None:
        """Apply the migrations."""
        subprocess.run(
            [sys.executable, "-m", "api_server.migrate"],
            cwd=self.code,
            env={**os.environ, **self.env},
            stdout=subprocess.DEVNULL,
            check=True,
        )


@contextmanager
def site(
    timescaledb: str | None = None, code: Path = ROOT, limited: bool = False
) -> Iterator[Site]:
    """Start private servers, durable as a user's are, and stop them afterwards.

    Only a `limited` one keeps the limit of requests that is installed.
    """
    with (
        open_folder("sunspool-bench-") as folder,
        Postgres(folder / "pg", timescaledb, durable=True) as postgres,
        Redis(folder / "redis") as redis,
    ):
        built = Site(folder, postgres, redis, code)
        if not limited:
            built.env["MAX_REQUESTS_PER_MINUTE"] = "0"
        built.migrate()
        yield built
