"""scripts/demo, as a person runs it: what it shows, and that nothing is left of it."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.client import Client
from tests.support.servers import ROOT, wait_until

pytestmark = pytest.mark.slow

INVERTER_LINE = re.compile(
    r"inverter  PV \d+ W   battery ((dis)?charging )?\d+ W \d+ %   load -?\d+ W"
    r"   grid ((im|ex)porting )?\d+ W   spool \d+   in the database, \d+\.\d s old"
)
METER_LINE = re.compile(r"P1 meter  grid ((im|ex)porting )?\d+ W .*spool \d+   in the database")


class Demo:
    """A running demo with temporary files in a folder that can be looked at."""

    def __init__(self, temporary: Path, *options: str):
        self.temporary = temporary
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [str(ROOT / "scripts/demo"), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env=os.environ | {"TMPDIR": str(temporary)},
        )

    def read_until(self, pattern: str | re.Pattern[str]) -> str:
        """The next line in which the pattern occurs."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return self.lines[-1]
        pytest.fail(f"the demo ended without {pattern}: {self.lines}")

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *_: object) -> None:
        """A test that failed leaves nothing running either."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Read to the end and return the exit code."""
        if not self.process.stdout.closed:
            with self.process.stdout as rest:
                self.lines += rest.read().splitlines()
        return self.process.wait(30)

    def leftovers(self) -> list[str]:
        """Processes that know the demo's folder, and what is left in it."""
        found = [str(path) for path in self.temporary.iterdir()]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if str(self.temporary).encode() in known:
                found.append(process.name)
        return found


@pytest.fixture
def temporary(server_folder: Path) -> Iterator[Path]:
    before = git_status()
    folder = server_folder / "tmp"
    folder.mkdir(mode=0o755)
    yield folder
    assert git_status() == before


def git_status() -> str:
    """What git sees of the tree; nothing where it is no clone, or there is no git."""
    if not shutil.which("git"):
        return ""
    command = ["git", "-C", str(ROOT), "status", "--porcelain"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def test_it_shows_both_devices_and_curl_lines_that_answer(temporary, tmp_path):
    kept = tmp_path / "kept"
    with Demo(temporary, "--seconds", "12", "--keep", str(kept)) as demo:
        demo.read_until("^curl .*/v1/realtime")
        demo.read_until("^curl .*/health")
        address = demo.read_until("^The page:").split()[-1]
        token = demo.read_until("^Log in with:").split()[-1]
        url = urlsplit(address)
        authority = next(temporary.glob("*/tls/ca.pem"))
        browser = Client(f"{url.scheme}://{url.netloc}", None, str(authority))
        assert browser.ask("POST", "/ui/login", f"token={token}".encode()).status == 303
        lines = [line for line in demo.lines if line.startswith("curl ")]
        answers = [
            subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd="/tmp")
            for line in lines
        ]
        assert demo.wait() == 0, demo.lines
        for line, answer in zip(lines, answers, strict=True):
            assert answer.returncode == 0, answer.stderr
            assert '"detail"' not in answer.stdout, line
            assert "https://127.0.0.1:" in line
            assert " --cacert " in line
            assert "$" not in line
        assert sum(bool(INVERTER_LINE.search(line)) for line in demo.lines) >= 2, demo.lines
        assert sum(bool(METER_LINE.search(line)) for line in demo.lines) >= 2, demo.lines
        assert any(re.search(r"^Balance from \d\d:00: PV .* kWh", line) for line in demo.lines)
        whole = re.compile(r"^Completeness of .*: \d+ samples .* 0 s of it missing in 0 gaps$")
        assert sum(bool(whole.search(line)) for line in demo.lines) == 2, demo.lines
        assert demo.leftovers() == []
        assert (kept / "postgres/data/PG_VERSION").exists()
        assert (kept / "agent-inverter/spool.db").exists()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)]
)
def test_a_signal_ends_it_and_leaves_nothing(temporary, number):
    with Demo(temporary) as demo:
        demo.read_until(INVERTER_LINE)
        demo.process.send_signal(number)
        assert demo.wait() in (0, 130)
        assert demo.leftovers() == []


def test_a_signal_while_it_starts_ends_it_and_leaves_nothing(temporary):
    with Demo(temporary) as demo:
        demo.read_until("^PostgreSQL")
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait() in (0, 130)
        assert demo.leftovers() == []


def test_killed_it_leaves_nothing_either(temporary):
    with Demo(temporary) as demo:
        demo.read_until(METER_LINE)
        demo.process.kill()
        assert demo.wait() == -9
        wait_until(lambda: demo.leftovers() == [], 20, "everything to end")
