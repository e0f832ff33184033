"""What agents report of themselves: the last report of each, and the month peaks of its meter.

The last report is in Redis at once. The table gets it at most once a minute, or when it tells a
peak that the table may not have: a report comes with every batch, and must not cost as much.
Without Redis the table gets every report.
"""

import json
import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import UNSET, Meta

from api_server.data.cache import Cache, Kept
from api_server.data.database import DatabaseUnavailable, Store
from api_server.data.periods import EARLIEST_YEAR, LATEST_YEAR
from api_server.data.postgres import array
from edge_agent.shared.samples import format_time, parse_time

WRITE_EVERY = timedelta(minutes=1)
WRITE_S = 1  # an ingest that is stored already waits no longer for its report
TEXT_LENGTH = 500
MONTHS_KEPT = 24
LEAST_INTERVAL_S, DAY_S = 0.1, 86_400
MAX_COUNT = 2**53
MAX_PEAK_W = 100_000

_WRITE = """
INSERT INTO agents (device_id, reported_ts, report, peaks) VALUES (%s, %s, %s, %s)
ON CONFLICT (device_id) DO UPDATE SET reported_ts = excluded.reported_ts,
    report = excluded.report, peaks = excluded.peaks
"""
_READ = """
SELECT device_id, reported_ts, report::text, peaks::text FROM agents WHERE device_id = ANY(%s)
"""

Peaks = dict[str, dict[str, Any]]  # of each month: {"w", "ts"}


class Agents:
    """Keeps and tells the last report of each device's agent."""

    def __init__(self, store: Store, cache: Cache):
        self._store, self._cache = store, cache
        # When this process last wrote the report of a device, the peaks as they came, and those
        # that it could not write.
        self._written: dict[str, tuple[datetime, Any, Peaks]] = {}

    def write(self, reports: list[tuple[str, Any, datetime]], cached: bool) -> list[str]:
        """Write `checked` reports, each with its device and time, into the table if that is due,
        or if they are not `cached`; whose told other peaks than the one before. Never raises."""
        answers, changed = True, []
        for device_id, report, now in reports:
            last, known, peaks = self._written.get(device_id, (None, None, {}))
            told = known if report.peaks is UNSET else report.peaks
            if cached and last and now - last < WRITE_EVERY and told == known:
                continue
            if report.peaks is not UNSET:
                peaks = peaks | _peaks(told, now)
            self._written[device_id] = now, told, peaks
            # After one that failed the others would wait in turn: the next reports are for that.
            answers = answers and self._try(device_id, report, peaks, now, not cached)
            if answers:
                self._written[device_id] = now, told, {}
            if told != known:
                changed.append(device_id)
        return changed

    def _try(self, device_id: str, report: Any, peaks: Peaks, now: datetime, always: bool) -> bool:
        """Write a report; whether that could be done. Its samples are stored already, and trouble
        with it must not undo that."""
        text = _json(_without_peaks(report))
        try:
            self._store.run(
                lambda cursor: _write(cursor, device_id, text, peaks, now, always), WRITE_S
            )
        except DatabaseUnavailable:
            return False
        return True

    def read(self, device_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The last report of each of the devices that has one, as it is answered."""
        device_ids = list(device_ids)
        found = self._store.run(lambda cursor: _rows(cursor, device_ids))
        cached = self._cache.recall_all([_key(device_id) for device_id in device_ids])
        told = {}
        for device_id, text in zip(device_ids, cached, strict=True):
            at, report, peaks = found.get(device_id, (None, {}, {}))
            newer = _cached(text) if text else None
            if newer and (at is None or at < newer[0]):
                at, report = newer
            if at is not None:
                told[device_id] = {
                    **_UNKNOWN,
                    **report,
                    "peaks": _listed(peaks),
                    "reported_ts": format_time(at),
                }
        return told


def parse(raw: bytes) -> Any:
    """A report as it came, as a Report; or else what its JSON says."""
    with suppress(msgspec.MsgspecError):
        return _decode_report(raw)
    return json.loads(bytes(raw))


def checked(raw: Any) -> Any:
    """A report that was parsed, as a Report of which only that is known which is as it should be;
    None for what is no report."""
    if isinstance(raw, Report):
        for name, check in _TEXTS.items():
            setattr(raw, name, _read(check, getattr(raw, name)))
        return raw
    if not isinstance(raw, dict):
        return None
    fields = {name: _read(check, raw.get(name)) for name, check in _FIELDS.items()}
    return Report(**fields, peaks=raw.get("peaks", UNSET))


def for_redis(device_id: str, report: Any, now: datetime) -> Kept:
    """What Redis keeps of a `checked` report."""
    return Kept(_key(device_id), msgspec.json.encode([now, _without_peaks(report)]), DAY_S)


def read_peaks(cursor: Any, device_id: str) -> Peaks:
    """What the meter of a device told of its month peaks, by month."""
    found = _rows(cursor, [device_id])
    return found[device_id][2] if found else {}


def _rows(cursor: Any, device_ids: list[str]) -> dict[str, tuple[datetime, dict[str, Any], Peaks]]:
    cursor.execute(_READ, (array(device_ids),))
    return {
        device_id: (at, _decode_known(report), msgspec.json.decode(peaks))
        for device_id, at, report, peaks in cursor.fetchall()
    }


def _write(
    cursor: Any, device_id: str, report: str, peaks: Peaks, now: datetime, always: bool
) -> None:
    """Write the report; not `always` if another process has just done so and no peak is new."""
    row = _rows(cursor, [device_id]).get(device_id)
    known = row[2] if row else {}
    merged = {month: peak for month, peak in (known | peaks).items() if _kept(month, now)}
    if always or row is None or now - row[0] >= WRITE_EVERY or merged != known:
        cursor.execute(_WRITE, (device_id, now, report, _json(merged)))


def _key(device_id: str) -> str:
    return f"agent:{device_id}"


def _cached(text: bytes) -> tuple[datetime, dict[str, Any]] | None:
    with suppress(msgspec.MsgspecError):
        return _decode_cached(text)
    return None


def _listed(peaks: Peaks) -> list[dict[str, Any]] | None:
    return [{"month": month, **peak} for month, peak in sorted(peaks.items())] or None


def _without_peaks(report: Any) -> Any:
    told = report.peaks is not UNSET
    return msgspec.structs.replace(report, peaks=UNSET) if told else report


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# A field that is not what it should be is unknown; the others, and the samples, are taken.
def _read(check: Callable[[Any], Any], value: Any) -> Any:
    try:
        return None if value is None else check(value)
    except (ValueError, TypeError):
        return None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise ValueError(value)
    return value


def _interval(value: Any) -> float:
    if not LEAST_INTERVAL_S <= _number(value) <= DAY_S:
        raise ValueError(value)
    return value


def _count(value: Any) -> int:
    return int(_number(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    value = value[:TEXT_LENGTH]
    if value.isprintable():
        return value
    # What is not printable is no text for JSON in PostgreSQL either.
    return "".join(sign if sign.isprintable() else " " for sign in value)


def _warning(value: Any) -> str | bool:
    return value if isinstance(value, bool) else _text(value)


def _time(value: Any) -> str:
    time = parse_time(value)
    if not EARLIEST_YEAR <= time.year <= LATEST_YEAR:
        raise ValueError(value)
    return format_time(time)


def _peaks(value: Any, now: datetime) -> Peaks:
    """The peaks of a report; what is no peak of a month that is kept is left out."""
    found: Peaks = {}
    for one in value if isinstance(value, list) else ():
        if isinstance(one, dict) and _kept(one.get("month"), now):
            watts = _read(_number, one.get("w"))
            if watts is not None and watts <= MAX_PEAK_W:
                found[one["month"]] = {"w": watts, "ts": _read(_time, one.get("ts"))}
    return found


def _kept(month: Any, now: datetime) -> bool:
    """Whether it is one of the last months, or the one that has begun somewhere by now."""
    if not isinstance(month, str) or not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month):
        return False
    latest = now + timedelta(days=1)
    age = (latest.year - int(month[:4])) * 12 + latest.month - int(month[5:])
    return 0 <= age < MONTHS_KEPT


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "version": _text,
    "poll_interval_s": _interval,
    "uptime_s": _number,
    "spool_count": _count,
    "oldest_ts": _time,
    "set_aside_count": _count,
    "thinned": _count,
    "dropped": _count,
    "lost": _count,
    "clock_warning": _warning,
    "last_error": _text,
}
_TEXTS = {name: check for name, check in _FIELDS.items() if check in (_text, _warning, _time)}
_WITHIN = {_count: (0, MAX_COUNT), _number: (0, MAX_COUNT), _interval: (LEAST_INTERVAL_S, DAY_S)}


def _type(check: Callable[[Any], Any]) -> Any:
    """What msgspec may take for a field, for which `check` then gives the same number."""
    if check not in _WITHIN:
        return str | bool if check is _warning else str
    low, high = _WITHIN[check]
    whole = Annotated[int, Meta(ge=math.ceil(low), le=high)]
    return whole if check is _count else whole | Annotated[float, Meta(ge=low, le=high)]


Report = msgspec.defstruct(
    "Report",
    [
        *((name, _type(check) | None, None) for name, check in _FIELDS.items()),
        ("peaks", Any, UNSET),
    ],
    forbid_unknown_fields=True,
)
_decode_report = msgspec.json.Decoder(Report).decode
# What another version may have kept beside them is left out.
_Known = TypedDict("_Known", dict.fromkeys(_FIELDS, Any), total=False)
_decode_known = msgspec.json.Decoder(_Known).decode
_decode_cached = msgspec.json.Decoder(tuple[datetime, _Known]).decode
_UNKNOWN = dict.fromkeys(_FIELDS)
