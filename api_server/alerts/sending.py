"""Sends messages, each channel by itself; once a channel took a message it never gets it again.

A message goes out before the database hears that it was taken: a crash between the two sends it
once more after the restart, and nothing else does: without a crash a sender knows what was taken,
however long the database is away, and of several processes one has the lock of a channel.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import apprise
import requests
import requests.sessions
from apprise import OverflowMode

from api_server.alerts import services
from api_server.data import alerts
from api_server.data.database import DatabaseUnavailable, Store
from edge_agent.shared import logs
from edge_agent.shared.environment import InvalidSettings

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 300.0
LOOK_S = 1.0  # how often waiting messages are looked for when nobody says that there are some

log = logging.getLogger(__name__)
_seen = threading.local()


class _WatchedSession(requests.Session):
    """Follows no redirect and remembers what was answered.

    Apprise 2.3.0 repeats a message after a 301 as a GET without a body and calls that success,
    and takes a 202 for a failure; both are judged by the answers themselves.
    """

    def send(self, request: Any, **options: Any) -> requests.Response:
        """Send a request of this thread's channel."""
        response = super().send(request, **(options | {"allow_redirects": False}))
        if hasattr(_seen, "answers"):
            _seen.answers.append((response.status_code, response.headers.get("Location", "")))
        return response


class Channel:
    """One URL of ALERT_URLS. Raises InvalidSettings for what Apprise does not know."""

    def __init__(self, number: int, url: str):
        requests.sessions.Session = _WatchedSession  # what requests.post and its kind make
        logging.getLogger("apprise").disabled = True  # its lines name the URL
        asset = apprise.AppriseAsset(http_redirects=False, async_mode=False, app_id="Sunspool")
        self._plugin = services.make(url, asset)
        if self._plugin is None:
            text = f"ALERT_URLS: entry {number} is no URL that Apprise knows"
            raise InvalidSettings([text])
        if self._plugin.overflow_mode == OverflowMode.UPSTREAM:
            # A service refuses what is too long for it, and would never get anything else.
            self._plugin.overflow_mode = OverflowMode.SPLIT
        self.key = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.name = f"{number}: {_name(self._plugin.url(privacy=True))}"

    def send(self, title: str, text: str) -> str | None:
        """Send a message; returns why it was not taken, or None if it was."""
        _seen.answers = []
        try:
            taken = bool(self._plugin.notify(body=text, title=title, body_format="text"))
        except Exception as error:  # noqa: BLE001 - of a hundred plugins
            return f"{type(error).__name__}"
        for status, location in _seen.answers:
            if 300 <= status < 400:
                return f"it answers {status}: it has moved to {_place(location)}"
        statuses = [status for status, _ in _seen.answers]
        if taken or (statuses and all(200 <= status < 300 for status in statuses)):
            return None
        return f"it answers {statuses[-1]}" if statuses else "it did not take the message"


def _name(url: str) -> str:
    """A URL in which Apprise has masked what it knows to be secret, without its path: who knows
    that of a webhook can use it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{'***' if parts.path.strip('/') else ''}"


def _place(location: str) -> str:
    """Where a redirect leads, without what may be secret in it."""
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another path"


class Sender:
    """Sends what waits for one channel, oldest first, with its own back-off."""

    def __init__(self, store: Store, channel: Channel, working: Callable[[], bool]):
        self._store = store
        self._channel = channel
        self._working = working
        self._backoff_s = 0.0
        self._is_ours = False  # whether this process is the one that sends to the channel
        # Of a message about many devices a node that is away hears later that it was taken.
        self._taken: set[str] = set()

    def tick(self) -> float:
        """Send what waits; returns how long to wait until the next pass."""
        try:
            if self._may_send():
                key = self._channel.key
                waiting = self._store.run(
                    lambda cursor: alerts.find_waiting(cursor, key, datetime.now(UTC))
                )
                for message in waiting:
                    if not self._working():
                        break
                    if cause := self._send(*message):
                        return self._fail(cause)
        except DatabaseUnavailable as error:
            logs.event(log, logging.WARNING, "database_unavailable", f"database: {error}")
        return LOOK_S

    def _may_send(self) -> bool:
        """Whether this process works, and no other is still sending to this channel."""
        wanted, key = self._working(), self._channel.key
        if wanted or self._is_ours:
            self._is_ours = self._store.run(lambda cursor: alerts.lock(cursor, key, wanted))
        return self._is_ours

    def _send(self, message_id: str, title: str, text: str, devices: list[str]) -> str | None:
        if message_id not in self._taken:
            if cause := self._channel.send(title, text):
                return cause
            self._backoff_s = 0.0
            self._taken.add(message_id)
        self._note_taken(message_id, devices)
        return None

    def _note_taken(self, message_id: str, devices: list[str]) -> None:
        key = self._channel.key
        self._store.run(lambda cursor: alerts.note_taken(cursor, key, message_id, devices))
        msg = "a message was sent"
        logs.event(log, logging.INFO, "alert_sent", msg, channel=self._channel.name)

    def _fail(self, cause: str) -> float:
        longer_s = min(2 * self._backoff_s, LONGEST_BACKOFF_S)
        self._backoff_s = max(longer_s, FIRST_BACKOFF_S)
        fields = {"channel": self._channel.name, "cause": cause, "wait": self._backoff_s}
        logs.event(log, logging.WARNING, "alert_failed", f"not sent: {cause}", **fields)
        return self._backoff_s
