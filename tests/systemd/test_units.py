"""What systemd thinks of the units, and what it does not look at."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.systemd import unit_files

SHIPPED = Path("/usr/lib/systemd")


@pytest.fixture(scope="module", autouse=True)
def _analyze():
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here: apt-get install systemd")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A root file system with the units as they are installed, and the programs they start."""
    root = tmp_path_factory.mktemp("root")
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    shutil.copytree(SHIPPED / "system", root / "usr/lib/systemd/system", symlinks=True)
    for name in unit_files.UNITS + unit_files.PROBE:
        shutil.copy(unit_files.FOLDER / name, units / name)
        _make_programs(root, name)
    for name in unit_files.DROP_INS:
        (units / f"{name}.d").mkdir()
        shutil.copy(unit_files.FOLDER / f"drop-ins/{name}.conf", units / f"{name}.d/sunspool.conf")
    return root


def _make_programs(root: Path, unit: str) -> None:
    for key, value in unit_files.directives(unit):
        if key.startswith("Exec"):
            program = root / value.lstrip("+-").split()[0].lstrip("/")
            program.parent.mkdir(parents=True, exist_ok=True)
            program.touch(mode=0o755)


@pytest.mark.parametrize(
    "unit",
    [
        "sunspool-api.service",
        "sunspool-alerts.service",
        "sunspool-edge@roof.service",
        *unit_files.PROBE,
    ],
)
def test_verify_has_nothing_to_say(tree, unit):
    result = _run("systemd-analyze", "verify", f"--root={tree}", unit)
    assert result.stdout + result.stderr == ""


@pytest.mark.parametrize("path", unit_files.SERVICES, ids=lambda path: path.name)
def test_exposure_is_low(path):
    """The probe is root's, to restart the API; the agent asks whether the clock is set."""
    most = {"sunspool-edge@.service": 1.7}.get(path.name, 1.5)
    most = most if path.name in unit_files.UNITS else 2.0
    result = _run("systemd-analyze", "security", "--offline=yes", path)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", result.stdout)
    assert found, result.stdout[-500:] + result.stderr
    assert float(found[1]) <= most


def test_no_timer_waits_for_a_local_clock():
    """An hour that comes twice has no minutes the second time, and one that is left out none."""
    timers = sorted(unit_files.FOLDER.glob("*.timer"))
    assert timers
    for timer in timers:
        assert all(time.endswith(" UTC") for time in unit_files.values(timer.name, "OnCalendar"))


def test_cron_runs_every_line_on_every_day():
    """cron catches up with a time of day that is left out and skips one that comes twice, and a
    line with * in its minutes or hours it runs by every clock; nothing else is relied on."""
    lines = re.findall(r"^([0-9*]\S*) (\S+) (\S+ \S+ \S+) ", unit_files.text("sunspool.cron"), re.M)
    assert lines
    for minute, hour, rest in lines:
        assert rest == "* * *"
        assert re.fullmatch(r"[0-9]+", minute + hour) or hour == "*", (minute, hour)


@pytest.mark.parametrize("unit", [*unit_files.UNITS, "sunspool-api-probe.service"])
def test_every_line_that_denies_something_says_what(unit):
    denying = unit_files.text(unit).partition("# What it is denied")[2].partition("[Install]")[0]
    lines = [line for line in denying.splitlines()[1:] if line]
    comments, denials = lines[::2], lines[1::2]
    assert len(denials) >= 10
    assert [line for line in comments if not line.startswith("# ")] == []
    assert [line for line in denials if not re.match(r"[A-Z]\w*=", line)] == []


def _run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=60, check=False
    )
