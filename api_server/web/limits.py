"""How often a token may ask, and an address may fail to log in; counted in Redis.

Without Redis nobody is limited: a cache that is down must not stop a request.
"""

import time

from flask import current_app

from api_server.config import Settings
from api_server.data.cache import Cache
from api_server.web.errors import abort_with

MINUTE_S = 60
FAILED_LOGINS = 300  # a minute and address: many homes may share one behind their provider


def count_request(token_digest: bytes) -> None:
    """Count a request of a token; ends it with 429 when the minute has had enough of them."""
    settings: Settings = current_app.config["SETTINGS"]
    limit = settings.max_requests_per_minute
    _refuse(excess_s(current_app.extensions["cache"], [token_digest], limit)[0])


def excess_s(cache: Cache, token_digests: list[bytes], limit: int) -> list[int]:
    """Count a request of each token; how long to wait when the minute has had enough, else 0."""
    names = [f"requests:{token.hex()[:32]}" for token in token_digests]
    return _count(cache, names, limit) if limit else [0] * len(names)


def count_failed_login(address: str) -> None:
    """Count a login that failed; ends it with 429 instead of 401 when there were too many.

    Whoever has a token is served all the same: a stranger must not lock out his neighbours.
    """
    cache = current_app.extensions["cache"]
    _refuse(_count(cache, [f"logins:{address[:64]}"], FAILED_LOGINS)[0])


def _count(cache: Cache, names: list[str], limit: int) -> list[int]:
    now = time.time()
    keys = [f"{name}:{int(now // MINUTE_S)}" for name in names]
    wait_s = int(MINUTE_S - now % MINUTE_S) + 1
    return [wait_s if count > limit else 0 for count in cache.count(keys, 2 * MINUTE_S)]


def _refuse(wait_s: int) -> None:
    if wait_s:
        abort_with(429, "Too many requests; come back in a minute.", Retry_After=str(wait_s))
