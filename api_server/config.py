"""Settings of the API and of the migrations, read and checked completely before anything starts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg2
from psycopg2 import extensions
from redis.connection import parse_url

from api_server import devices
from api_server.devices import Device, Site, digest
from api_server.tariffs import files
from edge_agent.shared import environment
from edge_agent.shared.environment import InvalidSettings, Setting
from edge_agent.shared.samples import SUNGROW

__all__ = ["TABLE", "DatabaseSettings", "Device", "Settings", "digest", "load"]

LANGUAGES = ("en", "nl")
# The capacity tariff needs the quarters of a month, and the rollups must be behind them.
LEAST_KEPT_DAYS = 40


def _origins(value: str) -> frozenset[str]:
    origins = frozenset(origin.strip() for origin in value.split(",") if origin.strip())
    if not all(re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", origin) for origin in origins):
        raise ValueError("must be origins like https://app.example.org, comma-separated")
    return origins


def _database_url(value: str) -> str:
    try:
        extensions.parse_dsn(value)
    except psycopg2.Error:
        # Its own words may repeat a password.
        raise ValueError("must be a libpq URL or DSN") from None
    return value


def _redis_url(value: str) -> str:
    try:
        parse_url(value)
    except ValueError:
        raise ValueError("must be a redis://, rediss:// or unix:// URL") from None
    return value


def _alert_urls(value: str) -> tuple[str, ...]:
    urls = tuple(value.split())
    if not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", url) for url in urls):
        raise ValueError("must be Apprise URLs like ntfy://ntfy.example.org/topic, space-separated")
    return urls


def _web_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[\s\x00-\x1f]", value):
        raise ValueError("must be an http:// or https:// URL")
    return value


_ROLE = environment.pattern(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", "the name of a PostgreSQL role")
_DATABASE = (
    Setting("DATABASE_URL", _database_url, required=True, secret=True),
    Setting("SITE_TIMEZONE", environment.zone, default=ZoneInfo("Europe/Brussels")),
    Setting("MIGRATE_DATABASE_URL", _database_url, secret=True),
    Setting("API_ROLE", _ROLE, default="sunspool"),
    Setting("GRAFANA_ROLE", _ROLE, default="sunspool_grafana"),
    Setting("KEEP_SAMPLES_DAYS", environment.integer(LEAST_KEPT_DAYS, 36_500)),
)
TABLE = (
    *_DATABASE,
    Setting("REDIS_URL", _redis_url, required=True, secret=True),
    Setting("DEVICE_TOKENS", devices.device_tokens, required=True, secret=True, empty_counts=True),
    Setting("READ_TOKENS", devices.read_tokens, default={}, secret=True),
    Setting("SITES", devices.sites, default={}),
    Setting("BATTERY_KWH", devices.battery_kwh, default={}),
    Setting("CACHE_TTL_S", environment.integer(1, 86_400), default=5),
    Setting("MAX_SAMPLES_PER_REQUEST", environment.integer(1, 1_000_000), default=1000),
    Setting("MAX_REQUEST_BYTES", environment.integer(1, 2**30), default=1_048_576),
    Setting("CORS_ORIGINS", _origins, default=frozenset()),
    Setting("MAX_REQUESTS_PER_MINUTE", environment.integer(0, 10**9), default=1200),
    *files.SETTINGS,
    Setting("ALERT_URLS", _alert_urls, default=(), secret=True),
    Setting("ALERT_HEARTBEAT_URL", _web_url, secret=True),
    Setting("ALERT_INTERVAL_S", environment.integer(1, 86_400), default=15),
    Setting("ALERT_SILENCE_S", environment.integer(1, 31_536_000), default=900),
    Setting("ALERT_REPEAT_H", environment.number(0, 8760), default=24),
    Setting("ALERT_LANG", environment.choice(*LANGUAGES), default="en"),
)


@dataclass(frozen=True)
class DatabaseSettings:
    """What the migrations need."""

    database_url: str = field(repr=False)
    site_timezone: ZoneInfo
    migrate_database_url: str = field(repr=False)
    api_role: str
    grafana_role: str
    keep_samples_days: int | None

    @property
    def database_name(self) -> str:
        """The name of the database, as far as DATABASE_URL tells it."""
        return extensions.parse_dsn(self.database_url).get("dbname", "")


@dataclass(frozen=True)
class Settings(DatabaseSettings):
    """What the API was told; named as the settings in lower case."""

    redis_url: str = field(repr=False)
    device_tokens: dict[bytes, Device] = field(repr=False)
    read_tokens: dict[bytes, frozenset[str]] = field(repr=False)
    sites: dict[str, Site]  # by their names
    battery_kwh: dict[str, float]  # by the device id of its inverter
    cache_ttl_s: int
    max_samples_per_request: int
    max_request_bytes: int
    cors_origins: frozenset[str]
    max_requests_per_minute: int
    grid_area: str | None
    tariff_file: files.Contract | None
    alert_urls: tuple[str, ...] = field(repr=False)
    alert_heartbeat_url: str | None = field(repr=False)
    alert_interval_s: int
    alert_silence_s: int
    alert_repeat_h: float
    alert_lang: str

    def shown(self) -> dict[str, Any]:
        """The settings with their secrets masked."""
        return environment.shown(TABLE, vars(self))


def load(environ: Mapping[str, str]) -> Settings:
    """Read every setting of the API; raises InvalidSettings with all problems."""
    values, problems = environment.read(TABLE, environ)
    if not problems:
        problems = _settle(values)
    if problems:
        raise InvalidSettings(problems)
    return Settings(**_owner(values))


def load_for_migration(environ: Mapping[str, str]) -> DatabaseSettings:
    """Read the settings of the migrations only; raises InvalidSettings with all problems."""
    values, problems = environment.read(_DATABASE, environ)
    if values["migrate_database_url"]:
        problems = [problem for problem in problems if not problem.startswith("DATABASE_URL ")]
    if problems:
        raise InvalidSettings(problems)
    return DatabaseSettings(**_owner(values))


def _owner(values: dict[str, Any]) -> dict[str, Any]:
    return {
        **values,
        "migrate_database_url": values["migrate_database_url"] or values["database_url"],
    }


def _settle(values: dict[str, Any]) -> list[str]:
    """Give the sites their devices; what is wrong with what each setting says of the others."""
    problems = files.problems()
    kinds = {device.device_id: device.kind for device in values["device_tokens"].values()}
    if not all(device_ids <= kinds.keys() for device_ids in values["read_tokens"].values()):
        problems.append("READ_TOKENS must only name devices that DEVICE_TOKENS names")
    if values["read_tokens"].keys() & values["device_tokens"].keys():
        problems.append("READ_TOKENS must not hold a token of DEVICE_TOKENS")
    if any(kinds.get(device_id) != SUNGROW.name for device_id in values["battery_kwh"]):
        problems.append("BATTERY_KWH must only name inverters that DEVICE_TOKENS names")
    try:
        values["sites"] = devices.place(values["sites"], kinds)
    except ValueError as error:
        problems.append(f"SITES {error}")
    return problems
