"""What no tool checks: users, paths and secrets that units, cron file and installers agree on."""

import os
import re
import shutil
import subprocess

import pytest

from tests.systemd import unit_files
from tests.systemd.unit_files import FOLDER, text, values

SCRIPTS = sorted(
    path.name
    for path in FOLDER.iterdir()
    if path.is_file() and (path.suffix == ".sh" or path.read_bytes()[:2] == b"#!")
)
INSTALLERS = {
    "sunspool-api.service": "install-api",
    "sunspool-alerts.service": "install-api",
    "sunspool-edge@.service": "install-edge",
}


@pytest.mark.parametrize("unit", unit_files.UNITS)
def test_the_installer_makes_the_user_of_the_unit(unit):
    installer = text(INSTALLERS[unit])
    user = values(unit, "User")[0]
    assert re.search(rf"put_user {user}$|^AGENT_USER={user}$", installer, re.MULTILINE)
    assert values(unit, "Group") == [user]


def test_units_read_the_files_that_the_installers_write():
    assert values("sunspool-api.service", "EnvironmentFile") == ["/etc/sunspool/api.env"]
    assert values("sunspool-edge@.service", "EnvironmentFile") == ["/etc/sunspool/edge-%i.env"]
    assert values("sunspool-api.service", "LoadCredential") == [
        f"{name}:/etc/sunspool/credentials/{name}" for name in ("device_tokens", "read_tokens")
    ]
    assert values("sunspool-edge@.service", "LoadCredential") == [
        f"{name}:/etc/sunspool/credentials/edge-%i/{name}"
        for name in ("vps_device_token", "hw_p1_token")
    ]


@pytest.mark.parametrize("unit", unit_files.UNITS)
def test_a_missing_credential_is_an_empty_one(unit):
    loaded = [value.partition(":")[0] for value in values(unit, "LoadCredential")]
    assert values(unit, "SetCredential") == [rf"{name}:\n" for name in loaded]


def test_what_the_units_start_is_in_the_release():
    for unit in (*unit_files.UNITS, "sunspool-api-probe.service"):
        for key, command in unit_files.directives(unit):
            found = re.search(r"/opt/sunspool/(\w+)/current/(\S+)", command)
            if key.startswith("Exec") and found and not found[2].startswith("venv/"):
                assert (FOLDER.parent / found[2]).exists(), command


def test_the_agent_is_supervised():
    unit = "sunspool-edge@.service"
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "Restart") == ["always"]
    assert values(unit, "RestartPreventExitStatus") == ["78"]
    assert values(unit, "WatchdogSec")
    assert values(unit, "StartLimitIntervalSec") == ["0"]
    assert "time-sync.target" in values(unit, "Wants")[0]
    assert values(unit, "After") == ["network-online.target"]


def test_the_api_does_not_die_with_its_database():
    unit = "sunspool-api.service"
    assert "postgresql.service" in values(unit, "After")[0]
    assert "redis-server.service" in values(unit, "After")[0]
    assert not values(unit, "Requires") + values(unit, "BindsTo") + values(unit, "PartOf")
    assert values(unit, "TimeoutStopSec") == ["15s"]
    assert values(unit, "Restart") == ["always"]


def test_the_cron_file_runs_its_commands_as_the_owner():
    lines = [line for line in text("sunspool.cron").splitlines() if re.match(r"[0-9*]", line)]
    times = [tuple(line.split()[:5]) for line in lines]
    assert times == [("17", "4", "*", "*", "*"), ("*/10", "*", "*", "*", "*")]
    for line in lines:
        *_, user, command = line.split(maxsplit=6)
        assert f"OWNER={user}\n" in text("install-api")
        assert command.startswith("systemd-cat ")
        assert os.access(FOLDER / command.rpartition("/")[2], os.X_OK)


def test_caddy_forwards_nothing_but_the_api():
    site, metrics = text("sunspool.caddyfile").split("http://127.0.0.1:9464 {")
    assert re.findall(r"^\t@api path (.*)$", site, re.MULTILINE) == [
        "/ /ui /ui/* /v1/*",
        "/v1 /v1/*",
    ]
    assert site.count("reverse_proxy") == 1
    # What Prometheus scrapes is for this machine only, and nothing else is there.
    assert re.findall(r"^\t(?:bind|handle) ?(.*) ?\{?$", metrics, re.MULTILINE) == [
        "127.0.0.1",
        "/metrics {",
        "{",
    ]
    assert "unix//run/sunspool/api.sock" in site
    assert "/run/sunspool/api.sock" in values("sunspool-api.service", "ExecStart")[0]
    assert "http://" in site


@pytest.mark.slow
def test_shellcheck_has_nothing_to_say():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not here: apt-get install shellcheck")
    result = _run("shellcheck", "--external-sources", "--source-path=..", *SCRIPTS)
    assert {"install-api", "install-edge", "shared.sh"} <= set(SCRIPTS)
    assert result.stdout + result.stderr == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_can_be_run(name):
    assert name.endswith(".sh") or (FOLDER / name).stat().st_mode & 0o111 == 0o111


@pytest.mark.parametrize("name", ["install-api", "install-edge"])
def test_an_unknown_option_changes_nothing(name):
    result = _run(f"./{name}", "--frobnicate")
    assert result.returncode == 64
    assert "unknown option --frobnicate" in result.stderr


@pytest.mark.parametrize("name", ["install-api", "install-edge"])
def test_help_names_every_option(name):
    shown = _run(f"./{name}", "--help").stdout
    cases = re.findall(r"^ +(--.*)\)", text(name) + text("shared.sh"), re.MULTILINE)
    handled = set(re.findall(r"--[a-z0-9-]+", " ".join(cases)))
    assert {"--uninstall", "--purge", "--yes", "--dry-run"} <= handled
    assert {option for option in handled if option not in shown} <= {"--help"}


def test_a_dry_run_says_what_it_would_do_and_does_nothing(tmp_path):
    result = _run("./install-edge", "--instance", "dry-run-of-a-test", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "write /etc/sunspool/edge-dry-run-of-a-test.env" in result.stdout
    assert "build /opt/sunspool/edge/releases/" in result.stdout
    assert not (tmp_path / "/etc/sunspool/edge-dry-run-of-a-test.env").exists()


def _run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
