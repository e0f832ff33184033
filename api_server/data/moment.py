"""What many viewers of one house ask for in the same five seconds: one of them asks the database.

Kept in Redis are values, not what is made of them; whoever takes in samples of the house has them
forgotten.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from api_server.data.cache import Cache

KEPT_S = 5


def read(cache: Cache, key: str, start: datetime, now: datetime, ask: Callable[[], Any]) -> Any:
    """What `ask` gives, which JSON can say, or has just given another viewer.

    It belongs to a period that began at `start`; that of another one is not used.
    """

    def told() -> dict[str, Any]:
        return {"at": now.timestamp(), "start": start.timestamp(), "value": ask()}

    def read_kept(text: bytes | None) -> dict[str, Any] | None:
        return _recall(text, start, now)

    return cache.remember(key, read_kept, told, msgspec.json.encode, KEPT_S)["value"]


def _recall(text: bytes | None, start: datetime, now: datetime) -> dict[str, Any] | None:
    """What is kept, if it is of this moment."""
    try:
        kept = msgspec.json.decode(text or b"")
        fits = kept["start"] == start.timestamp() and abs(now.timestamp() - kept["at"]) < KEPT_S
    except (ValueError, TypeError, LookupError):
        return None
    return kept if fits and "value" in kept else None
