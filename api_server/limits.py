"""Requests per minute and token, counted in Redis; without Redis nobody is limited."""

import time

from flask import current_app

from api_server.config import Settings
from api_server.errors import problem

MINUTE_S = 60


def count(token_digest: bytes) -> None:
    """Count a request of this token; ends it with 429 when the minute has had enough of them."""
    settings: Settings = current_app.config["SETTINGS"]
    if not settings.max_requests_per_minute:
        return
    now = time.time()
    key = f"requests:{token_digest.hex()[:32]}:{int(now // MINUTE_S)}"
    counted = current_app.extensions["cache"].count(key, 2 * MINUTE_S)
    if counted > settings.max_requests_per_minute:
        wait = int(MINUTE_S - now % MINUTE_S) + 1
        problem(429, "Too many requests with this token.", Retry_After=str(wait))
