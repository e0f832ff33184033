"""How often a token may ask, and an address may fail to log in; counted in Redis.

Without Redis nobody is limited: a cache that is down must not stop a request.
"""

import time

from flask import current_app

from api_server.config import Settings
from api_server.errors import problem

MINUTE_S = 60


def count(name: str) -> None:
    """Count one more of this name; ends the request with 429 when the minute has had enough."""
    settings: Settings = current_app.config["SETTINGS"]
    if not settings.max_requests_per_minute:
        return
    now = time.time()
    key = f"{name}:{int(now // MINUTE_S)}"
    if current_app.extensions["cache"].count(key, 2 * MINUTE_S) > settings.max_requests_per_minute:
        wait_s = int(MINUTE_S - now % MINUTE_S) + 1
        problem(429, "Too many requests; come back in a minute.", Retry_After=str(wait_s))
