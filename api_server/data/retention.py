"""Drops samples that are older than they are to be kept; the rollups of their time stay.

They go only once the rollups hold their time, and never what an energy is still followed by: where
a counter fell or jumped, the readings of that quarter are kept beside the samples.
"""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg2.extensions import connection as Connection

from api_server.data import rollups
from api_server.data.periods import QUARTER
from edge_agent.shared.samples import KINDS, Kind

PIECE = timedelta(days=7)
# A day more than is refused: nothing that is being stored lies below.
_LIMIT = "SELECT rollup_start('day', now() - make_interval(days => %s))"
_ARE_KEPT = "SELECT EXISTS (SELECT FROM rollup_levels() WHERE unit = 'quarter')"
_UNHELD = """
SELECT EXISTS (
    SELECT 1 FROM {kind}_devices AS device LEFT JOIN rollup_state AS state
        ON state.device_id = device.device_id AND kind = '{kind}'
    WHERE %(are_kept)s AND coalesce(kept_until, '-infinity') < %(limit)s
) OR EXISTS (SELECT 1 FROM rollup_marks WHERE kind = '{kind}' AND bucket < %(limit)s)
"""
_OLDEST = "SELECT min(ts) FROM {kind}_samples WHERE device_id = %s AND ts < %s"
_KEEP = """
INSERT INTO {kind}_kept_readings SELECT device_id, ts, {counters} FROM {kind}_samples
WHERE device_id = %s AND ts >= %s AND ts < %s ON CONFLICT DO NOTHING
"""
_OLD_CHUNK = """
SELECT EXISTS (
    SELECT FROM timescaledb_information.chunks
    WHERE hypertable_schema = current_schema() AND hypertable_name = %s AND range_end <= %s
)
"""
_DELETE = "DELETE FROM {kind}_samples WHERE device_id = %s AND ts < %s"


def drop(connection: Connection, days: int, zone: ZoneInfo) -> None:
    """Drop what is older than so many days; the connection commits every statement by itself."""
    with connection.cursor() as cursor:
        cursor.execute(_LIMIT, (days + 1,))
        [limit] = cursor.fetchone()
        cursor.execute(_ARE_KEPT)
        [are_kept] = cursor.fetchone()
        for kind in KINDS.values():
            cursor.execute(_UNHELD.format(kind=kind.name), {"limit": limit, "are_kept": are_kept})
            if cursor.fetchone()[0]:
                continue  # until the next refresh
            in_chunks = _is_in_chunks(cursor)
            if in_chunks and not _has_old_chunk(cursor, kind, limit):
                continue
            oldest = _find_oldest(cursor, kind, limit)
            for device_id in oldest:
                _keep_readings(cursor, kind, device_id, limit, zone)
            if in_chunks:
                cursor.execute("CALL rollup_drop_chunks(%s, %s, %s)", (kind.name, limit, days))
                continue
            for device_id, since in oldest.items():
                _delete(cursor, kind, device_id, since, limit)


def _is_in_chunks(cursor: Any) -> bool:
    """Whether the samples are hypertables."""
    cursor.execute("SELECT to_regproc('rollup_drop_chunks') IS NOT NULL")
    return cursor.fetchone()[0]


def _has_old_chunk(cursor: Any, kind: Kind, limit: datetime) -> bool:
    cursor.execute(_OLD_CHUNK, (f"{kind.name}_samples", limit))
    return cursor.fetchone()[0]


def _find_oldest(cursor: Any, kind: Kind, limit: datetime) -> dict[str, datetime]:
    """The oldest sample of each device that has one below the limit."""
    cursor.execute(f"SELECT device_id FROM {kind.name}_devices")  # noqa: S608
    found = {}
    for (device_id,) in cursor.fetchall():
        cursor.execute(_OLDEST.format(kind=kind.name), (device_id, limit))
        found[device_id] = cursor.fetchone()[0]
    return {device_id: oldest for device_id, oldest in found.items() if oldest}


def _keep_readings(
    cursor: Any, kind: Kind, device_id: str, limit: datetime, zone: ZoneInfo
) -> None:
    query = _KEEP.format(kind=kind.name, counters=", ".join(kind.counters))
    for start in rollups.find_needed(cursor, kind, device_id, zone):
        if start < limit:
            cursor.execute(query, (device_id, start, start + QUARTER))


def _delete(cursor: Any, kind: Kind, device_id: str, since: datetime, limit: datetime) -> None:
    while since < limit:
        since = min(since + PIECE, limit)
        cursor.execute(_DELETE.format(kind=kind.name), (device_id, since))
