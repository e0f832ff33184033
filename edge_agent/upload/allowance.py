"""How many samples may be set aside in a day before the server is suspected, not the data."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from edge_agent.upload.batch import ServerSuspected

MOST, LEAST, SHARE = 100, 10, 0.01
KEY = "set_aside_today"


class Allowance:
    """1 % of the day's samples, at least 10, at most 100; kept in the spool over restarts."""

    def __init__(self, spool: Any, now: Callable[[], datetime] = lambda: datetime.now(UTC)):
        self._spool = spool
        self._now = now
        self._day, self._confirmed, self._set_aside = _saved(spool.meta(KEY))

    def confirm(self, count: int) -> None:
        """Count samples that the server took."""
        self._turn_page()
        self._confirmed += count

    def spend(self, count: int) -> None:
        """Count samples to be set aside; raises ServerSuspected if that is too many."""
        self._turn_page()
        total = self._set_aside + count
        limit = min(MOST, max(LEAST, int(SHARE * self._confirmed)))
        if total > limit:
            raise ServerSuspected(f"{total} samples refused in one day: more than {limit}")
        self._set_aside = total
        today = {"day": self._day, "confirmed": self._confirmed, "set_aside": self._set_aside}
        self._spool.set_meta(KEY, json.dumps(today))

    def _turn_page(self) -> None:
        day = self._now().date().isoformat()
        if day != self._day:
            self._day, self._confirmed, self._set_aside = day, 0, 0


def _saved(text: str | None) -> tuple[str, int, int]:
    """What was kept; a text that the disk has damaged begins the day anew."""
    try:
        saved = json.loads(text or "{}")
        return str(saved["day"]), int(saved["confirmed"]), int(saved["set_aside"])
    except (ValueError, TypeError, LookupError, ArithmeticError):
        return "", 0, 0
