"""The contract: the two kinds of sample, one line per field, and what makes a sample valid.

The agent builds and the server checks samples with this one table; columns, answers and tests
derive from it. A sample is a plain dict of JSON values. None means "not measured", never 0.
Gauges are averaged, counters are differenced, neither is ever summed.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
LEEWAY = timedelta(minutes=5)  # how far a sample may lie ahead of the clock that checks it
DEVICE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TEXT = re.compile(r"[0-9. ]{0,400}")

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]([01]\d|2[0-3])(:[0-5]\d:[0-5]\d)(?:\.(\d{1,6})\d*)?"
    r"(?:([Zz])|([+-](?:[01]\d|2[0-3]):[0-5]\d))",
    re.ASCII,
)
# What most samples have, and Python reads at once.
_USUAL_FORM = r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ"
_USUAL = re.compile(_USUAL_FORM, re.ASCII)
_USUAL_LINES = re.compile(rf"{_USUAL_FORM}(?:\n{_USUAL_FORM})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a sample; low and high are inclusive, in the unit that the name ends with."""

    name: str
    type: str  # "float", "int", "time" or "text"
    low: float = 0
    high: float = 0
    required: bool = False  # the key must be there
    nullable: bool = True
    counter: bool = False  # a lifetime counter: it only rises
    default: int | None = None

    @property
    def sql_type(self) -> str:
        """The type of its column in PostgreSQL."""
        return {
            "float": "double precision" if self.counter else "real",
            "int": "smallint" if self.high < 2**15 else "integer",
            "time": "timestamp with time zone",
            "text": "text",
        }[self.type]


def _gauge(name: str, low: float, high: float, **more: Any) -> Field:
    return Field(name, "float", low, high, **more)


def _integer(name: str, low: int, high: int, **more: Any) -> Field:
    return Field(name, "int", low, high, **more)


def _counter(name: str) -> Field:
    return Field(name, "float", 0, 10_000_000, counter=True)


@dataclass(frozen=True, slots=True)
class Rollup:
    """What the rollups of a kind hold beside device_id, bucket and sample_count."""

    averages: dict[str, str]  # of an answer -> the column that weighs it
    maxima: tuple[str, ...]
    energies: dict[str, str]  # of an answer -> the column of its counter
    order: tuple[str, ...]  # of the averages and maxima in an answer


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of device: the fields of its samples beside device_id and ts, and what differs by it.

    `frames` are those of its history, each with the width of its buckets, and a request for
    another one gets `bad_frame_status`.
    """

    name: str
    fields: tuple[Field, ...]
    poll_interval_s: float  # unless its agent is told otherwise
    max_power_w: int  # no device of this kind moves more: a faster counter is lying
    counter_step_kwh: float  # the last digit of its counters
    frames: dict[str, str]
    bad_frame_status: int
    rollup: Rollup

    @property
    def columns(self) -> tuple[str, ...]:
        """device_id, ts and every field, in the order of the table."""
        return ("device_id", "ts", *(field.name for field in self.fields))

    @property
    def counters(self) -> tuple[str, ...]:
        """Names of the lifetime counters."""
        return tuple(field.name for field in self.fields if field.counter)


SUNGROW = Kind(
    "sungrow",
    (
        _gauge("pv_power_w", 0, 50_000, required=True, nullable=False),
        _gauge("pv_daily_kwh", 0, 1000),
        _gauge("battery_power_w", -50_000, 50_000, required=True),  # + charging
        _gauge("battery_soc_pct", 0, 100, required=True),
        _gauge("battery_temp_c", -40, 100),
        _gauge("load_power_w", -50_000, 50_000, required=True),
        _gauge("export_power_w", -50_000, 50_000, required=True),  # + to the grid
        _integer("sample_count", 1, 100_000, default=1),
        _counter("pv_total_kwh"),
        _counter("import_total_kwh"),
        _counter("export_total_kwh"),
        _counter("charge_total_kwh"),
        _counter("discharge_total_kwh"),
        _gauge("mppt1_voltage_v", 0, 1500),
        _gauge("mppt1_current_a", 0, 100),
        _gauge("mppt2_voltage_v", 0, 1500),
        _gauge("mppt2_current_a", 0, 100),
        _gauge("battery_soh_pct", 0, 100),
        _gauge("inverter_temp_c", -40, 150),
        _gauge("grid_frequency_hz", 0, 70),
        _integer("running_state", 0, 65_535),
        _gauge("battery_capacity_kwh", 0, 1000),
        Field("alarms", "text"),  # set bits of the alarm words, as "13049.30 13065.14"; "" = none
    ),
    poll_interval_s=5,
    max_power_w=50_000,
    counter_step_kwh=0.1,
    frames={"day": "hour", "month": "day", "year": "month", "all": "month"},
    bad_frame_status=422,
    rollup=Rollup(
        averages={
            "avg_pv_power_w": "sample_count",
            "avg_battery_power_w": "battery_power_weight",
            "avg_battery_soc_pct": "battery_soc_weight",
            "avg_load_power_w": "load_power_weight",
            "avg_export_power_w": "export_power_weight",
        },
        maxima=("max_pv_power_w",),
        energies={
            "pv_kwh": "pv_total",
            "grid_import_kwh": "import_total",
            "grid_export_kwh": "export_total",
            "charge_kwh": "charge_total",
            "discharge_kwh": "discharge_total",
        },
        order=(
            "avg_pv_power_w",
            "max_pv_power_w",
            "avg_battery_power_w",
            "avg_battery_soc_pct",
            "avg_load_power_w",
            "avg_export_power_w",
        ),
    ),
)

P1 = Kind(
    "p1",
    (
        _integer("power_w", -100_000, 100_000, required=True, nullable=False),  # + import
        _integer("import_power_w", 0, 100_000, required=True, nullable=False),
        _counter("energy_import_kwh"),
        _counter("energy_export_kwh"),
        _integer("average_power_15m_w", 0, 100_000),
        _integer("monthly_power_peak_w", 0, 100_000),
        Field("monthly_power_peak_ts", "time"),
        _integer("tariff", 1, 4),
        _counter("energy_import_t1_kwh"),
        _counter("energy_import_t2_kwh"),
        _counter("energy_export_t1_kwh"),
        _counter("energy_export_t2_kwh"),
    ),
    poll_interval_s=1,
    max_power_w=100_000,
    counter_step_kwh=0.001,
    frames={"day": "hour", "week": "day", "month": "week", "year": "month", "all": "month"},
    bad_frame_status=400,
    rollup=Rollup(
        averages={"avg_power_w": "sample_count"},
        maxima=("max_power_w",),
        energies={"energy_import_kwh": "energy_import", "energy_export_kwh": "energy_export"},
        order=("avg_power_w", "max_power_w"),
    ),
)

KINDS = {kind.name: kind for kind in (SUNGROW, P1)}


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time with an offset as UTC; digits beyond microseconds are cut.

    Raises ValueError for anything else.
    """
    usual = _USUAL.fullmatch(text)
    match = usual or _RFC3339.fullmatch(text)
    if not match:
        raise ValueError("must be an RFC 3339 time with an offset, like 2026-11-21T14:00:00Z")
    try:
        if usual:
            return datetime.fromisoformat(text)
        day, hour, rest, fraction, _, offset = match.groups()
        digits = f"{fraction or '0':0<6}"
        time = datetime.fromisoformat(f"{day}T{hour}{rest}.{digits}{offset or '+00:00'}")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time that exists") from None


def parse_times(texts: list[str]) -> list[datetime]:
    """Read many; raises ValueError if any is none."""
    if _USUAL_LINES.fullmatch("\n".join(texts)):
        return list(map(datetime.fromisoformat, texts))
    return list(map(parse_time, texts))


def format_time(time: datetime) -> str:
    """Print a time in UTC, with six digits of fraction if it is not zero."""
    return time.astimezone(UTC).isoformat()[:-6] + "Z"
