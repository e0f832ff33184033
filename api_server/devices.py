"""The devices that the server knows: by whose tokens they send, who reads them, where they stand.

Every text of these settings is read here; a message names an entry by its number only, because
it may hold a token.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edge_agent.shared import environment
from edge_agent.shared.samples import DEVICE_ID, KINDS, P1, SUNGROW

_ENTRY = re.compile(r"(?:^|(?<=,))[^,]*")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_DIGEST = re.compile(r"sha256-[0-9a-fA-F]{64}")
_KWH = environment.number(0, 1000)
DEFAULT_SITE = "home"


@dataclass(frozen=True, slots=True)  # there may be very many
class Device:
    """A device that the server knows, and what it is."""

    device_id: str
    kind: str


@dataclass(frozen=True)
class Site:
    """One house: the device ids of its meter and of its inverters."""

    name: str
    meter: str
    inverters: tuple[str, ...]

    @property
    def device_ids(self) -> tuple[str, ...]:
        """Of every device."""
        return (self.meter, *self.inverters)


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
        kind = KINDS.get(parts[2]) if len(parts) == 3 else SUNGROW
        if kind is None:
            raise ValueError(f"entry {number}: the kind must be one of {', '.join(KINDS)}")
        device = Device(_device_id(number, parts[1]), kind.name)
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


def sites(value: str) -> dict[str, tuple[str, ...]]:
    """Read `name:device_id+device_id...,...`: the device ids of each site by its name."""
    found: dict[str, tuple[str, ...]] = {}
    for number, parts in _entries(value):
        if len(parts) != 2:
            raise ValueError(f"entry {number} must read name:device_id+device_id...")
        if not DEVICE_ID.fullmatch(parts[0]):
            raise ValueError(
                f"entry {number}: the name must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"
            )
        device_ids = tuple(_device_id(number, one.strip()) for one in parts[1].split("+"))
        taken = [one for others in found.values() for one in others]
        if len({*device_ids, *taken}) < len(device_ids) + len(taken):
            raise ValueError(f"entry {number}: a device stands in one site, and once")
        if found.setdefault(parts[0], device_ids) is not device_ids:
            raise ValueError(f"entry {number}: an earlier entry has its name")
    return found


def battery_kwh(value: str) -> dict[str, float]:
    """Read `device_id:kwh,...`: the usable capacity of each inverter's battery."""
    found: dict[str, float] = {}
    for number, parts in _entries(value):
        if len(parts) != 2:
            raise ValueError(f"entry {number} must read device_id:kwh")
        try:
            kwh = _KWH(parts[1])
        except ValueError as error:
            raise ValueError(f"entry {number}: the capacity {error}") from None
        if not kwh:
            raise ValueError(f"entry {number}: the capacity must be above 0")
        if found.setdefault(_device_id(number, parts[0]), kwh) != kwh:
            raise ValueError(f"entry {number}: its device has another capacity already")
    return found


def place(named: Mapping[str, tuple[str, ...]], kinds: Mapping[str, str]) -> dict[str, Site]:
    """The sites with the parts of their devices, whose kinds are given by their ids.

    Without any named, the one meter and its inverters are the site `home`. Raises ValueError.
    """
    if not named:
        meters = [device_id for device_id, kind in kinds.items() if kind == P1.name]
        if len(meters) != 1 or SUNGROW.name not in kinds.values():
            return {}
        named = {DEFAULT_SITE: tuple(kinds)}
    found = {}
    for number, (name, device_ids) in enumerate(named.items(), 1):
        if not set(device_ids) <= kinds.keys():
            raise ValueError(f"entry {number} must only name devices that DEVICE_TOKENS names")
        meters = [one for one in device_ids if kinds[one] == P1.name]
        inverters = tuple(one for one in device_ids if kinds[one] == SUNGROW.name)
        if len(meters) != 1 or not inverters:
            raise ValueError(f"entry {number} must name one meter (p1) and at least one inverter")
        found[name] = Site(name, meters[0], inverters)
    return found


def _entries(value: str) -> Iterator[tuple[int, list[str]]]:
    if value.strip():
        for number, entry in enumerate(_ENTRY.finditer(value), 1):  # of many, one at a time
            yield number, [part.strip() for part in entry[0].split(":")]


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
