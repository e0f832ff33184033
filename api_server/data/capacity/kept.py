"""The peaks of months that are over, kept in a table: reading all quarters of years takes seconds.

A month is claimed by an empty row, alone, before it is read: whoever stores a late sample removes
the row, and then what was read without that sample is not kept.
"""

import time
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from psycopg2.extensions import connection as Connection

from api_server.data import postgres, refresh, rollups
from api_server.data.capacity import quarters
from api_server.data.capacity.quarters import Peak, Peaks, Quarter
from api_server.data.periods import after, floor
from api_server.data.samples import run_alone
from edge_agent.shared.samples import P1

Bounds = tuple[datetime, datetime]

TOLD_UNTIL = timedelta(days=1)  # after its end a month's own peak may still be told
SETTLED = timedelta(hours=1)  # below what is marked by so much, nothing comes without a mark
LONGEST_S = 240  # of one run; the next goes on
TURN = 0x5065616B  # "Peak": one run at a time

_READ = """
SELECT month_start, month_end, official_w, official_ts, register_kwh, register_ts, sampled_w,
    sampled_ts
FROM p1_kept_peaks
WHERE device_id = %s AND month_start >= %s AND month_end <= %s AND depends_until < 'infinity'
"""
_READ_QUARTERS = """
SELECT quarters, official_w, official_ts FROM p1_kept_peaks
WHERE device_id = %s AND month_start = %s AND month_end = %s AND depends_until < 'infinity'
"""
_CLAIM = """
INSERT INTO p1_kept_peaks (device_id, month_start, month_end)
SELECT %s, * FROM unnest(%s::timestamptz[], %s::timestamptz[]) ON CONFLICT DO NOTHING
"""
_KEEP = """
UPDATE p1_kept_peaks SET official_w = %s, official_ts = %s, register_kwh = %s, register_ts = %s,
    sampled_w = %s, sampled_ts = %s, quarters = %s, depends_until = %s
WHERE device_id = %s AND month_start = %s AND month_end = %s
"""
_FORGET = """
DELETE FROM p1_kept_peaks WHERE depends_until >= %s AND EXISTS (
    SELECT FROM p1_samples
    WHERE p1_samples.device_id = p1_kept_peaks.device_id AND ts < month_end
)
"""


def read(cursor: Any, device_id: str, start: datetime, end: datetime) -> dict[Bounds, Peaks]:
    """What is kept of the months between two times, by their start and end."""
    cursor.execute(_READ, (device_id, start, end))
    return {
        (first, last): Peaks(
            _official(official, official_ts),
            None if kwh is None else quarters.by_register(kwh, register_ts),
            None if watts is None else quarters.as_sampled(watts, sampled_ts),
        )
        for first, last, official, official_ts, kwh, register_ts, watts, sampled_ts in cursor
    }


def read_quarters(
    cursor: Any, device_id: str, start: datetime, end: datetime
) -> tuple[list[Quarter], Peak | None] | None:
    """The quarters of a month and the meter's own peak, if they are kept."""
    cursor.execute(_READ_QUARTERS, (device_id, start, end))
    row = cursor.fetchone()
    if row is None:
        return None
    return quarters.unpack(row[0]), _official(*row[1:])


def _official(watts: float | None, ts: datetime | None) -> Peak | None:
    return None if watts is None else Peak(Fraction(watts), ts, "official")


def keep(connection: Connection, zone: ZoneInfo) -> None:
    """Keep what is over and not kept; the connection commits every statement by itself.

    Raises NodeAway in the end, if some meters could not be reached.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (TURN,))
        if not cursor.fetchone()[0]:
            return
        try:
            ends = time.monotonic() + LONGEST_S
            meters = [(one,) for one, _ in refresh.find_due(cursor, P1.name, "infinity")]
            postgres.for_each(connection, meters, partial(_keep_device, cursor, zone, ends))
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", (TURN,))


def forget(connection: Connection, since: datetime) -> None:
    """Keep nothing that samples from a time on can change; the next run makes it anew.

    A month whose samples are gone stays: its last readings are looked at one by one.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, (since,))


def _keep_device(cursor: Any, zone: ZoneInfo, ends: float, device_id: str) -> None:
    cursor.execute("SELECT rollup_marked('p1', %s)", (device_id,))
    [marked] = cursor.fetchone()
    if marked.year <= 1:  # nothing is: -infinity
        return
    settled = marked - SETTLED
    over = _over(cursor, device_id, settled, zone)
    if not over:
        return
    known = read(cursor, device_id, over[0][0], over[-1][1])
    missing = [month for month in reversed(over) if month not in known]
    if missing and time.monotonic() < ends:
        run_alone(cursor, device_id, _CLAIM, (device_id, *map(list, zip(*missing, strict=True))))
    for start, end in missing:
        if time.monotonic() < ends:
            _keep_month(cursor, device_id, start, end, settled, zone)


def _over(cursor: Any, device_id: str, settled: datetime, zone: ZoneInfo) -> list[Bounds]:
    """The months of a device that are over for good, oldest first."""
    at = rollups.find_first(cursor, P1, device_id, "month")
    if at is None:
        return []
    first, found = floor(at.astimezone(zone).date(), "month"), []
    while (bounds := quarters.bounds(first, zone)) and bounds[1] + TOLD_UNTIL <= settled:
        found.append(bounds)
        first = after(first, "month")
    return found


def _keep_month(
    cursor: Any, device_id: str, start: datetime, end: datetime, settled: datetime, zone: ZoneInfo
) -> None:
    listed, told, until = quarters.read(cursor, device_id, start, end, zone)
    if until is None or until > settled:
        return  # what comes next may say more of its last quarter
    own = quarters.read_official(cursor, device_id, start, end, told, end)
    official, register, sampled = quarters.peaks(own, listed, end)
    values = (
        *((float(official.watts), official.ts) if official else (None, None)),
        *((float(register.watts / 4000), register.ts) if register else (None, None)),
        *((float(sampled.watts), sampled.ts) if sampled else (None, None)),
        msgspec.json.encode(listed).decode(),
    )
    depends_until = max(until, end + TOLD_UNTIL)
    cursor.execute(_KEEP, (*values, depends_until, device_id, start, end))
