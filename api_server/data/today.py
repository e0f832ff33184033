"""One house as its many viewers ask for it: today with its curve, and the periods that run.

Kept until a device of the site sends again, or for a moment.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from api_server.data import balance, curve, moment, periods
from api_server.data.cache import Cache
from api_server.data.database import Store
from api_server.data.frames import Frame
from api_server.devices import Site

FRAMES = ("day", "month", "year", "all")  # of periods that are kept, each with one width of buckets


class Today(NamedTuple):
    """The balance of the day, None without any; the periods of its curve."""

    balance: dict[str, Any] | None
    curve: list[dict[str, Any]]


def read(store: Store, cache: Cache, site: Site, zone: ZoneInfo, now: datetime) -> Today:
    """The day so far."""
    start = periods.midnight(now.astimezone(zone).date(), zone)

    def ask() -> Today:
        whole = Frame("day", "day")
        [bucket] = balance.answer(store, site, whole, zone, now, cache)["series"] or [None]
        return Today(bucket, curve.read(store, cache, site, start, now))

    return Today(*moment.read(cache, _key("today", site), start, now, ask))


def history(
    store: Store, cache: Cache, site: Site, frame: Frame, zone: ZoneInfo, now: datetime
) -> list[dict[str, Any]]:
    """The balance of a frame, of which only the period that runs is kept; raises TooManyBuckets."""

    def ask() -> list[dict[str, Any]]:
        return balance.answer(store, site, frame, zone, now, cache)["series"]

    today = now.astimezone(zone).date()
    if frame.day and periods.floor(frame.day, frame.name) != periods.floor(today, frame.name):
        return ask()
    # Buckets end, and are complete, with a quarter.
    start = periods.quarter_start(now)
    return moment.read(cache, _key(f"history:{frame.name}", site), start, now, ask)


def keys(sites: Iterable[Site]) -> dict[str, list[str]]:
    """What a device's new samples outdate, by its id."""
    names = ["today", *(f"history:{frame}" for frame in FRAMES)]
    return {
        device_id: [_key(name, site) for name in names]
        for site in sites
        for device_id in site.device_ids
    }


def _key(name: str, site: Site) -> str:
    return f"{name}:{'+'.join(site.device_ids)}"
