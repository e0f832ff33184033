"""Today's power of a house per 5 minutes."""

from datetime import datetime
from typing import Any

from api_server.data import battery as battery_of
from api_server.data.cache import Cache
from api_server.data.closed import PERIOD, Closed
from api_server.data.database import Store
from api_server.devices import Site
from edge_agent.shared.samples import P1, SUNGROW, Kind

GAUGES = {
    P1.name: ("power_w",),
    SUNGROW.name: ("pv_power_w", "battery_power_w", "battery_soc_pct"),
}
_READ = """
SELECT extract(epoch FROM date_bin('5 minutes', ts, '2020-01-01T00:00:00Z'))::bigint AS period,
    {means}
FROM {kind}_samples WHERE device_id = %s AND ts >= %s AND ts < %s GROUP BY 1
"""
_MEANS = {
    P1.name: "avg({0})::double precision",
    SUNGROW.name: "sum({0} * sample_count) / sum(sample_count) FILTER (WHERE {0} IS NOT NULL)",
}

# The means of a device by the start of each period, in seconds since 1970.
Means = dict[int, list[float | None]]

_CLOSED = Closed("curve", Means)


def read(
    store: Store, cache: Cache, site: Site, start: datetime, now: datetime
) -> list[dict[str, Any]]:
    """Each period since `start` in which a device of the site sent something, oldest first.

    Its `start` is in seconds since 1970; `home_power_w` is what the others leave, unknown where one
    of them is.
    """
    meter = _means(store, cache, P1, site.meter, start, now)
    inverters = [_inverter(store, cache, one, start, now) for one in site.inverters]
    seconds = sorted(meter.keys() | {second for one in inverters for second in one})
    return [_join(second, meter, inverters) for second in seconds]


def _inverter(store: Store, cache: Cache, device_id: str, start: datetime, now: datetime) -> Means:
    """The means of an inverter; 0 W of a battery that it does not have."""
    means = _means(store, cache, SUNGROW, device_id, start, now)
    unknown = means and all(told == [None, None] for _, *told in means.values())
    if unknown and not battery_of.has_told(store, cache, device_id):
        return {second: [pv, 0.0, None] for second, (pv, *_) in means.items()}
    return means


def _means(
    store: Store, cache: Cache, kind: Kind, device_id: str, start: datetime, now: datetime
) -> Means:
    def extend(means: Means, since: datetime, until: datetime) -> Means:
        return means | store.run(lambda cursor: _read(cursor, kind, device_id, since, until))

    means, closed = _CLOSED.read(cache, device_id, [start], now, {}, extend)
    return extend(means, closed, now + PERIOD)


def _read(cursor: Any, kind: Kind, device_id: str, since: datetime, until: datetime) -> Means:
    means = ", ".join(_MEANS[kind.name].format(name) for name in GAUGES[kind.name])
    cursor.execute(_READ.format(means=means, kind=kind.name), (device_id, since, until))
    return {row[0]: list(row[1:]) for row in cursor.fetchall()}


def _join(second: int, meter: Means, inverters: list[Means]) -> dict[str, Any]:
    grid = meter.get(second, [None])[0]
    told = [one.get(second, [None, None, None]) for one in inverters]
    pv, battery = _sum([one[0] for one in told]), _sum([one[1] for one in told])
    charges = [one[2] for one in told if one[2] is not None]
    home = _sum([pv, None if battery is None else -battery, grid])
    return {
        "start": second,
        "pv_power_w": pv,
        "battery_power_w": battery,
        "grid_power_w": grid,
        "home_power_w": home if home is None else max(home, 0.0),
        "battery_soc_pct": sum(charges) / len(charges) if charges else None,
    }


def _sum(values: list[float | None]) -> float | None:
    return None if None in values else sum(values)
