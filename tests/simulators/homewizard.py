"""A HomeWizard meter on a real socket: HTTPS with pairing (v2) or plain HTTP (v1), and its faults.

`POST /simulator` with {"press": true} presses its button; {"fault": "hang"} makes it sick, and
{"fault": null} well again.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.simulators.appliances import SERIAL
from tests.simulators.homewizard_api import V1, V2

TOKEN = "0123456789ABCDEF0123456789ABCDEF"
BUTTON_S = 30.0


class MeterSimulator:
    """A device in threads of this process; what it saw is in `requests`, what it told in `told`."""

    def __init__(
        self,
        measure: Callable[[], dict[str, Any]],
        certificate: tuple[Path, Path] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        serial: str = SERIAL,
        firmware: str = "6.00",
    ):
        self.measure = measure
        self.serial = serial
        self.device = {
            "product_name": "P1 Meter",
            "product_type": "HWE-P1",
            "serial": serial,
            "firmware_version": firmware if certificate else "2.11",
            "api_version": "2.0.0" if certificate else "v1",
        }
        self.users = {"local/simulator": TOKEN}
        # hang, drip (from the first byte), trickle (the body), cut, html, a status, or one of
        # homewizard_api.FAULTS
        self.fault: str | int | None = None
        self.scripted: tuple[int, Any] | None = None  # status and body of every answer
        # Status and body of the telegram's answer, or what tells the telegram; None: never one.
        self.telegram: tuple[int, bytes] | Callable[[], bytes] | None = (
            503,
            b"telegram:no-telegram-received",
        )
        self.batteries: dict[str, Any] | None = None  # None: it supports none
        self.system: dict[str, Any] = {
            "wifi_ssid": "Simulated",
            "wifi_rssi_db": -61,
            "cloud_enabled": False,
            "status_led_brightness_pct": 100,
        }
        self.started = time.monotonic()
        self.api_v1_enabled = True
        self.storage_full = False
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.told: list[dict[str, Any]] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._pressed_at: float | None = None
        self._server = _Server((host, port), self, certificate)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "MeterSimulator":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Hang up on everybody and free the port; may be called twice."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()
        self._thread.join()

    def hang_up(self) -> None:
        """End every connection, as a device does now and then."""
        for connection in list(self._server.open):
            with contextlib.suppress(OSError):  # it is gone already
                connection.shutdown(socket.SHUT_RDWR)

    def system_state(self) -> dict[str, Any]:
        """The body of /api/system."""
        uptime_s = int(time.monotonic() - self.started)
        return self.system | {"uptime_s": uptime_s, "api_v1_enabled": self.api_v1_enabled}

    def change_system(self, change: dict[str, Any]) -> bool:
        """Take new settings; whether any of them was known."""
        known = {"cloud_enabled", "status_led_brightness_pct"} & change.keys()
        self.system |= {name: change[name] for name in known}
        if "api_v1_enabled" in change:
            self.api_v1_enabled = change["api_v1_enabled"]
        return bool(known) or "api_v1_enabled" in change

    def press_button(self) -> None:
        """Let the next pairing within half a minute succeed."""
        self._pressed_at = time.monotonic()

    def forget(self, name: str) -> bool:
        """Void a user's token; whether there was such a user."""
        return self.users.pop(name, None) is not None

    def pair(self, name: str) -> str | None:
        """A token for the name, which voids its older one; None unless the button was pressed."""
        if self._pressed_at is None or time.monotonic() - self._pressed_at > BUTTON_S:
            return None
        self._pressed_at = None
        self.users[name] = f"{len(self.users) + 1:032X}"
        return self.users[name]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], meter: MeterSimulator, certificate: Any):
        self.meter = meter
        self.context = None
        self.open: set = set()
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        super().__init__(address, V2 if certificate else V1)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.meter.connections += 1
        try:
            if self.context:  # here and not in accept: a client that stalls must stall itself only
                request.settimeout(10)
                request = self.context.wrap_socket(request, server_side=True)
                request.settimeout(None)
            self.open.add(request)
            self.RequestHandlerClass(request, client_address, self)
        except OSError:
            pass  # a client that hung up or refused our certificate
        finally:
            self.open.discard(request)
            request.close()
