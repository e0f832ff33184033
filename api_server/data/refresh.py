"""Brings the kept rollups up to date, device by device, in pieces that are right on their own.

Samples below `marked_until` of their device are marked by whoever stores them. It moves first, and
alone: the lock waits for all that are being stored and did not have to mark, and what comes later
has to. Then whatever lies below it is either seen or marked, and may be kept.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from psycopg2.extensions import connection as Connection

from api_server.data.postgres import for_each
from api_server.data.samples import run_alone
from edge_agent.shared.samples import KINDS

PIECE = timedelta(days=7)
# What is sent every few seconds is there by then; what comes later is marked.
DELAY = timedelta(minutes=5)
OPTIONS = "SET work_mem = '64MB'; SET jit = off; SET timezone = 'UTC'; SET lock_timeout = '10s'"

_DUE = """
SELECT device.device_id, coalesce(kept_until, '-infinity') FROM {kind}_devices AS device
LEFT JOIN rollup_state AS state ON state.device_id = device.device_id AND kind = '{kind}'
WHERE kept_until IS NULL OR kept_until < %(until)s OR EXISTS (
    SELECT FROM rollup_marks AS mark
    WHERE mark.device_id = device.device_id AND mark.kind = '{kind}'
)
"""
# The same, asked of each node alone; a device that is NULL stands for those of one that is away.
_DUE_ON_NODES = "SELECT device, kept FROM rollup_due('{kind}', %(until)s)"
_MOVE = """
INSERT INTO rollup_state AS state VALUES (%s, %s, '-infinity', %s)
ON CONFLICT (device_id, kind)
DO UPDATE SET marked_until = greatest(state.marked_until, excluded.marked_until)
"""


def refresh(connection: Connection) -> None:
    """Keep all that can be kept; the connection commits every statement by itself.

    Raises NodeAway in the end, if some devices could not be reached.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM rollup_levels()")
        if not cursor.fetchone()[0]:
            return
        cursor.execute(OPTIONS)
        cursor.execute("SELECT rollup_start('quarter', now() - %s)", (DELAY,))
        [until] = cursor.fetchone()
        due = [
            (device_id, kind, kept)
            for kind in KINDS
            for device_id, kept in find_due(cursor, kind, until)
        ]
        for_each(connection, due, partial(_refresh_device, cursor, until))


def find_due(cursor: Any, kind: str, until: datetime | str) -> list[tuple[str | None, datetime]]:
    """Devices that have something to be kept below a time, and until when they are kept; None
    stands for some that can not be asked now."""
    cursor.execute("SELECT to_regproc('rollup_due') IS NOT NULL")
    query = _DUE_ON_NODES if cursor.fetchone()[0] else _DUE
    cursor.execute(query.format(kind=kind), {"until": until})
    return cursor.fetchall()


def forget(connection: Connection, since: datetime) -> None:
    """Keep nothing from a time on; the next refresh makes it anew."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT rollup_forget(%s)", (since,))


def _refresh_device(
    cursor: Any, until: datetime, device_id: str, kind: str, kept: datetime
) -> None:
    move_marks(cursor, kind, device_id, until)
    for piece in _pieces(cursor, kind, device_id, kept, until):
        cursor.execute("SELECT rollup_refresh(%s, %s, %s)", (kind, device_id, piece))


def move_marks(cursor: Any, kind: str, device_id: str, until: datetime) -> None:
    """Have all samples below a time marked that are not stored yet."""
    run_alone(cursor, device_id, _MOVE, (device_id, kind, until))


def _pieces(
    cursor: Any, kind: str, device_id: str, kept: datetime, until: datetime
) -> Iterator[datetime]:
    """Up to which times it is kept, one after the other."""
    if kept.year <= 1:  # nothing yet: -infinity
        cursor.execute(
            f"SELECT rollup_start('quarter', min(ts)) FROM {kind}_samples"  # noqa: S608
            " WHERE device_id = %s",
            (device_id,),
        )
        kept = cursor.fetchone()[0] or until
    while kept + PIECE < until:
        kept += PIECE
        yield kept
    yield until
