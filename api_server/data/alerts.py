"""What the rules of alerts need to know of devices, the alerts themselves, and their messages."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from edge_agent.shared.alarms import FAULT_STATES
from edge_agent.shared.samples import format_time

LOCK = 7_395_021_468  # of the process that works
FAULT_LOOKBACK = timedelta(days=1)
COUNTERS = ("set_aside_count", "dropped", "lost")
KEPT = timedelta(days=30)  # a channel that took nothing for so long is not told what was then
LISTED = 100

_FIRST_NEWER = "SELECT min(ts) FROM {kind}_samples WHERE device_id = %s AND ts > %s"
_IS_FAULTY = "(coalesce(alarms, '') <> '' OR coalesce(running_state = ANY(%(faults)s), false))"
_STATE_SINCE = f"""
SELECT min(ts) FROM sungrow_samples WHERE device_id = %(device)s AND ts <= %(newest)s
    AND ts > coalesce((
        SELECT max(ts) FROM sungrow_samples
        WHERE device_id = %(device)s AND ts > %(since)s AND ts <= %(newest)s
            AND {_IS_FAULTY} <> %(faulty)s
            AND (alarms IS NOT NULL OR running_state IS NOT NULL AND NOT %(alarmed)s)
    ), %(since)s)
"""  # noqa: S608
_NOT_CLOSED = """
SELECT device_id, rule, since_ts, opened_ts, closing_ts, message_ts, value, detail, text FROM alerts
WHERE closed_ts IS NULL AND device_id = ANY(%s)
"""
_LIST = """
SELECT rule, alerts.device_id, opened_ts, closed_ts, alerts.text, value,
    coalesce(channels > 0 AND waiting = '{{}}', false)
FROM alerts LEFT JOIN alert_messages
    ON alert_messages.device_id = alerts.device_id AND alert_messages.message_id = alerts.message_id
WHERE alerts.device_id = ANY(%s) AND opened_ts IS NOT NULL AND closed_ts IS {closed} NULL
ORDER BY {order} DESC, rule, alerts.device_id {limit}
"""
_WAITING = """
SELECT * FROM alert_messages
WHERE waiting <> '{}' AND %(channel)s = ANY(waiting) AND created_ts > %(since)s
"""
_WAITING_ON_NODES = "SELECT * FROM alert_messages_waiting(%(channel)s, %(since)s)"
_MESSAGES = """
SELECT message_id::text, min(title), min(text), array_agg(device_id)
FROM ({waiting}) AS waiting GROUP BY message_id ORDER BY min(created_ts), 1
"""


class Change(NamedTuple):
    """What one look changes about an alert, and the message about it, if there is one."""

    device_id: str
    rule: str
    since_ts: datetime
    columns: dict[str, Any]  # of the alert; None in `forget` instead
    forget: bool = False
    message: dict[str, Any] | None = None


def find_first_newer(cursor: Any, kind: str, device_id: str, ts: datetime) -> datetime | None:
    """The time of the first sample after a time."""
    cursor.execute(_FIRST_NEWER.format(kind=kind), (device_id, ts))
    return cursor.fetchone()[0]


def find_state_since(
    cursor: Any, device_id: str, newest_ts: datetime, is_faulty: bool, has_alarms: bool
) -> datetime | None:
    """Since when an inverter's samples are as faulty, or not, as the newest; a day back.

    Where that one has alarms, samples whose alarms were not read say nothing.
    """
    values = {
        "device": device_id,
        "newest": newest_ts,
        "since": newest_ts - FAULT_LOOKBACK,
        "faulty": is_faulty,
        "alarmed": has_alarms,
        "faults": sorted(FAULT_STATES),
    }
    cursor.execute(_STATE_SINCE, values)
    return cursor.fetchone()[0]


def read_most(cursor: Any, device_ids: list[str], start: datetime) -> dict[str, float]:
    """What the quarter that runs since `start` comes to at most in W, by meter."""
    cursor.execute("SELECT * FROM p1_most_of_quarter(%s, %s)", (device_ids, start))
    return dict(cursor.fetchall())


def read_not_closed(cursor: Any, device_ids: list[str]) -> dict[tuple[str, str], tuple]:
    """(since_ts, opened_ts, closing_ts, message_ts, value, detail, text) by device and rule."""
    cursor.execute(_NOT_CLOSED, (device_ids,))
    return {(row[0], row[1]): row[2:] for row in cursor.fetchall()}


def read_counters(cursor: Any, device_ids: list[str]) -> dict[str, dict[str, int]]:
    """What agents had counted at the last look, by device."""
    cursor.execute(
        "SELECT device_id, set_aside_count, dropped, lost FROM alert_counters"
        " WHERE device_id = ANY(%s)",
        (device_ids,),
    )
    return {row[0]: dict(zip(COUNTERS, row[1:], strict=True)) for row in cursor.fetchall()}


def take_lock(cursor: Any) -> bool:
    """Whether this session is the one that works, as long as it lasts."""
    # Taken again by the same session it only counts up; with the session it goes.
    cursor.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
    return cursor.fetchone()[0]


def write(cursor: Any, changes: Iterable[Change], counters: dict[str, dict[str, int]]) -> bool:
    """Write what a look found; the caller is in a transaction. False: another process works now,
    since the session that looked was lost, and nothing is written."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,))
    if not cursor.fetchone()[0]:
        return False
    for change in changes:
        key = (change.device_id, change.rule, change.since_ts)
        if change.forget:
            cursor.execute(
                "DELETE FROM alerts WHERE device_id = %s AND rule = %s AND since_ts = %s", key
            )
            continue
        _put_alert(cursor, key, change.columns)
        if change.message:
            names = list(change.message)
            cursor.execute(
                f"INSERT INTO alert_messages (device_id, {', '.join(names)})"  # noqa: S608
                f" VALUES (%s, {', '.join('%s' for _ in names)})",
                [change.device_id, *change.message.values()],
            )
    for device_id, counts in counters.items():
        cursor.execute(
            "INSERT INTO alert_counters (device_id, set_aside_count, dropped, lost)"
            " VALUES (%s, %s, %s, %s) ON CONFLICT (device_id) DO UPDATE SET"
            " set_aside_count = excluded.set_aside_count, dropped = excluded.dropped,"
            " lost = excluded.lost",
            (device_id, counts["set_aside_count"], counts["dropped"], counts["lost"]),
        )
    return True


def _put_alert(cursor: Any, key: tuple, columns: dict[str, Any]) -> None:
    values = [json.dumps(v, default=str) if isinstance(v, dict) else v for v in columns.values()]
    cursor.execute(
        f"INSERT INTO alerts (device_id, rule, since_ts, {', '.join(columns)})"  # noqa: S608
        f" VALUES (%s, %s, %s, {', '.join('%s' for _ in columns)})"
        " ON CONFLICT (device_id, rule, since_ts) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in columns),
        [*key, *values],
    )


def lock(cursor: Any, channel: str, wanted: bool) -> bool:
    """Take or give back the lock of who sends to a channel; whether this session has it."""
    if not wanted:
        cursor.execute("SELECT pg_advisory_unlock_all()")
        return False
    # Taken again by the same session it only counts up; with the session it goes.
    cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (channel,))
    return cursor.fetchone()[0]


def find_waiting(cursor: Any, channel: str, now: datetime) -> list[tuple[str, str, str, list[str]]]:
    """(message_id, title, text, devices) of what a channel has not taken yet, oldest first."""
    cursor.execute("SELECT to_regproc('alert_messages_waiting') IS NOT NULL")
    query = _WAITING_ON_NODES if cursor.fetchone()[0] else _WAITING
    cursor.execute(_MESSAGES.format(waiting=query), {"channel": channel, "since": now - KEPT})
    return cursor.fetchall()


def note_taken(cursor: Any, channel: str, message_id: str, device_ids: list[str]) -> None:
    """A channel has taken a message about some devices: it never gets it again."""
    cursor.execute(
        "UPDATE alert_messages SET waiting = array_remove(waiting, %s)"
        " WHERE message_id = %s AND device_id = ANY(%s)",
        (channel, message_id, device_ids),
    )


def find_open(cursor: Any, device_ids: list[str]) -> list[tuple[str, str]]:
    """Device and rule of each alert that is open."""
    cursor.execute(
        "SELECT device_id, rule FROM alerts WHERE device_id = ANY(%s) AND closed_ts IS NULL"
        " AND opened_ts IS NOT NULL",
        (device_ids,),
    )
    return cursor.fetchall()


def answer(cursor: Any, device_ids: list[str]) -> dict[str, Any]:
    """The answer of GET /v1/alerts: open ones first, then the newest that were closed."""
    rows = []
    for closed, order, limit in (("", "opened_ts", ""), ("NOT", "closed_ts", f"LIMIT {LISTED}")):
        cursor.execute(_LIST.format(closed=closed, order=order, limit=limit), (device_ids,))
        rows += cursor.fetchall()
    names = ("rule", "device_id", "opened_ts", "closed_ts", "text", "value", "sent")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for alert in found:
        for name in ("opened_ts", "closed_ts"):
            alert[name] = format_time(alert[name]) if alert[name] else None
    return {"alerts": found}
