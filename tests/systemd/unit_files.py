"""The files in systemd/ as tests read them."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "systemd"
UNITS = ("sunspool-api.service", "sunspool-edge@.service", "sunspool-alerts.service")
SERVICES = sorted(FOLDER.glob("*.service"))
PROBE = ("sunspool-api-probe.service", "sunspool-api-probe.timer")
DROP_INS = ("caddy.service", "postgresql@.service")


def text(name: str) -> str:
    """The whole file."""
    return (FOLDER / name).read_text(encoding="utf-8")


def directives(name: str) -> list[tuple[str, str]]:
    """Every line `Name=value` of a unit."""
    return re.findall(r"^([A-Z]\w*)=(.*)$", text(name), re.MULTILINE)


def values(name: str, directive: str) -> list[str]:
    """What a directive of a unit is set to, line by line."""
    return [value for key, value in directives(name) if key == directive]
