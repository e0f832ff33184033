"""The samples of both kinds: how they come into their tables, and the newest one of a device."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from api_server.data.database import Store
from api_server.data.postgres import array, committed
from api_server.devices import Device
from edge_agent.shared.samples import KINDS, P1, Kind

LOCK = 0x526F6C6C  # "Roll": shared by who stores samples of a device, alone for who moves its marks
RECENT = (timedelta(days=1), timedelta(days=30))  # to look in few chunks first, for its newest row

OLD = timedelta(minutes=30)  # what is younger belongs to no month whose peaks are kept
_STORE = "SELECT store_{kind}_samples(%s, %s, {arrays}, forget_since => %s)"
_STORE_TOGETHER = """
SELECT * FROM store_{kind}_samples_together(%s, %s, new_device_id => %s, {arrays})
"""
_NEWEST = """
SELECT {names} FROM {table} WHERE device_id = %s AND ts > %s AND ts <= %s ORDER BY ts DESC LIMIT 1
"""
_NEWEST_OF = "SELECT device_id, {names} FROM {kind}_newest(%s, %s, %s)"


def insert(store: Store, kind: Kind, columns: dict[str, list[Any]]) -> int:
    """Store samples of one device, given as one list per column, and commit; how many are new.

    Known keys keep their values. What is older than the kept rollups is marked, for them to follow.
    """
    columns = _by_time(columns)
    arrays = [array(columns[name]) for name in kind.columns[1:]]
    device_id, oldest = columns["device_id"][0], columns["ts"][0]
    values = [LOCK, device_id, *arrays, _forget_since(kind, oldest)]
    statement = _sql(_STORE, kind.name)
    return store.run(lambda cursor: committed(cursor, statement, values)[0])


def shares(store: Store, kind: Kind, columns: dict[str, list[Any]]) -> bool:
    """Whether samples of one device can be stored together with those of others."""
    return not _forget_since(kind, min(columns["ts"])) and not store.distributed


def insert_together(
    store: Store, batches: list[tuple[Kind, dict[str, list[Any]]]]
) -> dict[str, int]:
    """Store samples of several devices, one batch of each, and commit; how many of each are new.

    A device that somebody has alone for now is left out.
    """
    queries, values = [], []
    for kind in KINDS.values():
        parts = sorted((b["device_id"][0], _by_time(b)) for one, b in batches if one is kind)
        if parts:
            queries.append(_sql(_STORE_TOGETHER, kind.name))
            values += [LOCK, array([device_id for device_id, _ in parts])]
            for name in kind.columns:
                values.append(array([value for _, part in parts for value in part[name]]))
    statement = " UNION ALL ".join(queries)

    def work(cursor: Any) -> dict[str, int]:
        cursor.execute(statement, values)
        found = dict(cursor.fetchall())
        if not found:
            cursor.execute("SELECT to_regproc('run_alone') IS NOT NULL")
            store.distributed = cursor.fetchone()[0]
        return found

    return store.run(work) if queries else {}


def _forget_since(kind: Kind, oldest: datetime) -> datetime | None:
    return oldest if kind is P1 and oldest < datetime.now(UTC) - OLD else None


def run_alone(cursor: Any, device_id: str, statement: str, values: Any) -> None:
    """Run a statement about a device while nobody stores samples of it, and commit."""
    cursor.execute("SELECT to_regproc('run_alone') IS NOT NULL")
    if cursor.fetchone()[0]:  # where the device is
        text = cursor.mogrify(statement, values).decode()
        committed(cursor, "SELECT run_alone(%s, %s, %s)", (LOCK, device_id, text))
        return
    cursor.execute("BEGIN")
    try:
        # Two statements: one alone would look at the time before it had the lock.
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCK, device_id))
        cursor.execute(statement, values)
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    committed(cursor, "COMMIT")


def newest(store: Store, kind: Kind, device_id: str, now: datetime) -> dict[str, Any] | None:
    """The newest sample of a device that is not ahead of `now`, else the newest, or None."""

    def work(cursor: Any) -> tuple | None:
        for span in _spans(now):
            cursor.execute(_sql(_NEWEST, kind.name), (device_id, *span))
            row = cursor.fetchone()
            if row:
                return row
        return None

    row = store.run(work)
    return dict(zip(kind.columns, row, strict=True)) if row else None


def newest_of(
    store: Store, kind: Kind, device_ids: list[str], fields: tuple[str, ...], now: datetime
) -> dict[str, dict[str, Any]]:
    """`ts` and some fields of the newest sample of each device, by the same rule; no entry
    without one."""
    names = ("ts", *fields)
    query = _NEWEST_OF.format(names=", ".join(names), kind=kind.name)

    def work(cursor: Any) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for span in _spans(now):
            missing = [device_id for device_id in device_ids if device_id not in found]
            if not missing:
                break
            cursor.execute(query, (array(missing), *span))
            for device_id, *values in cursor.fetchall():
                found[device_id] = dict(zip(names, values, strict=True))
        return found

    return store.run(work)


def newest_times(store: Store, devices: list[Device], now: datetime) -> dict[str, datetime]:
    """When the newest sample of each device is from, of all kinds at once; by the same rule."""

    def work(cursor: Any) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for span in _spans(now):
            missing: dict[str, list[str]] = {}
            for device in devices:
                if device.device_id not in found:
                    missing.setdefault(device.kind, []).append(device.device_id)
            if not missing:
                break
            queries = [_NEWEST_OF.format(names="ts", kind=kind) for kind in missing]
            values = [value for ids in missing.values() for value in (array(ids), *span)]
            cursor.execute(" UNION ALL ".join(queries), values)
            found.update(cursor.fetchall())
        return found

    return store.run(work)


def reachable(store: Store, device_ids: list[str]) -> list[str]:
    """Those of some devices that can be asked now, where they are on several nodes."""

    def work(cursor: Any) -> list[str]:
        cursor.execute("SELECT to_regproc('reachable') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return device_ids
        cursor.execute("SELECT reachable(%s)", (device_ids,))
        return [device_id for (device_id,) in cursor.fetchall()]

    return store.run(work)


def _spans(now: datetime) -> list[tuple[Any, Any]]:
    """Where to look for the newest sample, one after the other: first in few chunks."""
    known = [(now - recent, now) for recent in RECENT]
    return [*known, ("-infinity", now), (now, "infinity")]


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
    return template.format(
        kind=kind.name,
        table=f"{kind.name}_samples",
        names=", ".join(kind.columns),
        arrays=", ".join(f"new_{name} => %s" for name in kind.columns[1:]),
    )
