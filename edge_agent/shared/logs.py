"""Logs as JSON lines on stderr: one object a line with ts, level, logger, event and msg.

Standard library only: the server logs with this module too.
"""

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from edge_agent.shared.environment import MASK

_encode = json.JSONEncoder(default=str).encode  # made once: it takes longer than a line
SHORTEST_MASKED = 6  # a shorter secret would mask ordinary words as well

known_secrets: tuple[str, ...] = ()  # the longest first: one may be a part of another


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; any secret that slipped into it is masked."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": getattr(record, "event", "log"),
            "msg": record.getMessage(),
            "thread": record.threadName,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return masked(_encode(line))


def set_up(level: str, secrets: Iterable[str] = ()) -> None:
    """Send every log line of the process to stderr as JSON."""
    for secret in secrets:
        mask(secret)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def mask(secret: str) -> None:
    """Mask one more secret from now on."""
    global known_secrets  # replaced as a whole: another thread may be going through it
    if len(secret) >= SHORTEST_MASKED and secret not in known_secrets:
        known_secrets = tuple(sorted((*known_secrets, secret), key=len, reverse=True))


def masked(text: str) -> str:
    """The text without any secret, as it is or as JSON has it."""
    for secret in known_secrets:
        text = text.replace(json.dumps(secret)[1:-1], MASK).replace(secret, MASK)
    return text


def event(log: logging.Logger, level: int, name: str, msg: str, **fields: Any) -> None:
    """Log one named event, with fields of its own beside the message."""
    log.log(level, msg, extra={"event": name, "fields": fields})
