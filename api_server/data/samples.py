"""The samples of both kinds: how they come into their tables, and the newest one of a device."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from api_server.data.database import Store
from edge_agent.shared.samples import KINDS, Kind

RECENT = (timedelta(days=1), timedelta(days=30))  # to look in few chunks first, for its newest row

_INSERT = """
INSERT INTO {table} ({names})
SELECT %s, new.* FROM unnest({arrays}) AS new ON CONFLICT DO NOTHING RETURNING ts
"""
_NEWEST = "SELECT {names} FROM {table} WHERE device_id = %s AND ts > %s ORDER BY ts DESC LIMIT 1"


def insert(store: Store, kind: Kind, columns: dict[str, list[Any]]) -> int:
    """Store samples of one device, given as one list per column, and commit; how many are new.

    Known keys keep their values.
    """
    columns = _by_time(columns)
    device_id = columns["device_id"][0]
    arrays = [_times(columns["ts"])]
    for field in kind.fields:
        arrays.append(_AS_ARRAY.get(field.type, _numbers)(columns[field.name]))

    def work(cursor: Any) -> int:
        cursor.execute(_sql(_INSERT, kind.name), [device_id, *arrays])
        # The rows that come back are counted: a row count is not reliable on every database.
        return len(cursor.fetchall())

    return store.transaction(work)


def newest(store: Store, kind: Kind, device_id: str, now: datetime) -> dict[str, Any] | None:
    """The newest sample of a device by its time, or None."""

    def work(cursor: Any) -> tuple | None:
        for since in (*(now - recent for recent in RECENT), "-infinity"):
            cursor.execute(_sql(_NEWEST, kind.name), (device_id, since))
            row = cursor.fetchone()
            if row:
                return row
        return None

    row = store.run(work)
    return dict(zip(kind.columns, row, strict=True)) if row else None


def _by_time(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same samples, oldest first: batches that overlap then never wait for each other."""
    times = columns["ts"]
    order = sorted(range(len(times)), key=times.__getitem__)
    if order == list(range(len(times))):
        return columns
    return {name: [values[place] for place in order] for name, values in columns.items()}


@cache
def _sql(template: str, kind_name: str) -> str:
    kind = KINDS[kind_name]
    types = ("timestamptz", *(field.sql_type for field in kind.fields))
    return template.format(
        table=f"{kind.name}_samples",
        names=", ".join(kind.columns),
        arrays=", ".join(f"%s::{type_}[]" for type_ in types),
    )


# Columns as the text of PostgreSQL's arrays: far faster to make and to read than a literal each.
# Nothing in a checked sample needs quotes.
def _numbers(values: list[Any]) -> str:
    if values.count(values[0]) == len(values):  # what is not measured, and what hardly changes
        return "{" + ",".join([repr(values[0])] * len(values)).replace("None", "NULL") + "}"
    return "{" + repr(values)[1:-1].replace("None", "NULL") + "}"


def _times(values: list[Any]) -> str:
    return "{" + ",".join("NULL" if time is None else time.isoformat() for time in values) + "}"


def _texts(values: list[Any]) -> str:
    return "{" + ",".join("NULL" if text is None else f'"{text}"' for text in values) + "}"


_AS_ARRAY = {"time": _times, "text": _texts}
