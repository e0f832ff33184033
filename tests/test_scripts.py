"""The commands that set up a machine: what they do when something is missing or broken."""

import os
import shutil
import subprocess
from pathlib import Path
from shlex import quote

import pytest

from tests.support.servers import ROOT

pytestmark = pytest.mark.slow

SCRIPTS = ["scripts/demo", "scripts/test", "scripts/bench", "scripts/install-packages", ".ci/run"]


def bash(program: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a program that has the functions of prepare.sh."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". {quote(str(ROOT))}/scripts/prepare.sh; {program}"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_they_are_clean_bash():
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck: apt install shellcheck")
    files = [ROOT / name for name in [*SCRIPTS, "scripts/prepare.sh"]]
    done = subprocess.run(["shellcheck", *files], capture_output=True, text=True)
    assert done.stdout == ""
    assert all(os.access(ROOT / name, os.X_OK) for name in SCRIPTS)


def test_without_rights_one_line_says_what_to_install():
    missing = "has() { [ $1 = openssl ]; }; can_be_root() { false; }"
    done = bash(f"{missing}; prepare 'postgresql redis-server openssl' curl")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("apt-get install postgresql redis-server\n")


def test_what_it_goes_without_needs_no_rights():
    done = bash("has() { [ $1 != curl ]; }; can_be_root() { false; }; prepare postgresql curl")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_python_that_does_not_work_is_passed_over(tmp_path: Path):
    shim = tmp_path / "python3"
    shim.write_text("#!/bin/sh\necho no such version >&2; exit 127\n")
    shim.chmod(0o755)
    done = bash("find_python; echo $found_python", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert done.returncode == 0
    assert done.stdout.strip() not in ("", "python3")


def test_a_second_start_sets_nothing_up():
    done = bash("prepare openssl 2>/dev/null; prepare openssl")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_the_checks_are_seen_before_the_tests():
    command = [ROOT / "scripts/test", "--collect-only", "-q", "tests/test_scripts.py"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120)
    ruff, _, pytest_output = done.stdout.partition("tests/test_scripts.py::")
    assert "files already formatted" in ruff or "would be reformatted" in ruff
    assert "tests collected" in pytest_output.splitlines()[-1]
