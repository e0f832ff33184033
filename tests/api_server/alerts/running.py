"""The process of alerts and the database that it looks at, for tests."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2

from tests.support.servers import ROOT
from tests.support.servers.process import environment


class House:
    """A database that a test writes to as the API does."""

    def __init__(self, url: str):
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True
        self.began = datetime.now(UTC)

    def meter(self, *ages_s: float, **changes: Any) -> None:
        """Samples of the meter, so many seconds before the test began."""
        sample = {"device_id": "meter", "power_w": 100, "import_power_w": 100}
        self._insert("p1", ages_s, sample | changes)

    def roof(self, *ages_s: float, device_id: str = "roof", **changes: Any) -> None:
        """Samples of an inverter, so many seconds before the test began."""
        self._insert("sungrow", ages_s, {"device_id": device_id, "pv_power_w": 10} | changes)

    def report(self, device_id: str = "meter", **report: Any) -> None:
        """What an agent reports."""
        self.execute(
            "INSERT INTO agents VALUES (%s, now(), %s, '{}') ON CONFLICT (device_id)"
            " DO UPDATE SET reported_ts = now(), report = excluded.report",
            device_id,
            json.dumps(report),
        )

    def execute(self, sql: str, *values: Any) -> list[tuple]:
        """Run a statement; its rows, if it has any."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def alerts(self) -> list[tuple[str, str, bool]]:
        """Rule, device and whether it is open, of all that have opened."""
        return self.execute(
            "SELECT rule, device_id, closed_ts IS NULL FROM alerts"
            " WHERE opened_ts IS NOT NULL ORDER BY opened_ts, rule, device_id"
        )

    def _insert(self, kind: str, ages_s: tuple[float, ...], sample: dict[str, Any]) -> None:
        names = ", ".join(["ts", *sample])
        places = ", ".join(["%s"] * (1 + len(sample)))
        for age_s in ages_s:
            ts = self.began - timedelta(seconds=age_s)
            self.execute(
                f"INSERT INTO {kind}_samples ({names}) VALUES ({places})", ts, *sample.values()
            )


def command(env: dict[str, str], *options: str) -> subprocess.CompletedProcess:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "api_server.alerts", *options],
        env=environment(env),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def look(env: dict[str, str]) -> None:
    """Look once; nothing may go wrong."""
    result = command(env, "--once")
    assert result.returncode == 0, result.stderr


class Process:
    """The process itself, until it is stopped."""

    def __init__(self, env: dict[str, str], folder: Path):
        self.log_file = folder / f"alerts-{time.monotonic_ns()}.log"
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api_server.alerts"],
                env=environment(env),
                cwd=ROOT,
                stderr=log,
            )

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_file.read_text()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
