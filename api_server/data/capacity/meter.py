"""What a request reads of a meter's months, each thing once.

The days of the running month that are over are kept in Redis for whoever asks next; whoever takes
in samples of a closed quarter has them forgotten.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import msgspec

from api_server.config import Settings
from api_server.data import agents, rollups
from api_server.data.cache import Cache
from api_server.data.capacity import kept, quarters
from api_server.data.capacity.quarters import Peak, Peaks, Quarter, Told
from api_server.data.database import HISTORY_S, Store
from api_server.data.periods import midnight, quarter_start
from edge_agent.shared.samples import P1, parse_time

KEPT_S = 300  # how long what is closed is remembered, if nothing late comes in
LATE = timedelta(seconds=60)  # samples of a quarter still come for so long, as a matter of course
# The days by their start and the start of today, their quarters, and what the meter told last.
_CLOSED = msgspec.json.Decoder(tuple[float, float, list[Quarter], list[Told]])


class Meter:
    """One meter at one moment."""

    def __init__(
        self, store: Store, cache: Cache, settings: Settings, device_id: str, now: datetime
    ):
        self.store, self.cache, self.settings = store, cache, settings
        self.device_id, self.now = device_id, now
        self.zone = settings.site_timezone
        self._months: dict[date, tuple[list[Quarter], Peaks]] = {}
        self._peaks: dict[date, Peak | None] = {}

    def month(self, first: date) -> tuple[list[Quarter], Peaks]:
        """The quarters of the local month that begins on `first`, and the highest of them."""
        bounds = quarters.bounds(first, self.zone)
        if bounds is None:
            return [], Peaks(None, None, None)
        if first not in self._months:
            listed, official = self.store.run(lambda cursor: self._read(cursor, *bounds), HISTORY_S)
            self._months[first] = listed, quarters.peaks(official, listed, self.now)
        return self._months[first]

    def peaks(self, firsts: Iterable[date]) -> dict[date, Peak]:
        """What each of the local months is billed by, where anything is known of it."""
        firsts = list(firsts)
        self._find_peaks([first for first in firsts if first not in self._peaks])
        return {first: peak for first in firsts if (peak := self._peaks.get(first))}

    def _find_peaks(self, firsts: list[date]) -> None:
        begun = {
            first: bounds
            for first in firsts
            if (bounds := quarters.bounds(first, self.zone)) and bounds[0] <= self.now
        }
        if not begun:
            return
        oldest, *_, newest = sorted(begun.values()) * 2
        history, known, since = self.store.run(
            lambda cursor: self._read_kept(cursor, oldest[0], newest[1])
        )
        for first, bounds in begun.items():
            told = _remembered(history.get(f"{first:%Y-%m}"))
            peaks = known.get(bounds)
            if peaks is None and since is not None and since < bounds[1]:
                _, peaks = self.month(first)
            self._peaks[first] = peaks.billed(told) if peaks else told

    def _read_kept(
        self, cursor: Any, start: datetime, end: datetime
    ) -> tuple[agents.Peaks, dict[kept.Bounds, Peaks], datetime | None]:
        """What the meter told of its months, what is kept of those between two times, and a time
        before which it has no samples among them, None if it has none at all."""
        history = agents.read_peaks(cursor, self.device_id)
        known = kept.read(cursor, self.device_id, start, end)
        if any(first == start for first, _ in known):
            return history, known, start
        return history, known, rollups.find_first(cursor, P1, self.device_id, "month")

    def _read(
        self, cursor: Any, start: datetime, end: datetime
    ) -> tuple[list[Quarter], Peak | None]:
        over = kept.read_quarters(cursor, self.device_id, start, end) if end <= self.now else None
        if over:
            return over
        today = midnight(self.now.astimezone(self.zone).date(), self.zone)
        closed, told, since = [], [], start
        if start < today < end:
            (closed, told), since = self._closed_days(cursor, start, today, end), today
        rest = quarters.read(cursor, self.device_id, since, end, self.zone)
        told = told + rest.told
        official = quarters.read_official(cursor, self.device_id, start, end, told, self.now)
        return closed + rest.quarters, official

    def _closed_days(
        self, cursor: Any, start: datetime, today: datetime, end: datetime
    ) -> tuple[list[Quarter], list[Told]]:
        """The quarters of a month before today, and what the meter told last in them."""
        key = month_key(self.device_id)
        text = self.cache.recall(key)
        known = _recall(text, start, today)
        if known is not None:
            return known
        claim = text or self.cache.claim(key)
        listed, told, until = quarters.read(cursor, self.device_id, start, today, self.zone)
        told = quarters.last_told(told, start, end)
        if claim and until and until < quarter_start(self.now) + LATE:
            text = msgspec.json.encode((start.timestamp(), today.timestamp(), listed, told))
            self.cache.replace(key, claim, text, KEPT_S)
        return listed, told


def month_key(device_id: str) -> str:
    """Where the closed days of a meter's running month are kept."""
    return f"month:{device_id}"


def _recall(
    text: bytes | None, start: datetime, today: datetime
) -> tuple[list[Quarter], list[Told]] | None:
    """What was kept of the days from start to today; None if it was not."""
    try:
        *days, listed, told = _CLOSED.decode(text or b"")
    except msgspec.DecodeError:  # as for what only claims the key
        return None
    if days != [start.timestamp(), today.timestamp()]:
        return None
    return listed, told


def _remembered(told: dict[str, Any] | None) -> Peak | None:
    """A past month's peak as the meter's own history has it."""
    if told is None:
        return None
    ts = None if told["ts"] is None else parse_time(told["ts"])
    return Peak(Fraction(str(told["w"])), ts, "meter_history")
