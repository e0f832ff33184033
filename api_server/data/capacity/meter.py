"""What a request reads of a meter's months, each thing once.

The days of the running month that are over are kept in Redis for whoever asks next; whoever takes
in samples of a closed quarter has them forgotten.
"""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

from api_server.config import Settings
from api_server.data import agents, rollups
from api_server.data.cache import Cache
from api_server.data.capacity import kept, quarters
from api_server.data.capacity.quarters import Peak, Quarter
from api_server.data.database import HISTORY_S, Store
from api_server.data.periods import midnight
from edge_agent.shared.samples import P1, parse_time

KEPT_S = 300  # how long what is closed is remembered, if nothing late comes in
LATE = timedelta(seconds=60)  # samples of a quarter still come for so long, as a matter of course


class Meter:
    """One meter at one moment."""

    def __init__(
        self, store: Store, cache: Cache, settings: Settings, device_id: str, now: datetime
    ):
        self.store, self.cache, self.settings = store, cache, settings
        self.device_id, self.now = device_id, now
        self.zone = settings.site_timezone
        self._months: dict[date, tuple[list[Quarter], Peak | None]] = {}

    def month(self, first: date) -> tuple[list[Quarter], Peak | None]:
        """The quarters of the local month that begins on `first`, and the meter's own peak."""
        bounds = quarters.bounds(first, self.zone)
        if bounds is None:
            return [], None
        if first not in self._months:
            self._months[first] = self.store.run(
                lambda cursor: (
                    self._quarters(cursor, *bounds),
                    quarters.read_official(cursor, self.device_id, *bounds),
                ),
                HISTORY_S,
            )
        return self._months[first]

    def peaks(self, firsts: Iterable[date]) -> dict[date, Peak]:
        """What each of the local months is billed by, where anything is known of it."""
        begun = {
            first: bounds
            for first in firsts
            if (bounds := quarters.bounds(first, self.zone)) and bounds[0] <= self.now
        }
        if not begun:
            return {}
        oldest, *_, newest = sorted(begun.values()) * 2
        history, known, since = self.store.run(
            lambda cursor: (
                agents.read_peaks(cursor, self.device_id),
                kept.read(cursor, self.device_id, oldest[0], newest[1]),
                rollups.find_first(cursor, P1, self.device_id, "month"),
            )
        )
        found = {}
        for first, bounds in begun.items():
            told = _remembered(history.get(f"{first:%Y-%m}"))
            peaks = known.get(bounds)
            if peaks is None and since is not None and since < bounds[1]:
                listed, official = self.month(first)
                peaks = quarters.peaks(official, listed, self.now)
            peak = peaks.billed(told) if peaks else told
            if peak:
                found[first] = peak
        return found

    def _quarters(self, cursor: Any, start: datetime, end: datetime) -> list[Quarter]:
        today = midnight(self.now.astimezone(self.zone).date(), self.zone)
        if not start < today < end:
            return quarters.read(cursor, self.device_id, start, end, self.zone).quarters
        closed = self._closed_days(cursor, start, today)
        return closed + quarters.read(cursor, self.device_id, today, end, self.zone).quarters

    def _closed_days(self, cursor: Any, start: datetime, today: datetime) -> list[Quarter]:
        key = month_key(self.device_id)
        text = self.cache.recall(key)
        listed = _recall(text, start, today)
        if listed is not None:
            return listed
        claim = text or self.cache.claim(key)
        listed, until = quarters.read(cursor, self.device_id, start, today, self.zone)
        if claim and until and until < quarter_start(self.now) + LATE:
            rows = [
                (one.start.timestamp(), one.sampled_w, one.minutes, one.register_kwh)
                for one in listed
            ]
            text = json.dumps([start.timestamp(), today.timestamp(), rows])
            self.cache.replace(key, claim, text, KEPT_S)
        return listed


def quarter_start(at: datetime) -> datetime:
    """The start of the quarter that a time in UTC lies in."""
    return at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)


def month_key(device_id: str) -> str:
    """Where the closed days of a meter's running month are kept."""
    return f"month:{device_id}"


def _recall(text: bytes | None, start: datetime, today: datetime) -> list[Quarter] | None:
    """The quarters that were kept of the days from start to today; None if they are not."""
    try:
        *days, rows = json.loads(text or "")
        if days != [start.timestamp(), today.timestamp()]:
            return None
        return [
            Quarter(datetime.fromtimestamp(seconds, UTC), float(watts), int(minutes), kwh)
            for seconds, watts, minutes, kwh in rows
        ]
    except (ValueError, TypeError, LookupError):
        return None


def _remembered(told: dict[str, Any] | None) -> Peak | None:
    """A past month's peak as the meter's own history has it."""
    if told is None:
        return None
    ts = None if told["ts"] is None else parse_time(told["ts"])
    return Peak(Fraction(str(told["w"])), ts, "meter_history")
