"""What agents report of themselves: the last report of each, and the month peaks of its meter.

The last report is in Redis at once. The table gets it at most once a minute, or when it tells a
peak that the table may not have: a report comes with every batch, and must not cost as much.
Without Redis the table gets every report.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from api_server.data.cache import Cache, Kept
from api_server.data.database import DatabaseUnavailable, Store
from api_server.data.periods import EARLIEST_YEAR, LATEST_YEAR
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
_READ = "SELECT device_id, reported_ts, report, peaks FROM agents WHERE device_id = ANY(%s)"

Peaks = dict[str, dict[str, Any]]  # of each month: {"w", "ts"}


class Agents:
    """Keeps and tells the last report of each device's agent."""

    def __init__(self, store: Store, cache: Cache):
        self._store, self._cache = store, cache
        # When this process last wrote the report of a device, and the peaks as they came.
        self._written: dict[str, tuple[datetime, Any]] = {}

    def write(self, device_id: str, raw: Mapping[str, Any], now: datetime, cached: bool) -> None:
        """Write a report, as it came, into the table if that is due, or if it is not `cached`;
        never raises."""
        last, known = self._written.get(device_id, (None, None))
        told = raw.get("peaks", known)
        if cached and last and now - last < WRITE_EVERY and told == known:
            return
        self._written[device_id], peaks = (now, told), _peaks(told, now)
        report = _checked(raw)
        # The samples are stored already: trouble with their agent's report must not undo that.
        with suppress(DatabaseUnavailable):
            self._store.run(
                lambda cursor: _write(cursor, device_id, report, peaks, now, not cached), WRITE_S
            )

    def read(self, device_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The last report of each of the devices that has one, as it is answered."""
        device_ids = list(device_ids)
        found = self._store.run(lambda cursor: _rows(cursor, device_ids))
        told = {device_id: (at, report) for device_id, (at, report, _) in found.items()}
        cached = self._cache.recall_all([_key(device_id) for device_id in device_ids])
        for device_id, text in zip(device_ids, cached, strict=True):
            newer = _cached(text)
            if newer and (device_id not in told or told[device_id][0] < newer[0]):
                told[device_id] = newer
        return {
            device_id: {
                **{name: report.get(name) for name in _FIELDS},
                "peaks": _listed(found[device_id][2] if device_id in found else {}),
                "reported_ts": format_time(at),
            }
            for device_id, (at, report) in told.items()
        }


def for_redis(device_id: str, raw: Mapping[str, Any], now: datetime) -> Kept:
    """What Redis keeps of a report that came."""
    return Kept(_key(device_id), json.dumps([format_time(now), _checked(raw)]), DAY_S)


def read_peaks(cursor: Any, device_id: str) -> Peaks:
    """What the meter of a device told of its month peaks, by month."""
    found = _rows(cursor, [device_id])
    return found[device_id][2] if found else {}


def _rows(cursor: Any, device_ids: list[str]) -> dict[str, tuple[datetime, dict[str, Any], Peaks]]:
    cursor.execute(_READ, (device_ids,))
    return {device_id: (at, report, peaks) for device_id, at, report, peaks in cursor.fetchall()}


def _write(
    cursor: Any, device_id: str, report: dict[str, Any], peaks: Peaks, now: datetime, always: bool
) -> None:
    """Write the report; not `always` if another process has just done so and no peak is new."""
    row = _rows(cursor, [device_id]).get(device_id)
    known = row[2] if row else {}
    merged = {month: peak for month, peak in (known | peaks).items() if _kept(month, now)}
    if always or row is None or now - row[0] >= WRITE_EVERY or merged != known:
        cursor.execute(_WRITE, (device_id, now, json.dumps(report), json.dumps(merged)))


def _key(device_id: str) -> str:
    return f"agent:{device_id}"


def _cached(text: bytes | None) -> tuple[datetime, dict[str, Any]] | None:
    try:
        at, report = json.loads(text or b"")
        return parse_time(at), dict(report)
    except (ValueError, TypeError):
        return None


def _listed(peaks: Peaks) -> list[dict[str, Any]] | None:
    return [{"month": month, **peak} for month, peak in sorted(peaks.items())] or None


def _checked(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _read(check, raw.get(name)) for name, check in _FIELDS.items()}


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
    # What is not printable is no text for JSON in PostgreSQL either.
    return "".join(sign if sign.isprintable() else " " for sign in value[:TEXT_LENGTH])


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
