"""Today of one house as its many viewers ask for it: what it has come to, and its curve."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.data import balance, curve, moment, periods
from api_server.data.cache import Cache
from api_server.data.database import Store
from api_server.data.frames import Frame
from api_server.devices import Site


class Today(NamedTuple):
    """The balance of the day, None without any; the periods of its curve."""

    balance: dict[str, Any] | None
    curve: list[dict[str, Any]]


def read(store: Store, cache: Cache, site: Site, zone: ZoneInfo, now: datetime) -> Today:
    """The day so far; kept until a device of the site sends again, or for a moment."""
    start = periods.midnight(now.astimezone(zone).date(), zone)

    def ask() -> Today:
        [bucket] = balance.answer(store, site, Frame("day", "day"), zone, now)["series"] or [None]
        return Today(bucket, curve.read(store, cache, site, start, now))

    return Today(*moment.read(cache, _key(site), start, now, ask))


def keys(sites: Iterable[Site]) -> dict[str, str]:
    """What a device's new samples outdate, by its id."""
    return {device_id: _key(site) for site in sites for device_id in site.device_ids}


def _key(site: Site) -> str:
    return f"today:{'+'.join(site.device_ids)}"
