"""The stacks that samples are sent to: ours as it is installed, and its peers at their best.

Each has servers of its own, so that what their processes cost is theirs alone.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks import _cost
from benchmarks._load import body, request
from benchmarks._site import site
from edge_agent.shared.samples import KINDS
from tests.support.servers import (
    ROOT,
    Api,
    CitusCluster,
    Redis,
    free_port,
    migrate,
    open_folder,
    wait_until,
)


@dataclass(frozen=True)
class Stack:
    """Where samples go, in which form, and the processes (with their children) that take them."""

    name: str
    url: str
    path: str
    encode: Callable[[Sequence[dict]], bytes]
    roots: dict[str, int]  # part -> process id
    folder: Path | None = None  # of a peer's data

    def request(self, token: str, samples: Sequence[dict]) -> bytes:
        """A whole request with these samples."""
        return request(self.path, token, self.encode(samples))

    def cpu_s(self) -> dict[str, float]:
        """Processor time of each part so far, in seconds."""
        return {part: _cost.tree_s(pid) for part, pid in self.roots.items()}


@contextmanager
def ours(
    tokens: str, code: Path = ROOT, name: str = "ours", limited: bool = True
) -> Iterator[tuple[Stack, Api]]:
    """The API with the limits and the gunicorn.conf.py that are installed, on its own servers."""
    with site(code=code, limited=limited) as place:
        place.env["DEVICE_TOKENS"] = tokens
        api = Api(place.folder / "api", place.env)
        api.code = code
        with api:
            roots = {
                "API": api.pid,
                "PostgreSQL": place.postgres.pid,
                "Redis": place.redis.pid,
            }
            yield Stack(name, api.url, "/v1/ingest", body, roots), api


@contextmanager
def citus(tokens: str) -> Iterator[tuple[Stack, Api]]:
    """The same on a Citus coordinator and two workers, durable as a user's are, without limits."""
    with (
        open_folder("sunspool-bench-") as folder,
        CitusCluster(folder, durable=True) as cluster,
        Redis(folder / "redis") as redis,
    ):
        url = cluster.create_database()
        migrate(url)
        (folder / "tokens").write_text(tokens)
        env = {
            "DATABASE_URL": url,
            "REDIS_URL": redis.url,
            "DEVICE_TOKENS_FILE": str(folder / "tokens"),
            "MAX_REQUESTS_PER_MINUTE": "0",
        }
        with Api(folder / "api", env) as api:
            workers = {f"worker {n}": node.pid for n, node in enumerate(cluster.workers, 1)}
            roots = {"API": api.pid, "coordinator": cluster.coordinator.pid, **workers}
            yield Stack("on Citus", api.url, "/v1/ingest", body, {**roots, "Redis": redis.pid}), api


@contextmanager
def fastapi(tokens: str) -> Iterator[Stack]:
    """FastAPI and asyncpg on uvloop and httptools, into a table with its primary key alone."""
    with site() as place:
        for (index,) in place.postgres.query(INDEXES, database=place.url.rpartition("/")[2]):
            place.postgres.execute(f"DROP INDEX {index}", place.url.rpartition("/")[2])
        port = free_port()
        command = ["uvicorn", "benchmarks._fastapi_peer:app", "--workers", "2", "--port", str(port)]
        best = ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *best, "--log-level", "warning"],
            cwd=ROOT,
            env={**os.environ, **place.env, "DEVICE_TOKENS": tokens},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _answers(url + "/openapi.json"), 30, "FastAPI to start")
            roots = {"API": process.pid, "PostgreSQL": place.postgres.pid}
            yield Stack("FastAPI + asyncpg", url, "/v1/ingest", body, roots)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


INDEXES = """
SELECT indexrelid::regclass FROM pg_index
WHERE indrelid = 'sungrow_samples'::regclass AND NOT indisprimary
"""


@contextmanager
def influxdb(compact: bool = False) -> Iterator[Stack | None]:
    """InfluxDB as Debian configures it, without its logs and watching itself; None without it.

    With `compact` it need not wait for hours until it compacts what it has.
    """
    program = shutil.which("influxd")
    if program is None:
        yield None
        return
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True)
    with open_folder("sunspool-influx-") as folder:
        port, backup_port = free_port(), free_port()
        config = folder / "influxdb.conf"
        text = INFLUXDB.format(folder=folder, port=port, backup_port=backup_port)
        config.write_text(text.replace("[monitor]", COMPACT + "[monitor]") if compact else text)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, "-config", str(config)], stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _answers(url + "/ping"), 30, "InfluxDB to start")
            urllib.request.urlopen(url + "/query?q=CREATE+DATABASE+bench", b"", timeout=10).close()
            name = "InfluxDB " + re.search(r"v?(\d+\.\d+\.\d+)", version.stdout)[1]
            path = "/write?db=bench&precision=s"
            yield Stack(name, url, path, _lines, {"InfluxDB": process.pid}, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


INFLUXDB = """
reporting-disabled = true
bind-address = "127.0.0.1:{backup_port}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[logging]
level = "warn"
"""

COMPACT = """cache-snapshot-write-cold-duration = "1s"
compact-full-write-cold-duration = "1s"
"""


def _lines(samples: Sequence[dict]) -> bytes:
    """Samples in InfluxDB's line protocol, whole numbers as such."""
    return "\n".join(map(_line, samples)).encode()


def _line(sample: dict) -> str:
    whole = {f.name for kind in KINDS.values() for f in kind.fields if f.type == "int"}
    values = ",".join(
        f"{name}={json.dumps(value)}{'i' if name in whole else ''}"
        for name, value in sample.items()
        if name not in ("device_id", "ts")
    )
    seconds = int(datetime.fromisoformat(sample["ts"]).timestamp())
    return f"samples,device={sample['device_id']} {values} {seconds}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status < 300
    except OSError:
        return False
