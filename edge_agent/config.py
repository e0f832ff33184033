"""Settings of the agent: one table, read and checked completely before anything starts."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.shared import environment
from edge_agent.shared.environment import InvalidSettings, setting
from edge_agent.shared.samples import DEVICE_ID

STATE = Path("/var/lib/sunspool")


def certificates(value: str) -> Path:
    """The path of a PEM file with at least one certificate."""
    path = environment.readable_file(value)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError):
        raise ValueError(f"must name a PEM file with certificates, and {value} is none") from None
    return path


def _level(value: str) -> str:
    return environment.choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")(value.upper())


_HOST = environment.pattern(
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[\w.-]+)?",
    "a host name or an IP address, without port or path",
)
_PORT = environment.integer(1, 65535)
_TOKEN = environment.pattern(r"[\x21-\x7e]+", "printable ASCII without spaces")
_DEVICE_ID = environment.pattern(DEVICE_ID.pattern, "1 to 64 of the characters A-Z a-z 0-9 . _ -")


@dataclass(frozen=True)
class Settings:
    """The settings of one agent, named as in the environment, but in lower case."""

    sungrow_host: str | None = setting(_HOST)
    sungrow_port: int = setting(_PORT, 502)
    sungrow_slave_id: int = setting(environment.integer(1, 247), 1)
    inter_register_delay_ms: int = setting(environment.integer(20, 10_000), 20)
    hw_p1_host: str | None = setting(_HOST)
    hw_p1_token: str | None = setting(
        environment.pattern("[0-9A-Fa-f]{32}", "32 hex digits"), secret=True
    )
    hw_p1_api: str = setting(environment.choice("v2", "v1"), "v2")
    hw_p1_serial: str | None = setting(environment.pattern("[0-9A-Fa-f]{12}", "12 hex digits"))
    hw_p1_ca_file: Path | None = setting(certificates)
    hw_p1_timeout_s: float = setting(environment.number(1, 30), 3.0)
    hw_p1_port: int = setting(_PORT)  # default: that of the API
    hw_p1_timezone: ZoneInfo = setting(environment.zone, ZoneInfo("Europe/Brussels"))
    poll_interval_s: float = setting(environment.number(1, 86_400))  # default: that of the device
    vps_ingest_url: str = setting(environment.https_url, required=True)
    vps_device_token: str = setting(_TOKEN, required=True, secret=True)
    vps_ca_file: Path | None = setting(certificates)
    device_id: str = setting(_DEVICE_ID, required=True)
    batch_size: int = setting(environment.integer(1, 1000), 500)
    upload_interval_s: float = setting(environment.number(1, 86_400), 10.0)
    min_backoff_s: float = setting(environment.number(0.01, 86_400), 1.0)
    max_backoff_s: float = setting(environment.number(0.01, 86_400), 300.0)
    spool_path: Path = setting(Path)  # default: in the state of its device
    spool_max_mb: int = setting(environment.integer(1, 1_000_000), 1024)
    health_path: Path = setting(Path)  # default: beside the spool
    log_level: str = setting(_level, "INFO")
    vps_device_token_file: Path | None  # where a rotated token is read again, if it has a file

    @property
    def secrets(self) -> list[str]:
        """What is masked wherever it appears."""
        return [self.hw_p1_token or "", self.vps_device_token]

    def shown(self) -> dict[str, Any]:
        """The settings with their secrets masked."""
        return environment.shown(TABLE, vars(self))


TABLE = environment.table(Settings)


def load(environ: Mapping[str, str]) -> Settings:
    """Read and check every setting; raises InvalidSettings with all problems."""
    values, problems = _read(environ)
    if problems:
        raise InvalidSettings(problems)
    token_file = None
    if not environ.get("VPS_DEVICE_TOKEN", "").strip():
        token_file = environment.secret_file("VPS_DEVICE_TOKEN", environ)
    return Settings(**values, vps_device_token_file=token_file)


def check(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The settings as they may be printed, and everything that is wrong with them."""
    values, problems = _read(environ)
    return environment.shown(TABLE, values), problems


def spool(environ: Mapping[str, str]) -> tuple[Path, int]:
    """Where the spool lies and its MiB; needs SPOOL_PATH or DEVICE_ID only.

    Raises InvalidSettings.
    """
    values, problems = _read(environ)
    wrong = {problem.split()[0]: problem for problem in problems}
    if "SPOOL_MAX_MB" in wrong:
        raise InvalidSettings([wrong["SPOOL_MAX_MB"]])
    if values["spool_path"] is None:
        raise InvalidSettings([f"SPOOL_PATH or DEVICE_ID is needed: {wrong['DEVICE_ID']}"])
    return values["spool_path"], values["spool_max_mb"]


def read_token(path: Path) -> str | None:
    """The token that its file holds now, or None while it cannot be read."""
    table = [setting for setting in TABLE if setting.name == "VPS_DEVICE_TOKEN"]
    values, problems = environment.read(table, {"VPS_DEVICE_TOKEN_FILE": str(path)})
    return None if problems else values["vps_device_token"]


def _read(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    values, problems = environment.read(TABLE, environ)
    problems += _disagreements(values, {problem.split()[0] for problem in problems})
    _derive(values)
    return values, problems


def _disagreements(values: Mapping[str, Any], wrong: set[str]) -> list[str]:
    """What is wrong between settings, leaving out those that are `wrong` in themselves."""
    problems = []
    if values["sungrow_host"] and values["hw_p1_host"]:
        problems.append("SUNGROW_HOST and HW_P1_HOST exclude each other: one agent, one device")
    hosts = values["sungrow_host"] or values["hw_p1_host"]
    if not hosts and not wrong & {"SUNGROW_HOST", "HW_P1_HOST"}:
        problems.append("SUNGROW_HOST or HW_P1_HOST is required: exactly one of them")
    with_token = values["hw_p1_host"] and values["hw_p1_api"] == "v2"
    if with_token and not values["hw_p1_token"] and not wrong & {"HW_P1_TOKEN", "HW_P1_API"}:
        problems.append(
            "HW_P1_TOKEN (or its file in HW_P1_TOKEN_FILE, or the credential hw_p1_token) is"
            " required for API v2: `python -m edge_agent --pair` gets one"
        )
    if values["sungrow_host"] and (values["poll_interval_s"] or 5) < 5:
        problems.append("POLL_INTERVAL_S must be at least 5 for an inverter: its dongle chokes")
    if values["min_backoff_s"] > values["max_backoff_s"]:
        problems.append("MIN_BACKOFF_S must not be more than MAX_BACKOFF_S")
    return problems


def _derive(values: dict[str, Any]) -> None:
    """Fill in the defaults that depend on other settings."""
    if values["hw_p1_port"] is None:
        values["hw_p1_port"] = 80 if values["hw_p1_api"] == "v1" else 443
    if values["poll_interval_s"] is None:
        values["poll_interval_s"] = 1.0 if values["hw_p1_host"] else 5.0
    if values["spool_path"] is None and values["device_id"]:
        values["spool_path"] = STATE / values["device_id"] / "spool.db"
    if values["health_path"] is None and values["spool_path"]:
        values["health_path"] = values["spool_path"].with_name("health.json")
