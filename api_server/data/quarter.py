"""The running quarter as many viewers of one house ask for it."""

from datetime import datetime
from typing import Any

from api_server.config import Settings
from api_server.data import capacity, moment
from api_server.data.cache import Cache, quarter_key
from api_server.data.database import Store
from api_server.data.periods import quarter_start


def read(
    store: Store, cache: Cache, settings: Settings, meter: str, now: datetime
) -> dict[str, Any] | None:
    """What capacity/now answers; kept until the meter sends again, or for a moment."""

    def ask() -> dict[str, Any] | None:
        return capacity.now(store, cache, settings, meter, now)

    return moment.read(cache, quarter_key(meter), quarter_start(now), now, ask)
