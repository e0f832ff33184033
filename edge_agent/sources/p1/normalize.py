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

_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_FIELDS = {field.name: field for field in P1.fields}


@dataclass(frozen=True)
class Api:
    """A version of the meter's API: what is asked, and the names of the values in its answer."""

    measurement: str
    telegram: str
    remedy: str  # where it refuses
    power: str
    energy_import: str  # {} takes a tariff like _t1
    energy_export: str
    average: str
    peak: str
    peak_time: str
    tariff: str


V1 = Api(
    "/api/v1/data",
    "/api/v1/telegram",
    "switch on the local API in the HomeWizard app (settings of the meter)",
    "active_power_w",
    "total_power_import{}_kwh",
    "total_power_export{}_kwh",
    "active_power_average_w",
    "montly_power_peak_w",  # the device spells it so
    "montly_power_peak_timestamp",
    "active_tariff",
)
V2 = Api(
    "/api/measurement",
    "/api/telegram",
    "the meter does not know HW_P1_TOKEN; pair again: python -m edge_agent --pair",
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
        self.known: tuple[datetime, datetime] | None = None  # as the meter shows it, and when it is
        self._zone = zone

    def at(self, shown: Any, ts: datetime) -> datetime | None:
        """The instant of the time that the meter shows at ts, None if that is none."""
        naive = _naive(shown)
        if naive is None:
            return None
        if self.known is None or self.known[0] != naive:
            instants = _instants(naive, self._zone)
            if not instants:
                return None
            passed = [instant for instant in instants if instant <= ts + LEEWAY]
            self.known = (naive, max(passed, default=min(instants)))
        return self.known[1]


def normalize(
    body: Mapping[str, Any], api: Api, device_id: str, ts: datetime, peak_time: PeakTime
) -> dict[str, Any]:
    """Make a sample of the body, read at ts; raises NoPower if its power cannot be used."""
    power = _value("power_w", body.get(api.power))
    if power is None:
        raise NoPower(f"{api.power} is missing or not a power")
    peak_ts = peak_time.at(body.get(api.peak_time), ts)
    return {
        "device_id": device_id,
        "ts": format_time(ts),
        "power_w": power,
        "import_power_w": max(power, 0),
        **_energies("energy_import", body, api.energy_import),
        **_energies("energy_export", body, api.energy_export),
        "average_power_15m_w": _value("average_power_15m_w", body.get(api.average)),
        "monthly_power_peak_w": _value("monthly_power_peak_w", body.get(api.peak)),
        "monthly_power_peak_ts": None if peak_ts is None else format_time(peak_ts),
        "tariff": _value("tariff", body.get(api.tariff)),
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
    """A time as API v2 writes it, or as v1 does, a whole number YYMMDDhhmmss; else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = re.sub(r"^(..)(..)(..)(..)(..)(..)$", r"20\1-\2-\3T\4:\5:\6", f"{value:012}")
    if not isinstance(value, str) or not _LOCAL_TIME.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _energies(direction: str, body: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """The registers of the two tariffs of a household, and the total of all tariffs.

    Where the meter sends no total it is their sum.
    """
    field, total = f"{direction}_kwh", body.get(name.format(""))
    tariffs = {f"_t{number}": body.get(name.format(f"_t{number}")) for number in (1, 2, 3, 4)}
    if total is None:
        sent = [_value(field, value) for value in tariffs.values() if value is not None]
        # Without one of them the sum would be a counter too low.
        total = math.fsum(sent) if sent and None not in sent else None
    return {
        field: _value(field, total),
        f"{direction}_t1_kwh": _value(field, tariffs["_t1"]),
        f"{direction}_t2_kwh": _value(field, tariffs["_t2"]),
    }


def _value(field: str, raw: Any) -> float | None:
    """The number as the contract has it, or None if it is none or out of range."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    contract = _FIELDS[field]
    if not contract.low <= raw <= contract.high:  # also refuses NaN
        return None
    return round(raw) if contract.type == "int" else round(raw, 6)
