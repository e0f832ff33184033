"""From the body of a HomeWizard answer to a sample; pure: the time of reading is passed in.

Every field but the power may be absent, null or wrong: the sample then says "unknown", never 0.
The meter gives its times in local time without an offset, so those of the repeated hour in autumn
mean two instants: of its clock the one nearer to the time of reading is taken, of the month peak
the later one that has passed.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from edge_agent.shared.samples import LEEWAY, P1, format_time

_FIELDS = {field.name: field for field in P1.fields}


@dataclass(frozen=True)
class Names:
    """What one version of the meter's API calls the values; {} takes a tariff like _t1."""

    power: str
    energy_import: str
    energy_export: str
    average: str
    peak: str
    peak_time: str
    tariff: str


V1 = Names(
    "active_power_w",
    "total_power_import{}_kwh",
    "total_power_export{}_kwh",
    "active_power_average_w",
    "montly_power_peak_w",  # the device spells it so
    "montly_power_peak_timestamp",
    "active_tariff",
)
V2 = Names(
    "power_w",
    "energy_import{}_kwh",
    "energy_export{}_kwh",
    "average_power_15m_w",
    "monthly_power_peak_w",
    "monthly_power_peak_timestamp",
    "tariff",
)


class NoPower(ValueError):
    """The body holds no usable power: it makes no sample."""


class PeakTime:
    """When the month peak was; one that is known stays while the meter shows the same time.

    So the later of two instants, once it has passed as well, does not take the earlier one's place.
    """

    def __init__(self, zone: tzinfo):
        self._zone = zone
        self._known: tuple[datetime, datetime] | None = None  # naive, instant

    def learn(self, naive: datetime, instant: datetime) -> None:
        """Take over what another source knows for certain."""
        self._known = (naive, instant)

    def at(self, shown: Any, ts: datetime) -> datetime | None:
        """The instant of the time that the meter shows at ts, None if that is none."""
        naive = _naive(shown)
        if naive is None:
            return None
        if self._known is None or self._known[0] != naive:
            instants = _instants(naive, self._zone)
            if not instants:
                return None
            passed = [instant for instant in instants if instant <= ts + LEEWAY]
            self._known = (naive, max(passed, default=min(instants)))
        return self._known[1]


def normalize(
    body: Mapping[str, Any], names: Names, device_id: str, ts: datetime, peak_time: PeakTime
) -> dict[str, Any]:
    """Make a sample of the body, read at ts; raises NoPower if its power cannot be used."""
    power = _value("power_w", body.get(names.power))
    if power is None:
        raise NoPower(f"{names.power} is missing or not a power")
    peak_ts = peak_time.at(body.get(names.peak_time), ts)
    return {
        "device_id": device_id,
        "ts": format_time(ts),
        "power_w": power,
        "import_power_w": max(power, 0),
        "energy_import_kwh": _energy("energy_import_kwh", body, names.energy_import),
        "energy_export_kwh": _energy("energy_export_kwh", body, names.energy_export),
        "average_power_15m_w": _value("average_power_15m_w", body.get(names.average)),
        "monthly_power_peak_w": _value("monthly_power_peak_w", body.get(names.peak)),
        "monthly_power_peak_ts": None if peak_ts is None else format_time(peak_ts),
        "tariff": _value("tariff", body.get(names.tariff)),
        **_tariff_registers(body, names),
    }


def meter_time(value: Any, zone: tzinfo, near: datetime) -> datetime | None:
    """The instant of a naive local time (ISO of v2, YYMMDDhhmmss of v1), None if it is neither."""
    naive = _naive(value)
    instants = _instants(naive, zone) if naive else []
    return min(instants, key=lambda instant: abs(instant - near), default=None)


def _instants(naive: datetime, zone: tzinfo) -> list[datetime]:
    """What a local time may mean: equal but for the two hours a year that clocks are changed."""
    try:
        return [naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    except OverflowError:
        return []


def _naive(value: Any) -> datetime | None:
    if isinstance(value, int) and not isinstance(value, bool):
        parts = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)", f"20{value:012}", re.ASCII)
    elif isinstance(value, str):
        parts = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)", value, re.ASCII)
    else:
        parts = None
    try:
        return datetime(*map(int, parts.groups())) if parts else None
    except ValueError:
        return None


def _energy(field: str, body: Mapping[str, Any], name: str) -> float | None:
    """The total, or the sum of the tariffs where the meter sends no total."""
    total = body.get(name.format(""))
    if total is not None:
        return _value(field, total)
    sent = [body.get(name.format(f"_t{tariff}")) for tariff in (1, 2, 3, 4)]
    tariffs = [_value(field, value) for value in sent if value is not None]
    if not tariffs or None in tariffs:  # without one of them the sum would be a counter too low
        return None
    return _value(field, math.fsum(tariffs))


def _tariff_registers(body: Mapping[str, Any], names: Names) -> dict[str, float | None]:
    """The registers of both tariffs; a household has no others."""
    directions = {"energy_import": names.energy_import, "energy_export": names.energy_export}
    return {
        (field := f"{direction}_t{tariff}_kwh"): _value(field, body.get(name.format(f"_t{tariff}")))
        for direction, name in directions.items()
        for tariff in (1, 2)
    }


def _value(field: str, raw: Any) -> float | None:
    """The number as the contract has it, or None if it is none or out of range."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    low, high = _FIELDS[field].low, _FIELDS[field].high
    if not low <= raw <= high:  # also refuses NaN
        return None
    return round(raw) if _FIELDS[field].type == "int" else round(raw, 6)
