"""One kept HTTP connection to the meter, with one deadline for a whole request.

The device is small and sometimes sick: it may drip a byte a second, send without end or say
nothing at all. Each wait of a request therefore counts towards the same deadline by the wall
clock, each byte towards the same limit. No redirect is followed, no proxy asked.
"""

import io
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import BadStatusLine, HTTPException, HTTPResponse
from typing import Any

from edge_agent.sources.p1.tls import Identity

MAX_BODY_BYTES = 65_536
_MAX_BYTES = 2 * MAX_BODY_BYTES  # with head and chunk framing


class Unreachable(Exception):
    """No whole answer came; says what happened, with host and port."""


@dataclass(frozen=True)
class Answer:
    """What the device answered."""

    status: int
    body: bytes

    def json_object(self) -> dict[str, Any] | None:
        """The body, if it is one JSON object; None for anything else, NaN included."""
        try:
            value = json.loads(self.body, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


class Connection:
    """Opens on the first request, stays open, opens anew after any trouble.

    With an identity it is HTTPS, and no byte of a request leaves before the identity is proven;
    `serial` is then the meter at the other end.
    """

    def __init__(self, host: str, port: int, timeout_s: float, identity: Identity | None):
        self._host = host.strip("[]")
        self._port = port
        self._timeout_s = timeout_s
        self._identity = identity
        self._sock: socket.socket | None = None
        self.serial: str | None = None

    @property
    def where(self) -> str:
        """Host and port as one writes them."""
        host = self._host.partition("%")[0]  # without the interface of a link-local address
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Ask once and return the answer; raises Unreachable or tls.WrongIdentity."""
        deadline = time.monotonic() + self._timeout_s
        message = self._message(method, path, headers, body)
        kept = self._sock is not None
        try:
            try:
                return self._exchange(method, message, deadline)
            except (ConnectionError, BadStatusLine, ssl.SSLError):
                if not kept:
                    raise
                # A device may hang up on a kept connection at any time: that is no failure yet.
                return self._exchange(method, message, deadline)
        except TimeoutError as error:
            raise Unreachable(f"{self.where} gave no answer in {self._timeout_s:g} s") from error
        except (OSError, HTTPException, ValueError) as error:
            cause = " ".join(str(error).split())[:200] or type(error).__name__
            raise Unreachable(f"{self.where}: {cause}") from error

    def close(self) -> None:
        """Hang up; the next request opens anew."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _exchange(self, method: str, message: bytes, deadline: float) -> Answer:
        sock = self._sock or self._open(deadline)
        self._sock = None  # whatever goes wrong, no half-read connection is used again
        try:
            sock.settimeout(_left(deadline))
            sock.sendall(message)
            with closing(HTTPResponse(_Reader(sock, deadline), method=method)) as response:
                response.begin()
                body = response.read(MAX_BODY_BYTES + 1)
                if len(body) > MAX_BODY_BYTES:
                    raise HTTPException(f"the answer is longer than {MAX_BODY_BYTES} bytes")
                if response.length:
                    missing = f"{response.length} bytes are missing"
                    raise HTTPException(f"the answer was cut short, {missing}")
        except BaseException:
            sock.close()
            raise
        if response.will_close:
            sock.close()
        else:
            self._sock = sock
        return Answer(response.status, body)

    def _message(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.where}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode("ascii", "replace") + body

    def _open(self, deadline: float) -> socket.socket:
        sock = self._connect(deadline)
        if self._identity is None:
            return sock
        try:
            sock.settimeout(_left(deadline))
            secured, self.serial = self._identity.secure(sock, self._host)
            return secured
        except BaseException:
            sock.close()
            raise

    def _connect(self, deadline: float) -> socket.socket:
        addresses = _resolve(self._host, self._port, deadline)
        for untried in range(len(addresses), 0, -1):
            family, kind, protocol, _, address = addresses[-untried]
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(_left(deadline) / untried)
                sock.connect(address)
                return sock
            except OSError:
                sock.close()
                if untried == 1:
                    raise
        raise OSError("the name has no address")


class _Reader(io.RawIOBase):
    """The receiving half of a socket as HTTPResponse reads it, bounded in time and bytes."""

    def __init__(self, sock: socket.socket, deadline: float):
        self._sock = sock
        self._deadline = deadline
        self._bytes_left = _MAX_BYTES

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What HTTPResponse calls to read from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Wait for the next bytes, as long as the whole request may still take."""
        self._sock.settimeout(_left(self._deadline))
        received = self._sock.recv_into(buffer)
        self._bytes_left -= received
        if self._bytes_left < 0:
            raise HTTPException(f"the answer is longer than {_MAX_BYTES} bytes")
        return received


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _resolve(host: str, port: int, deadline: float) -> list[tuple]:
    """The addresses of a host; asked in a thread, for a resolver heeds no deadline."""
    found: queue.SimpleQueue[list | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        addresses = found.get(timeout=_left(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(addresses, Exception):
        raise addresses
    return addresses
