"""A private installation to measure: PostgreSQL, Redis and a migrated database in a folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import ROOT, Postgres, Redis, open_folder


class Site:
    """What an API needs beside itself; `env` are its settings."""

    def __init__(self, folder: Path, postgres: Postgres, redis: Redis):
        self.folder, self.postgres, self.redis = folder, postgres, redis
        self.url = postgres.create_database()
        self.env = {
            "DATABASE_URL": self.url,
            "REDIS_URL": redis.url,
            "MAX_REQUESTS_PER_MINUTE": "0",
        }

    def migrate(self) -> None:
        """Apply the migrations."""
        subprocess.run(
            [sys.executable, "-m", "api_server.migrate"],
            cwd=ROOT,
            env={**os.environ, **self.env},
            check=True,
        )


@contextmanager
def site(timescaledb: str | None = None) -> Iterator[Site]:
    """Start private servers, durable as a user's are, and stop them afterwards."""
    with (
        open_folder("sunspool-bench-") as folder,
        Postgres(folder / "pg", timescaledb, durable=True) as postgres,
        Redis(folder / "redis") as redis,
    ):
        built = Site(folder, postgres, redis)
        built.migrate()
        yield built
