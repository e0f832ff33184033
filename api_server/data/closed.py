"""What is read of a device's samples up to now, of which the closed periods are read only once.

They are kept in Redis; whoever takes in samples of one of them has them forgotten.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from api_server.data.cache import Cache

PERIOD = timedelta(minutes=5)
LATE = timedelta(seconds=60)  # samples of a period still come for so long, as a matter of course
KEPT_S = 3600
# Of rows, the frames of a house with the width of their buckets.
ROWS = ("day:day", "day:hour", "month:day", "year:month", "all:month")
NAMES = ("curve", "gaps", *(f"rows:{frame}" for frame in ROWS))

# The value of some samples and those from one time to another.
Extend = Callable[[Any, datetime, datetime], Any]


class Closed:
    """One of the `NAMES` with what is kept under it: what JSON can say, of one type.

    It is closed up to where one `period` meets the next.
    """

    def __init__(self, name: str, value: Any, period: timedelta = PERIOD):
        self._name, self._period = name, period
        # When it was first read, what of, until when, and that.
        self._decode = msgspec.json.Decoder(tuple[datetime, list, datetime, value]).decode

    def read(
        self, cache: Cache, device_id: str, of: list, now: datetime, nothing: Any, extend: Extend
    ) -> tuple[Any, datetime]:
        """`nothing` extended from a start, with which `of` begins, over what is closed, and the end
        of that.

        What else is in `of` says how it is read: what was read otherwise is not used.
        """
        key = _key(self._name, device_id)
        text = cache.recall(key)
        at, until, value = self._recall(text, of, now) or (now, of[0], nothing)
        closed = max(_open(now, self._period), until)
        if until < closed:
            # It is kept only if nobody has had it forgotten since before the database is asked.
            claim = text or cache.claim(key)
            value = extend(value, until, closed)
            if claim:
                kept = msgspec.json.encode((at, of, closed, value))
                cache.replace(key, claim, kept, KEPT_S)
        return value, closed

    def _recall(
        self, text: bytes | None, of: list, now: datetime
    ) -> tuple[datetime, datetime, Any] | None:
        """What is kept, if it is of this.

        However often it goes on, it is read anew in the end: a Redis may have come back with what
        it was told to forget.
        """
        try:
            at, kept_of, until, value = self._decode(text or b"")
        except msgspec.MsgspecError:  # as for what only claims the key
            return None
        fits = kept_of == msgspec.to_builtins(of) and abs(now - at) < timedelta(seconds=KEPT_S)
        return (at, until, value) if fits else None


def outdated(device_id: str, oldest: datetime, now: datetime) -> list[str]:
    """The keys of what is kept of a device, if samples of closed periods have come."""
    return [_key(name, device_id) for name in NAMES] if oldest < _open(now, PERIOD) else []


def _open(now: datetime, period: timedelta) -> datetime:
    """When the first period begins that samples may still come to."""
    seconds, length = int((now - LATE).timestamp()), int(period.total_seconds())
    return datetime.fromtimestamp(seconds // length * length, UTC)


def _key(name: str, device_id: str) -> str:
    return f"{name}:{device_id}"
