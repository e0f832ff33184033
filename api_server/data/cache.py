"""Redis with a short temper: any trouble means "ask the database", at once and for a while."""

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from edge_agent.shared import logs

TIMEOUT_S = 0.1
REST_S = 5.0  # how long Redis is left alone after trouble
HEALTH = "health"  # a key that is written only to see whether it can be
LEASE_MS = 5000  # longer than a database may take to answer
# What a Redis that answers nonsense makes its client raise, beside its own errors.
TROUBLE = (redis.RedisError, OSError, ValueError, TypeError, LookupError, AttributeError)
# Fills a key only while it holds the lease that was taken before the database was asked: what
# came in since has deleted it, and an older sample must not hide the newer one.
FILL = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
"""

log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """What is kept under a key for so many seconds."""

    key: str
    value: str | bytes
    seconds: int


class Cache:
    """The latest sample of each device under `realtime:{device_id}`, what may be forgotten, and
    counts of requests.

    All other keys begin with the name of the `database`: another one may use the same Redis.
    """

    def __init__(self, url: str, ttl_s: int, database: str = ""):
        self._url = url
        self._own = database and f"{database}:"
        self._local = threading.local()
        self._ttl_s = ttl_s
        self._in_trouble = False
        self._resting_until = 0.0
        # Keys that could not be dropped: they are, before Redis is asked for anything again.
        self._owed: set[str] = set()
        self._owing = threading.Lock()

    def get_all(self, device_ids: list[str]) -> list[bytes | None]:
        """What is cached of each of the devices: usually a sample as JSON."""
        return self._ask_all([_key(device_id) for device_id in device_ids])

    def lease(self, device_id: str) -> str | None:
        """Ask for the right to keep a device's latest sample; None if another has it."""
        return self._claim(_key(device_id))

    def fill(self, device_id: str, lease: str, sample: bytes) -> None:
        """Keep the latest sample of a device for a moment, unless a newer one has come since."""
        self._replace(_key(device_id), lease, sample, self._ttl_s)

    def forget(self, outdated: dict[str, list[str]], kept: Iterable[Kept] = ()) -> bool:
        """Drop what is cached of devices, and more keys of each: they have newer samples; keep
        values with the same request. Whether Redis did."""
        keys = []
        for device_id, more in outdated.items():
            own = [self._own + key for key in (quarter_key(device_id), *more)]
            keys += [_key(device_id), *own]
        commands = [self._set(*one) for one in kept]
        if keys:
            commands.append(("DEL", *keys))
        done = self._ask(lambda server: _call(server, *commands)) is not None
        if not done:
            with self._owing:
                self._owed.update(keys)
        return done

    def recall(self, key: str) -> bytes | None:
        """What was kept under a key."""
        return self._ask(lambda server: server.get(self._own + key))

    def keep(self, key: str, value: str | bytes, seconds: int) -> bool:
        """Keep a value for a while; whether Redis took it."""
        command = self._set(key, value, seconds)
        return bool(self._ask(lambda server: _call(server, command)))

    def _set(self, key: str, value: str | bytes, seconds: int) -> tuple:
        return "SET", self._own + key, value, "EX", seconds

    def remember(
        self,
        key: str,
        read: Callable[[bytes | None], Any],
        ask: Callable[[], Any],
        write: Callable[[Any], str | bytes],
        seconds: int,
    ) -> Any:
        """What `read` makes of what was kept under a key; if that is None, what `ask` gives, kept
        as `write` makes it, if nobody has had it forgotten since before it was asked for."""
        text = self.recall(key)
        known = read(text)
        if known is not None:
            return known
        claim = text or self.claim(key)
        found = ask()
        if claim:
            self.replace(key, claim, write(found), seconds)
        return found

    def claim(self, key: str) -> str | None:
        """Ask for the right to fill an empty key; None if another has it."""
        return self._claim(self._own + key)

    def _claim(self, key: str) -> str | None:
        lease = json.dumps({"lease": secrets.token_hex(8)})
        taken = self._ask(lambda server: server.set(key, lease, nx=True, px=LEASE_MS))
        return lease if taken else None

    def replace(self, key: str, old: str | bytes, value: str | bytes, seconds: int) -> None:
        """Keep a value for a while, if the key still holds the old one."""
        self._replace(self._own + key, old, value, seconds)

    def _replace(self, key: str, old: str | bytes, value: str | bytes, seconds: int) -> None:
        self._ask(lambda server: server.eval(FILL, 1, key, old, value, seconds))

    def recall_all(self, keys: list[str]) -> list[bytes | None]:
        """What was kept under each of the keys."""
        return self._ask_all([self._own + key for key in keys])

    def _ask_all(self, keys: list[str]) -> list[bytes | None]:
        unknown: list[bytes | None] = [None] * len(keys)
        return (self._ask(lambda server: server.mget(keys)) if keys else None) or unknown

    def count(self, keys: list[str], seconds: int) -> list[int]:
        """One more under each of the keys, which live so many seconds from the first on; how many
        there were. 0 when Redis can not say."""
        commands = []
        for key in keys:  # what is there already stays, and so does its end
            commands.append(("SET", self._own + key, 0, "EX", seconds, "NX"))
            commands.append(("INCR", self._own + key))
        counted = self._ask(lambda server: [int(n) for n in _call(server, *commands)[1::2]])
        return counted or [0] * len(keys)

    def state(self) -> str:
        """`ok`, `down`, or `read-only` for a Redis that answers and refuses to keep anything
        (full, or a replica); it is asked even while it rests."""
        self._resting_until = 0.0
        if not self._ask(redis.Redis.ping, settle=False):
            return "down"
        written = self._ask(lambda server: server.set(HEALTH, 1), settle=False)
        return "ok" if written else "read-only"

    def _ask(self, question: Callable[[redis.Redis], Any], settle: bool = True) -> Any:
        now = time.monotonic()
        if now < self._resting_until:
            return None
        if self._in_trouble:
            self._resting_until = now + REST_S  # one thread tries; the others do not wait with it
        try:
            server = self._server()
            if self._owed and settle:
                self._settle(server)
            answer = question(server)
        except TROUBLE as error:
            self._resting_until = time.monotonic() + REST_S
            if not self._in_trouble:
                logs.event(log, logging.WARNING, "cache_trouble", f"Redis: {type(error).__name__}")
            self._in_trouble = True
            return None
        if self._in_trouble:
            logs.event(log, logging.INFO, "cache_healed", "Redis answers again")
        self._in_trouble, self._resting_until = False, 0.0
        return answer

    def _settle(self, server: redis.Redis) -> None:
        """Drop what could not be dropped before."""
        with self._owing:
            if self._owed:
                server.delete(*self._owed)
                self._owed.clear()

    def _server(self) -> redis.Redis:
        """This thread's own connection: a shared pool takes a tenth of a request's time."""
        if not hasattr(self._local, "server"):
            self._local.server = redis.Redis.from_url(
                self._url,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                # It may have broken while nobody used it; who is silent is not asked again.
                retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
                protocol=2,
                single_connection_client=True,
            )
        return self._local.server


def _call(server: redis.Redis, *commands: tuple) -> list[Any]:
    """Commands of every ingest, in one go; the client's own way to run one takes half as long
    again."""
    connection = server.connection

    def call() -> list[Any]:
        connection.send_packed_command(connection.pack_commands(commands))
        return [connection.read_response() for _ in commands]

    try:
        return connection.retry.call_with_retry(call, lambda _error: connection.disconnect())
    except TROUBLE:
        connection.disconnect()  # the answers to the other commands may still be on their way
        raise


def quarter_key(device_id: str) -> str:
    """Where the running quarter of a meter is kept, which each new sample changes."""
    return f"quarter:{device_id}"


def _key(device_id: str) -> str:
    return f"realtime:{device_id}"
