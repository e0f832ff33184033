"""The running quarter as many viewers of one house ask for it: read once in five seconds."""

import json
from datetime import datetime
from typing import Any

from api_server.config import Settings
from api_server.data import capacity
from api_server.data.cache import Cache, quarter_key
from api_server.data.database import Store

KEPT_S = 5


def read(
    store: Store, cache: Cache, settings: Settings, meter: str, now: datetime
) -> dict[str, Any] | None:
    """What capacity/now answers; kept in Redis until the meter sends again, or for a moment."""
    key = quarter_key(meter)
    text = cache.recall(key)
    kept = _recall(text, now)
    if kept is not None:
        return kept
    claim = text or cache.claim(key)
    answer = capacity.now(store, cache, settings, meter, now)
    if claim and answer is not None:
        cache.replace(key, claim, json.dumps(answer), KEPT_S)
    return answer


def _recall(text: bytes | None, now: datetime) -> dict[str, Any] | None:
    """What is kept, if it is of the quarter that runs."""
    try:
        kept = json.loads(text or "")
        start, end = (datetime.fromisoformat(kept[f"quarter_{name}"]) for name in ("start", "end"))
    except (ValueError, TypeError, LookupError):
        return None
    return kept if start <= now < end else None
