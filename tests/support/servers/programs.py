"""The project's own two programs, as they run in production."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.servers.process import (
    ROOT,
    Server,
    alive,
    children,
    environment,
    free_port,
    run,
    wait_until,
)


def migrate(url: str, **settings: str) -> str:
    """Bring a database up to date and return what the command printed; raises ServerFailed."""
    command = [sys.executable, "-m", "api_server.migrate"]
    return run(command, 300, cwd=ROOT, env=environment({"DATABASE_URL": url, **settings}))


class Api(Server):
    """The API under gunicorn; `env` holds its settings, `tls` its certificate and key."""

    name = "api"

    def __init__(
        self,
        folder: Path | str,
        env: Mapping[str, str],
        tls: tuple[Path, Path] | None = None,
        workers: int = 2,
    ) -> None:
        super().__init__(folder)
        self.env = dict(env)
        self.tls = tls
        self.workers = workers
        self.port = free_port()

    def command(self) -> list[str]:
        """gunicorn with the project's own configuration."""
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "api_server/gunicorn.conf.py"]
        options = ["--bind", f"127.0.0.1:{self.port}", "--workers", str(self.workers)]
        if self.tls:
            options += ["--certfile", str(self.tls[0]), "--keyfile", str(self.tls[1])]
        return [*gunicorn, *options, "api_server:create_app()"]

    def settings(self) -> dict[str, str]:
        """The API's settings; what it writes down goes with its folder, however it ends."""
        return {"RUNTIME_DIRECTORY": str(self.folder), **self.env}

    def ready(self) -> bool:
        """True when all workers are there and one answers on /."""
        try:
            return len(self.worker_pids()) >= self.workers and self.get("/")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def get(self, path: str, token: str | None = None) -> tuple[int, object]:
        """Status and JSON body of one request, on a connection of its own."""
        where = urlsplit(self.url)
        if self.tls:
            connection = http.client.HTTPSConnection(where.netloc, timeout=10, context=_trusting())
        else:
            connection = http.client.HTTPConnection(where.netloc, timeout=10)
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def worker_pids(self) -> list[int]:
        """The processes that answer requests."""
        return children(self.pid)

    def kill_worker(self) -> int:
        """Kill one worker as a crash would and return its process id; gunicorn replaces it."""
        worker = self.worker_pids()[0]
        os.kill(worker, signal.SIGKILL)
        return worker

    def kill(self) -> None:
        """Kill gunicorn, and wait for its workers, who end when they notice."""
        if self.process is None:
            return
        workers = self.worker_pids()
        super().kill()
        wait_until(lambda: not any(map(alive, workers)), 20, "gunicorn's workers to end")


def _trusting() -> ssl.SSLContext:
    """A client that asks our own server and does not care who it is; agents and curl do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class EdgeAgent(Server):
    """`python -m edge_agent`; `env` holds its settings, its spool is in `folder` unless set."""

    name = "agent"

    def __init__(self, folder: Path | str, env: Mapping[str, str]):
        super().__init__(folder)
        self.env = {"SPOOL_PATH": str(self.folder / "spool.db"), **env}
        health = Path(self.env["SPOOL_PATH"]).parent / "health.json"
        self.health_file = Path(self.env.get("HEALTH_PATH", health))

    def command(self) -> list[str]:
        """The agent in the foreground."""
        return [sys.executable, "-m", "edge_agent"]

    def settings(self) -> dict[str, str]:
        """The agent's settings."""
        return self.env

    def health(self) -> dict:
        """What it says of itself; empty while it has not said anything yet."""
        try:
            return json.loads(self.health_file.read_text())
        except FileNotFoundError:
            return {}

    def spool(self) -> dict:
        """What `--spool` prints."""
        done = self.ask("--spool")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, *options: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the command with options, such as --check or --once, to its end."""
        return subprocess.run(
            [*self.command(), *options],
            cwd=ROOT,
            env=environment(self.env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )


class Simulator(Server):
    """`python -m tests.simulators.NAME`; `told` is what it printed when it listened."""

    def __init__(self, folder: Path | str, simulated: str, *options: str):
        self.name = simulated
        super().__init__(folder)
        self.options = options
        self._said_before = 0

    def launch(self) -> None:
        """Start it; a port told by an earlier start counts no more."""
        self._said_before = len(self.log())
        super().launch()

    def command(self) -> list[str]:
        """The simulator in the foreground."""
        return [sys.executable, "-m", f"tests.simulators.{self.name}", *self.options]

    def ready(self) -> bool:
        """True when it has said where it listens."""
        return bool(self.told)

    @property
    def told(self) -> dict:
        """The JSON line of its last start: its port, and what else it tells."""
        said = self.log()[self._said_before :].splitlines()
        lines = [line for line in said if line.startswith('{"port"')]
        return json.loads(lines[-1]) if lines else {}
