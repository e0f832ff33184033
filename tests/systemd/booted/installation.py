"""The machine with Sunspool's installers in it: what the tests ask of it, as its owner would."""

import json
import shutil
import subprocess
from pathlib import Path

from tests.systemd.booted.machine import Machine

REPOSITORY = Path(__file__).parents[3]
COPIED = ("edge_agent", "api_server", "sql", "systemd", "tests")
CHECKOUT = "/root/sunspool"
SCRIPTS = f"{CHECKOUT}/tests/systemd/booted"
PYTHON = "/opt/sunspool/edge/current/venv/bin/python"
SECRETS = "/etc/sunspool/credentials"
HOST = "sunspool.test"
CA = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
SOCKET = "/run/sunspool/api.sock"
AGENT, METER = "sunspool-edge@roof", "sunspool-edge@meter"
NOTHING = """-d '{"samples": []}'"""  # an ingest that stores nothing


class Installation:
    """A machine, the checkout in it, and what is known of both."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.ask, self.run, self.wait_for = machine.ask, machine.run, machine.wait_for
        self.figures: list[str] = []  # to be shown in the end

    def copy_checkout(self) -> None:
        """Put this checkout into the machine, as a clone would."""
        target = self.machine.root / CHECKOUT[1:]
        for path in REPOSITORY.iterdir():
            if path.name in COPIED:
                ignored = shutil.ignore_patterns("__pycache__", ".*")
                shutil.copytree(path, target / path.name, ignore=ignored)
            elif path.name.startswith("requirements"):
                shutil.copy(path, target / path.name)

    def edit(self, expression: str, file: str) -> None:
        """Change a file of the checkout with sed; `undo_edit` brings the old one back."""
        path = f"{CHECKOUT}/{file}"
        self.ask(f"cp {path} /root/before && sed -i '{expression}' {path}")

    def undo_edit(self, file: str) -> None:
        """Bring a file back as it was before the last `edit`."""
        self.ask(f"cp /root/before {CHECKOUT}/{file}")

    def start_devices(self) -> None:
        """An inverter and a meter of one house, for the agents to read."""
        self.start_device("inverter", "inverter", "--port 15020")
        self.start_device("meter", "meter", "--port 15080 --api v1 --folder /tmp")

    def start_device(self, name: str, simulator: str, options: str) -> None:
        """A simulated device, as the unit test-NAME."""
        self.ask(
            f"systemd-run --quiet --collect --unit=test-{name} -p WorkingDirectory={CHECKOUT}"
            f" {PYTHON} -m tests.simulators.{simulator} {options}"
        )

    def install_api(self, options: str = "", **keywords) -> str:
        """Run install-api, which must succeed; what it printed."""
        return _succeeded(self.try_install_api(options, **keywords))

    def install_edge(self, options: str, **keywords) -> str:
        """Run install-edge, which must succeed; what it printed."""
        return _succeeded(self.try_install_edge(options, **keywords))

    def try_install_api(self, options: str = "", **keywords) -> subprocess.CompletedProcess:
        """Run install-api."""
        command = f"cd {CHECKOUT} && systemd/install-api --yes {options}"
        return self.run(command, timeout=600, **keywords)

    def try_install_edge(self, options: str, **keywords) -> subprocess.CompletedProcess:
        """Run install-edge."""
        command = f"cd {CHECKOUT} && systemd/install-edge --yes {options}"
        return self.run(command, timeout=600, **keywords)

    def add_device(self, name: str, options: str = "") -> str:
        """Have the server make a token, which is then in /root/NAME.token too."""
        command = f"{CHECKOUT}/systemd/install-api --add-device {name} {options}"
        token = self.ask(f"umask 077; {command} | tee /root/{name}.token")
        return token

    def curl(self, path: str, options: str = "", token: str = "roof") -> tuple:
        """The status and the JSON of an answer, over HTTPS, Caddy's certificate verified."""
        answer = self.ask(
            f"{_header(token)} | curl -s --cacert {CA} --max-time 30 -H @-"
            f" -w '\n%{{http_code}}' {options} 'https://{HOST}{path}'"
        )
        body, _, status = answer.rpartition("\n")
        return int(status), json.loads(body) if body else None

    def wait_for_news(self, device: str, seconds: float = 60) -> None:
        """Wait until a sample is there that was taken after now."""
        now = self.ask("date -u +%FT%TZ")
        self.wait_for(
            f"{_header(device)} | curl -s --cacert {CA} --max-time 5 -H @-"
            f" 'https://{HOST}/v1/realtime?device_id={device}' | grep -o '\"ts\":[^,}}]*'"
            f" | awk -F'\"' '{{ print; if ($4 > \"{now}\") new = 1 }} END {{ exit !new }}'",
            seconds,
        )

    def main_pid(self, unit: str) -> int:
        """The main process of a unit, 0 if there is none."""
        return int(self.ask(f"systemctl show --property=MainPID --value '{unit}'") or 0)

    def wait_for_another(self, unit: str, pid: int, seconds: float = 30) -> None:
        """Wait until another process than `pid` is the unit's main process, and ready."""
        new = f"p=$(systemctl show --property=MainPID --value '{unit}')"
        self.wait_for(
            f"{new}; [ $p -gt 0 ] && [ $p -ne {pid} ] && systemctl --quiet is-active '{unit}'",
            seconds,
        )

    def failed_units(self) -> str:
        """The units that systemd counts as failed."""
        return self.ask("systemctl list-units --failed --plain --no-legend")

    def release(self, unit: str) -> str:
        """The release that the unit's main process was started from."""
        return self.ask(f"readlink /proc/{self.main_pid(unit)}/cwd")

    def manifest(self) -> list[str]:
        """All that a second run could change: files, packages, users, running processes."""
        places = "/etc /opt /usr/local /usr/lib/systemd /var/lib/sunspool-api /run/sunspool"
        files = f"find {places} ! -path '*/metrics/*'"  # the API goes on counting
        pids = "caddy redis-server sunspool-api 'postgresql@*' 'sunspool-edge@*'"
        return self.ask(
            f"{files} -printf '%p %m %u:%g %s %T@ %l\\n' | sort; dpkg-query -W;"
            f" getent passwd; systemctl show --property=MainPID {pids};"
            " systemctl list-unit-files 'sunspool*'"
        ).splitlines()


def _header(token: str) -> str:
    """A command that prints the header of a token without showing it to `ps`."""
    return f"{{ printf 'Authorization: Bearer '; cat /root/{token}.token; }}"


def _succeeded(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
