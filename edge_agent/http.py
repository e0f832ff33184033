"""One kept HTTP connection, with one deadline by the wall clock for each whole exchange.

A server or a meter may be sick: drip a byte a second, send without end, say nothing at all. Every
wait of an exchange, name look-up and handshake included, counts towards the same deadline, every
byte towards the same limit. No redirect is followed, and nothing is taken from the environment:
no proxy, no login.
"""

import io
import json
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import BadStatusLine, HTTPException, HTTPResponse
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from edge_agent import __version__

CONNECT_S = 8.0  # for each address of a name
MAX_BODY_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 2 * MAX_BODY_BYTES  # with head and chunk framing

Secure = Callable[[socket.socket, str], ssl.SSLSocket]


@dataclass(frozen=True)
class Answer:
    """What the other side answered; `body` is None if it was longer than anything we expect."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = b""

    @property
    def date(self) -> datetime | None:
        """The clock of the other side, if its headers have it."""
        return parse_http_date(self.headers.get("Date", ""))

    def json(self) -> Any:
        """The body as JSON; None for anything else, NaN included."""
        try:
            return json.loads(self.body or b"", parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None


class NoAnswer(Exception):
    """No whole answer came; says what happened, with host and port."""


class Connection:
    """Opens on the first request, stays open, and is opened again after any trouble.

    With `secure` it is HTTPS: that wraps a connected socket, and no byte of a request leaves before
    it is satisfied with who is at the other end. What else it raises reaches the caller.
    """

    def __init__(self, host: str, port: int, secure: Secure | None, base_path: str = ""):
        self._host = host.strip("[]")
        self._port = port
        self._secure = secure
        self._base_path = base_path
        self._sock: socket.socket | None = None
        address = self._host.partition("%")[0]  # without the interface of a link-local address
        self._name = f"[{address}]" if ":" in address else address
        self.where = f"{self._name}:{port}"

    @classmethod
    def to_server(cls, url: str, ca_file: Path | None = None) -> "Connection":
        """A connection to an https:// base URL, which must prove its name.

        `ca_file` is trusted in addition to the system's CAs.
        """
        context = client_context()
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if ca_file:
            context.load_verify_locations(ca_file)
        parts = urlsplit(url)

        def secure(sock: socket.socket, host: str) -> ssl.SSLSocket:
            return context.wrap_socket(sock, server_hostname=host)

        return cls(parts.hostname or "", parts.port or 443, secure, parts.path)

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        within_s: float,
    ) -> Answer:
        """Ask and return the answer, whatever its status; raises NoAnswer.

        The request must bear being sent twice: it is, where a kept connection turns out closed.
        """
        deadline = monotonic() + within_s
        message = self._message(method, path, headers, body)
        try:
            if self._sock is not None:
                # The other side may close an idle connection at any time: no failure yet.
                with suppress(ConnectionError, BadStatusLine, ssl.SSLError):
                    return self._exchange(method, message, deadline)
            return self._exchange(method, message, deadline)
        except TimeoutError as error:
            raise NoAnswer(f"{self.where} gave no answer in {within_s:.3g} s") from error
        except (OSError, HTTPException, ValueError) as error:
            cause = " ".join(str(error).split())[:200] or type(error).__name__
            raise NoAnswer(f"{self.where}: {cause}") from error

    def close(self) -> None:
        """Close the kept connection; the next request opens another."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _exchange(self, method: str, message: bytes, deadline: float) -> Answer:
        sock = self._sock or self._open(deadline)
        self._sock = None  # whatever goes wrong, no half-read connection is used again
        try:
            _send(sock, message, deadline)
            with closing(HTTPResponse(_Reader(sock, deadline), method=method)) as response:
                response.begin()
                while response.status < 200:  # the answer itself follows: not to the next request
                    response.headers = None  # or it would not begin again
                    response.begin()
                body: bytes | None = response.read(MAX_BODY_BYTES + 1)
                if len(body) > MAX_BODY_BYTES:
                    body = None
                elif response.length:
                    raise HTTPException(f"{response.length} bytes of the answer are missing")
                if body is not None and not response.will_close:
                    self._sock = sock
                return Answer(response.status, response.headers, body)
        finally:
            if self._sock is None:
                sock.close()

    def _message(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        default = 443 if self._secure else 80
        lines = [
            f"{method} {self._base_path}{path} HTTP/1.1",
            f"Host: {self._name if self._port == default else self.where}",
            f"User-Agent: sunspool/{__version__}",
            "Accept: application/json",
            "Accept-Encoding: identity",  # a small answer must not inflate to a big one
        ]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode("ascii", "replace") + body

    def _open(self, deadline: float) -> socket.socket:
        sock = self._connect(deadline)
        if self._secure is None:
            return sock
        try:
            sock.settimeout(_left_s(deadline))
            return self._secure(sock, self._host)
        except BaseException:
            sock.close()
            raise

    def _connect(self, deadline: float) -> socket.socket:
        """Try each address of the host in turn; none may use up the time of the others."""
        addresses = _resolve(self._host, self._port, deadline)
        for untried in range(len(addresses), 0, -1):
            family, kind, protocol, _, address = addresses[-untried]
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(min(_left_s(deadline) / untried, CONNECT_S))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
        self._bytes_left = MAX_ANSWER_BYTES

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What HTTPResponse calls to read from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Wait for the next bytes, as long as the whole exchange may still take."""
        self._sock.settimeout(_left_s(self._deadline))
        received = self._sock.recv_into(buffer)
        self._bytes_left -= received
        if self._bytes_left < 0:
            raise HTTPException(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        return received


def client_context() -> ssl.SSLContext:
    """A context that verifies certificate and name, from TLS 1.2 on, and trusts nobody yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def parse_http_date(text: str) -> datetime | None:
    """Read a date as HTTP headers have it, or return None."""
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=date.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _send(sock: socket.socket, message: bytes, deadline: float) -> None:
    """Send all; `sendall` of a TLS socket would give each of its pieces the whole time again."""
    unsent = memoryview(message)
    while unsent:
        sock.settimeout(_left_s(deadline))
        unsent = unsent[sock.send(unsent) :]


def _left_s(deadline: float) -> float:
    left_s = deadline - monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _resolve(host: str, port: int, deadline: float) -> list[tuple]:
    """The addresses of a host; asked in a thread, for a resolver knows no deadline."""
    found: queue.SimpleQueue[list | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        addresses = found.get(timeout=_left_s(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(addresses, Exception):
        raise addresses
    return addresses


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
