"""What the agent costs a Raspberry Pi: CPU against pymodbus alone, memory against its limit."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import Row
from tests.simulators.ingest_server import IngestServer
from tests.support.servers import ROOT, CertificateAuthority
from tests.support.servers.process import environment

NAME = "Agent: CPU and memory"
POLLS = 60  # per round, with the pauses that the dongle needs
MANY_POLLS = 100_000  # without pauses
LIMIT_KB = 45_000
MORE = "more than reading are the fsync'd commit, health.json and every check"
BARE = "import os; print(int(open('/proc/self/statm').read().split()[1]) * 4)"


def run(rounds: int) -> list[Row]:
    """Measure processes of their own against a simulated inverter and an HTTPS server."""
    with tempfile.TemporaryDirectory() as name, site(Path(name)) as (port, env):
        used: dict[str, list[float]] = {"pymodbus": [], "polling": [], "agent": []}
        for number in range(rounds + 1):
            for what, seconds in used.items():
                result = measure(what, port, env, POLLS)
                if number:
                    seconds.append(result["cpu_s"] / POLLS)
        many = measure("agent", port, env, MANY_POLLS, pause_ms=0)
    return [
        cpu_row("reading, spooling, reporting: CPU per poll", used, "polling", 1.5),
        cpu_row("the same with an upload every second poll", used, "agent", 2.0),
        memory_row(many),
    ]


def cpu_row(what: str, used: dict[str, list[float]], variant: str, limit: float) -> Row:
    """How many times the CPU time of pymodbus alone."""
    pairs = zip(used[variant], used["pymodbus"], strict=True)
    each = [ours / alone for ours, alone in pairs]
    ratio = statistics.median(each)
    ours, alone = (statistics.median(used[name]) * 1000 for name in (variant, "pymodbus"))
    share = f"{ours / 50:.3f} % of a core at 5 s polling"
    note = f"{ours:.2f} ms, alone {alone:.2f} ms: {share}; {MORE}"
    against = "pymodbus alone, same reads and pauses"
    return Row(what, against, ratio, min(each), max(each), f"<= {limit} x", ratio <= limit, note)


def memory_row(many: dict[str, float]) -> Row:
    """The resident memory after many polls and uploads."""
    rss, settled = many["rss_kb"], many["settled_kb"]
    bare = int(subprocess.check_output([sys.executable, "-c", BARE]))
    note = (
        f"{rss / 1000:.1f} MB, after a quarter of them {settled / 1000:.1f} MB;"
        f" bare interpreter {bare / 1000:.1f} MB"
    )
    met = rss <= LIMIT_KB and rss - settled < 2000
    what, against = f"resident memory after {MANY_POLLS} polls", "45 MB"
    ratio = rss / LIMIT_KB
    return Row(what, against, ratio, settled / LIMIT_KB, ratio, "<= 1 x, flat", met, note)


def measure(
    what: str, port: int, env: dict[str, str], polls: int, pause_ms: int = 20
) -> dict[str, float]:
    """Run one process to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks._polls", what, "--port", str(port)]
        command += ["--polls", str(polls), "--pause-ms", str(pause_ms)]
        settings = environment(env | {"SPOOL_PATH": f"{folder}/spool.db"})
        said = subprocess.check_output(command, cwd=ROOT, env=settings, timeout=1200)
    return json.loads(said)


@contextmanager
def site(folder: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """A simulated inverter in a process of its own, and a server that takes all samples."""
    ca = CertificateAuthority(folder / "ca")
    inverter = subprocess.Popen(
        [sys.executable, "-m", "tests.simulators.inverter", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = json.loads(inverter.stdout.readline())["port"]
        with IngestServer(ca.issue("server")) as server:
            yield (
                port,
                {
                    "SUNGROW_HOST": "127.0.0.1",
                    "SUNGROW_PORT": str(port),
                    "VPS_INGEST_URL": server.url,
                    "VPS_DEVICE_TOKEN": f"token-{datetime.now(UTC):%f}",
                    "VPS_CA_FILE": str(ca.file),
                    "DEVICE_ID": "house",
                },
            )
    finally:
        inverter.terminate()
        inverter.wait()
        inverter.stdout.close()
