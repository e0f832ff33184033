"""health.json and the messages to systemd."""

import json
import logging
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from edge_agent import __version__
from edge_agent.left_behind import LeftBehind
from edge_agent.shared import logs
from edge_agent.shared.samples import format_time

log = logging.getLogger(__name__)


class HealthFile:
    """The file that says how the agent is; replaced as a whole, so that no reader sees half."""

    def __init__(self, settings: Any):
        self._path = str(settings.health_path)
        self._new = f"{self._path}.new"
        self._device_id = settings.device_id
        self._left_behind = LeftBehind(settings.spool_path, settings.device_id)
        self._broken = False
        with suppress(OSError):  # then writing fails as well, and says so
            settings.health_path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, values: Mapping[str, Any]) -> None:
        """Replace the file; a file that cannot be written is logged once and stops nothing."""
        health = {
            "ts": format_time(datetime.now(UTC)),
            "device_id": self._device_id,
            "version": __version__,
            **values,
            "spool_warning": self._left_behind.warning,
        }
        try:
            text = json.dumps(health).encode() + b"\n"
            with open(self._new, "wb", buffering=0) as new:
                if new.write(text) < len(text):
                    raise OSError("no room for all of it")
            os.replace(self._new, self._path)
        except OSError as error:
            if not self._broken:
                logs.event(log, logging.WARNING, "health_failed", f"no health file: {error}")
            self._broken = True
        else:
            self._broken = False


class Systemd:
    """The service manager that started us, if one did; every message is a word on a socket."""

    def __init__(self, environ: Mapping[str, str] = os.environ):
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]  # an abstract socket
        self.watchdog_s = 0.0
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            self.watchdog_s = int(environ.get("WATCHDOG_USEC") or 0) / 1e6

    def ready(self) -> None:
        """Settings and spool are good."""
        self._send("READY=1")

    def alive(self) -> None:
        """Both loops make progress."""
        if self.watchdog_s:
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """The line that `systemctl status` shows."""
        self._send("STATUS=" + " ".join(text.split()))  # a second line would be a second word

    def stopping(self) -> None:
        """The agent is about to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.setblocking(False)
                notify.sendto(message.encode(), self._address)
        except OSError as error:
            logs.event(log, logging.DEBUG, "notify_failed", f"systemd got no message: {error}")
