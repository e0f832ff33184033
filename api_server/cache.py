"""Redis with a short temper: any trouble means "ask the database", at once and for a while."""

import json
import logging
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_S = 0.1
REST_S = 5.0  # how long Redis is left alone after trouble

log = logging.getLogger(__name__)


class Cache:
    """The latest sample of each device, under `realtime:{device_id}`."""

    def __init__(self, url: str, ttl_s: int):
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._ttl_s = ttl_s
        self._resting_until = 0.0

    def get(self, device_id: str) -> dict[str, Any] | None:
        """What is cached of a device, or None."""
        text = self._ask("get", _key(device_id))
        try:
            found = json.loads(text) if text else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def put(self, device_id: str, sample: dict[str, Any]) -> None:
        """Keep the latest sample of a device for a moment."""
        self._ask("set", _key(device_id), json.dumps(sample), ex=self._ttl_s)

    def forget(self, device_id: str) -> None:
        """Drop what is cached of a device: it has newer samples."""
        self._ask("delete", _key(device_id))

    def count(self, key: str, seconds: int) -> int:
        """One more of something; how many there were. 0 when Redis can not say."""
        number = self._ask("incr", key)
        if number == 1:
            self._ask("expire", key, seconds)
        return number or 0

    def healthy(self) -> bool:
        """Whether Redis answers now."""
        return bool(self._ask("ping"))

    def _ask(self, command: str, *arguments: Any, **options: Any) -> Any:
        if time.monotonic() < self._resting_until:
            return None
        try:
            return getattr(self._redis, command)(*arguments, **options)
        except (redis.RedisError, OSError, ValueError) as error:
            self._resting_until = time.monotonic() + REST_S
            log.warning("Redis: %s", error, extra={"event": "cache_trouble"})
            return None


def _key(device_id: str) -> str:
    return f"realtime:{device_id}"
