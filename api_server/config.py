"""Settings of the API and of the migrations, read and checked completely before anything starts."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
from psycopg2 import extensions
from redis.connection import parse_url

from edge_agent.shared import environment
from edge_agent.shared.environment import InvalidSettings, Setting
from edge_agent.shared.samples import DEVICE_ID, KINDS

_TOKEN = re.compile(r"[\x21-\x7e]+")
_DIGEST = re.compile(r"sha256-[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Device:
    """A device that the server knows, and what it is."""

    device_id: str
    kind: str


def digest(token: bytes) -> bytes:
    """All that the server remembers of a token."""
    return hashlib.sha256(token).digest()


def device_tokens(value: str) -> dict[bytes, Device]:
    """Read `token:device_id[:kind],...`: a device by the digest of each token."""
    tokens: dict[bytes, Device] = {}
    kinds: dict[str, str] = {}
    for number, parts in _entries(value):
        if len(parts) not in (2, 3):
            raise ValueError(f"entry {number} must read token:device_id or token:device_id:kind")
        device = Device(_device_id(number, parts[1]), parts[2] if len(parts) == 3 else "sungrow")
        if device.kind not in KINDS:
            raise ValueError(f"entry {number}: the kind must be one of {', '.join(KINDS)}")
        if kinds.setdefault(device.device_id, device.kind) != device.kind:
            raise ValueError(f"entry {number}: its device has another kind in an earlier entry")
        if tokens.setdefault(_token(number, parts[0]), device) != device:
            raise ValueError(f"entry {number}: its token belongs to another device already")
    return tokens


def read_tokens(value: str) -> dict[bytes, frozenset[str]]:
    """Read `token:device_id[+device_id...],...`: what each token may read, by its digest."""
    tokens: dict[bytes, frozenset[str]] = {}
    for number, parts in _entries(value):
        if len(parts) != 2:
            raise ValueError(f"entry {number} must read token:device_id or token:device_id+...")
        devices = frozenset(_device_id(number, one) for one in parts[1].split("+"))
        token = _token(number, parts[0])
        if tokens.setdefault(token, devices) != devices:
            raise ValueError(f"entry {number}: its token reads other devices in an earlier entry")
    return tokens


def _entries(value: str) -> Iterator[tuple[int, list[str]]]:
    if value.strip():
        for number, entry in enumerate(value.split(","), 1):
            yield number, [part.strip() for part in entry.split(":")]


def _token(number: int, token: str) -> bytes:
    if _DIGEST.fullmatch(token):
        return bytes.fromhex(token.removeprefix("sha256-"))
    if token.startswith("sha256-") or not _TOKEN.fullmatch(token):
        raise ValueError(
            f"entry {number}: the token must be printable ASCII without space, or sha256-<64 hex>"
        )
    return digest(token.encode())


def _device_id(number: int, device_id: str) -> str:
    if not DEVICE_ID.fullmatch(device_id):
        raise ValueError(
            f"entry {number}: the device id must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        )
    return device_id


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


_ROLE = environment.pattern(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", "the name of a PostgreSQL role")
_DATABASE = (
    Setting("DATABASE_URL", _database_url, required=True, secret=True),
    Setting("SITE_TIMEZONE", environment.zone, default=ZoneInfo("Europe/Brussels")),
    Setting("MIGRATE_DATABASE_URL", _database_url, secret=True),
    Setting("API_ROLE", _ROLE, default="sunspool"),
)
TABLE = (
    *_DATABASE,
    Setting("REDIS_URL", _redis_url, required=True, secret=True),
    Setting("DEVICE_TOKENS", device_tokens, required=True, secret=True, empty_counts=True),
    Setting("READ_TOKENS", read_tokens, default={}, secret=True),
    Setting("CACHE_TTL_S", environment.integer(1, 86_400), default=5),
    Setting("MAX_SAMPLES_PER_REQUEST", environment.integer(1, 1_000_000), default=1000),
    Setting("MAX_REQUEST_BYTES", environment.integer(1, 2**30), default=1_048_576),
    Setting("CORS_ORIGINS", _origins, default=frozenset()),
    Setting("MAX_REQUESTS_PER_MINUTE", environment.integer(0, 10**9), default=1200),
)


@dataclass(frozen=True)
class DatabaseSettings:
    """What the migrations need."""

    database_url: str = field(repr=False)
    site_timezone: ZoneInfo
    migrate_database_url: str = field(repr=False)
    api_role: str


@dataclass(frozen=True)
class Settings(DatabaseSettings):
    """What the API was told; named as the settings in lower case."""

    redis_url: str = field(repr=False)
    device_tokens: dict[bytes, Device] = field(repr=False)
    read_tokens: dict[bytes, frozenset[str]] = field(repr=False)
    cache_ttl_s: int
    max_samples_per_request: int
    max_request_bytes: int
    cors_origins: frozenset[str]
    max_requests_per_minute: int

    def shown(self) -> dict[str, Any]:
        """The settings with their secrets masked."""
        return environment.shown(TABLE, vars(self))


def load(environ: Mapping[str, str]) -> Settings:
    """Read every setting of the API; raises InvalidSettings with all problems."""
    values, problems = environment.read(TABLE, environ)
    if not problems:
        problems = _disagreements(values)
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


def _disagreements(values: Mapping[str, Any]) -> list[str]:
    problems = []
    known = {device.device_id for device in values["device_tokens"].values()}
    if not all(devices <= known for devices in values["read_tokens"].values()):
        problems.append("READ_TOKENS must only name devices that DEVICE_TOKENS names")
    if values["read_tokens"].keys() & values["device_tokens"].keys():
        problems.append("READ_TOKENS must not hold a token of DEVICE_TOKENS")
    return problems
