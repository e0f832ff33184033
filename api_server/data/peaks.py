"""A meter's month with its quarters, its last twelve months and what they cost, as its many viewers
ask for them.

Those of the running month are kept until the meter sends again, or for a moment.
"""

from datetime import date, datetime
from typing import Any, NamedTuple

from api_server.config import Settings
from api_server.data import capacity, cost, moment
from api_server.data.cache import Cache
from api_server.data.capacity import Meter
from api_server.data.database import Store
from api_server.data.periods import quarter_start

HIGHEST = 20  # of a month's quarters, with their numbers


class Peaks(NamedTuple):
    """The answers of the API, the month's with few of its quarters; of all of these the start in
    seconds since 1970 and the mean power in W."""

    month: dict[str, Any]
    quarters: list[tuple[float, float]]
    year: dict[str, Any]
    cost: dict[str, Any]


def read(
    store: Store, cache: Cache, settings: Settings, device_id: str, first: date, now: datetime
) -> Peaks:
    """Those of the local month that begins on `first`."""

    def ask() -> Peaks:
        meter = Meter(store, cache, settings, device_id, now)
        month = capacity.month(meter, first, HIGHEST)
        quarters = [(one.start_s, one.sampled_w) for one in meter.month(first)[0]]
        # The costs need the peaks of the twelve months as well.
        costs = cost.answer(meter, "year", first)
        return Peaks(month, quarters, capacity.year(meter, first), costs)

    if first != now.astimezone(settings.site_timezone).date().replace(day=1):
        return ask()
    # A quarter counts from its end on.
    return Peaks(*moment.read(cache, key(device_id), quarter_start(now), now, ask))


def key(device_id: str) -> str:
    """Where they are kept."""
    return f"peaks:{device_id}"
