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
    "unit", ["sunspool-api.service", "sunspool-edge@roof.service", *unit_files.PROBE]
)
def test_verify_has_nothing_to_say(tree, unit):
    result = _run("systemd-analyze", "verify", f"--root={tree}", unit)
    assert result.stdout + result.stderr == ""


@pytest.mark.parametrize("unit", unit_files.UNITS)
def test_exposure_is_at_most_1_5(unit):
    path = unit_files.FOLDER / unit
    result = _run("systemd-analyze", "security", "--offline=yes", "--threshold=15", path)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", result.stdout)
    assert result.returncode == 0, result.stdout[-500:] + result.stderr
    assert float(found[1]) <= 1.5


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
