"""Settings of the agent: one table, read and checked completely before anything starts."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.shared import environment
from edge_agent.shared.environment import InvalidSettings, Setting
from edge_agent.shared.samples import DEVICE_ID

STATE = Path("/var/lib/sunspool")


@dataclass(frozen=True)
class Settings:
    """The settings of one agent, named as in the environment, but in lower case."""

    sungrow_host: str | None
    sungrow_port: int
    sungrow_slave_id: int
    inter_register_delay_ms: int
    hw_p1_host: str | None
    hw_p1_token: str | None = field(repr=False)
    hw_p1_api: str
    hw_p1_serial: str | None
    hw_p1_ca_file: Path | None
    hw_p1_timeout_s: float
    hw_p1_port: int
    hw_p1_timezone: ZoneInfo
    poll_interval_s: float
    vps_ingest_url: str
    vps_device_token: str = field(repr=False)
    vps_ca_file: Path | None
    device_id: str
    batch_size: int
    upload_interval_s: float
    min_backoff_s: float
    max_backoff_s: float
    spool_path: Path
    spool_max_mb: int
    health_path: Path
    log_level: str
    vps_device_token_file: Path | None  # where a rotated token is read again, if it has a file

    @property
    def secrets(self) -> list[str]:
        """What is masked wherever it appears."""
        return [self.hw_p1_token or "", self.vps_device_token]

    def shown(self) -> dict[str, Any]:
        """The settings with their secrets masked."""
        return environment.shown(TABLE, vars(self))


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
_DEVICE_ID = environment.pattern(DEVICE_ID.pattern, "1 to 64 of the characters A-Z a-z 0-9 . _ -")

TABLE = (
    Setting("SUNGROW_HOST", _HOST),
    Setting("SUNGROW_PORT", _PORT, default=502),
    Setting("SUNGROW_SLAVE_ID", environment.integer(1, 247), default=1),
    Setting("INTER_REGISTER_DELAY_MS", environment.integer(20, 10_000), default=20),
    Setting("HW_P1_HOST", _HOST),
    Setting("HW_P1_TOKEN", environment.pattern("[0-9A-Fa-f]{32}", "32 hex digits"), secret=True),
    Setting("HW_P1_API", environment.choice("v2", "v1"), default="v2"),
    Setting("HW_P1_SERIAL", environment.pattern("[0-9A-Fa-f]{12}", "12 hex digits")),
    Setting("HW_P1_CA_FILE", certificates),
    Setting("HW_P1_TIMEOUT_S", environment.number(1, 30), default=3.0),
    Setting("HW_P1_PORT", _PORT),
    Setting("HW_P1_TIMEZONE", environment.zone, default=ZoneInfo("Europe/Brussels")),
    Setting("POLL_INTERVAL_S", environment.number(1, 86_400)),
    Setting("VPS_INGEST_URL", environment.https_url, required=True),
    Setting(
        "VPS_DEVICE_TOKEN",
        environment.pattern(r"[\x21-\x7e]+", "printable ASCII without spaces"),
        required=True,
        secret=True,
    ),
    Setting("VPS_CA_FILE", certificates),
    Setting("DEVICE_ID", _DEVICE_ID, required=True),
    Setting("BATCH_SIZE", environment.integer(1, 1000), default=500),
    Setting("UPLOAD_INTERVAL_S", environment.number(1, 86_400), default=10.0),
    Setting("MIN_BACKOFF_S", environment.number(0.01, 86_400), default=1.0),
    Setting("MAX_BACKOFF_S", environment.number(0.01, 86_400), default=300.0),
    Setting("SPOOL_PATH", Path),
    Setting("SPOOL_MAX_MB", environment.integer(1, 1_000_000), default=1024),
    Setting("HEALTH_PATH", Path),
    Setting("LOG_LEVEL", _level, default="INFO"),
)
_SPOOL_NAMES = ("SPOOL_PATH", "SPOOL_MAX_MB", "DEVICE_ID", "LOG_LEVEL")
_SPOOL_TABLE = tuple(setting for setting in TABLE if setting.name in _SPOOL_NAMES)


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
    values, problems = environment.read(_SPOOL_TABLE, environ)
    problems = {problem.split()[0]: problem for problem in problems}
    if "SPOOL_MAX_MB" in problems:
        raise InvalidSettings([problems["SPOOL_MAX_MB"]])
    if not values["spool_path"] and "DEVICE_ID" in problems:
        raise InvalidSettings([f"SPOOL_PATH or DEVICE_ID is needed: {problems['DEVICE_ID']}"])
    path = values["spool_path"] or _default_spool_path(values["device_id"])
    return path, values["spool_max_mb"]


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
    if not (
        values["sungrow_host"] or values["hw_p1_host"] or wrong & {"SUNGROW_HOST", "HW_P1_HOST"}
    ):
        problems.append("SUNGROW_HOST or HW_P1_HOST is required: exactly one of them")
    if (
        values["hw_p1_host"]
        and values["hw_p1_api"] == "v2"
        and not values["hw_p1_token"]
        and not wrong & {"HW_P1_TOKEN", "HW_P1_API"}
    ):
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
        values["spool_path"] = _default_spool_path(values["device_id"])
    if values["health_path"] is None and values["spool_path"]:
        values["health_path"] = values["spool_path"].with_name("health.json")


def _default_spool_path(device_id: str) -> Path:
    return STATE / device_id / "spool.db"
