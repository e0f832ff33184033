"""Checks samples as they come from JSON against the table of their kind, a column at a time."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from edge_agent.shared.samples import (
    DEVICE_ID,
    EARLIEST,
    LEEWAY,
    P1,
    TEXT,
    Field,
    Kind,
    parse_time,
    parse_times,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field of one sample; msg says what would be right."""

    index: int
    field: str
    msg: str
    type: str


def decode(
    kind: Kind, samples: list[Any], now: datetime, keep_days: int | None = None
) -> tuple[dict[str, list[Any]], list[Problem]]:
    """Turn samples as parsed from JSON into one list of values per column of the kind.

    Times become datetimes in UTC, integers are rounded half to even, absent fields become None
    or their default. With any problem the columns are of no use; every bad sample has at least
    one. `device_id` is checked for its form only. A sample older than `keep_days` is refused.
    """
    objects = [index for index, sample in enumerate(samples) if isinstance(sample, dict)]
    if len(objects) < len(samples):
        _, problems = decode(kind, [samples[index] for index in objects], now, keep_days)
        problems = [replace(problem, index=objects[problem.index]) for problem in problems]
        for index in sorted(set(range(len(samples))) - set(objects)):
            problems.append(Problem(index, "device_id", "a sample must be an object", "object"))
        return {}, sorted(problems, key=lambda problem: problem.index)
    columns: dict[str, list[Any]] = {}
    problems: list[Problem] = []
    span = time_span(now, keep_days)
    readers = {**_READERS, "ts": _ts_within(span)}
    for field, raw in zip((_DEVICE_ID, _TS, *kind.fields), _transposed(kind, samples), strict=True):
        values = _plain(field, raw, span)
        if values is None:
            values = _column(samples, field, readers[field.type], problems)
        columns[field.name] = values
    if kind is P1:
        problems.extend(_import_mismatches(columns))
    problems.sort(key=lambda problem: problem.index)
    return columns, problems


def time_span(now: datetime, keep_days: int | None) -> tuple[datetime, datetime]:
    """The earliest and the latest time that a sample may have."""
    earliest = max(EARLIEST, now - timedelta(days=keep_days)) if keep_days else EARLIEST
    return earliest, now + LEEWAY


def _transposed(kind: Kind, samples: list[dict]) -> Iterable[list[Any]]:
    """The values of each column as they came, None where a sample has none."""
    try:
        rows = list(map(itemgetter(*kind.columns), samples))
    except KeyError:
        return [[sample.get(name) for sample in samples] for name in kind.columns]
    return map(list, zip(*rows, strict=True)) if rows else [[] for _ in kind.columns]


def _plain(field: Field, raw: list[Any], span: tuple[datetime, datetime]) -> list[Any] | None:
    """A whole column at once, by its types and extremes; None if it needs a closer look.

    JSON admits no NaN (the parser refuses it), so the extremes speak for every value.
    """
    types, given = set(map(type, raw)), raw
    if type(None) in types:
        if field.required or field.default is not None:
            return None
        types.remove(type(None))
        given = [value for value in raw if value is not None]
    if not types <= _PLAIN_TYPES[field.type]:
        return None
    if not given:
        return raw
    if field.type == "device_id":
        return raw if set(given) == {given[0]} and DEVICE_ID.fullmatch(given[0]) else None
    if field.type == "text":
        return raw if all(map(TEXT.fullmatch, set(given))) else None
    if field.type == "ts":
        try:
            times = parse_times(given)
        except ValueError:
            return None
        return times if min(times) >= span[0] and max(times) <= span[1] else None
    return raw if field.low <= min(given) and max(given) <= field.high else None


def _column(samples: list[dict], field: Field, read: Any, problems: list[Problem]) -> list[Any]:
    """Read one field of every sample, noting a problem for each that is missing or wrong."""
    values = []
    for index, sample in enumerate(samples):
        raw, value = sample.get(field.name), None
        if raw is None:
            value = field.default
            if field.required and field.name not in sample:
                problems.append(Problem(index, field.name, "is required", "missing"))
            elif not field.nullable:
                problems.append(Problem(index, field.name, "must not be null", "null"))
        else:
            try:
                value = read(field, raw)
            except TypeError as error:
                problems.append(Problem(index, field.name, str(error), "type"))
            except ValueError as error:
                problems.append(Problem(index, field.name, str(error), "value"))
        values.append(value)
    return values


def _number(field: Field, raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise TypeError("must be a number")
    if not field.low <= raw <= field.high:  # also refuses NaN
        raise ValueError(f"must be from {field.low} to {field.high}")
    return raw


def _whole_number(field: Field, raw: Any) -> int:
    if isinstance(raw, float) and abs(raw) < 2**53:
        raw = round(raw)
    return int(_number(field, raw))


def _time(_field: Field, raw: Any) -> datetime:
    if not isinstance(raw, str):
        raise TypeError("must be a string: an RFC 3339 time with an offset")
    return parse_time(raw)


def _device_id(_field: Field, raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError("must be a string")
    if not DEVICE_ID.fullmatch(raw):
        raise ValueError("must be 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return raw


def _text(_field: Field, raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError("must be a string")
    if not TEXT.fullmatch(raw):
        raise ValueError("must be at most 400 digits, dots and spaces")
    return raw


def _ts_within(span: tuple[datetime, datetime]) -> Callable[[Field, Any], datetime]:
    earliest, latest = span

    def read(field: Field, raw: Any) -> datetime:
        time = _time(field, raw)
        if time < EARLIEST:
            raise ValueError("must not be before 2020-01-01")
        if time < earliest:
            raise ValueError(f"must not be before {earliest:%Y-%m-%d}: older samples are not kept")
        if time > latest:
            raise ValueError("must not be more than 5 minutes ahead of the server")
        return time

    return read


def _import_mismatches(columns: dict[str, list[Any]]) -> Iterator[Problem]:
    powers = zip(columns["power_w"], columns["import_power_w"], strict=True)
    for index, (power, imported) in enumerate(powers):
        if None not in (power, imported) and imported != max(power, 0):
            yield Problem(index, "import_power_w", "must be power_w, or 0 if negative", "mismatch")


_DEVICE_ID = Field("device_id", "device_id", required=True, nullable=False)
_TS = Field("ts", "ts", required=True, nullable=False)
_READERS = {
    "device_id": _device_id,
    "float": _number,
    "int": _whole_number,
    "time": _time,
    "text": _text,
}
_PLAIN_TYPES = {
    "device_id": {str},
    "ts": {str},
    "float": {float, int},
    "int": {int},
    "time": set(),
    "text": {str},
}
