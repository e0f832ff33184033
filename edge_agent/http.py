"""One HTTPS exchange with the server: verified, bounded in time and size, never redirected.

`timeout=` of requests is per socket operation, so a server that drips one byte a second would
hold the thread for ever. Here every operation of a socket gets only what is left of the whole
exchange; what remains is the name look-up, which the resolver bounds by itself.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from edge_agent import __version__

EXCHANGE_S = 20.0
CONNECT_S = 8.0  # for each address of the server's name
ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """What the server said; `body` is None if it was longer than anything we expect."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = b""

    @property
    def date(self) -> datetime | None:
        """The server's clock, if it told."""
        return parse_http_date(self.headers.get("Date", ""))


class NoAnswer(Exception):
    """The exchange failed on the way: name, connection, TLS, or time."""


class _Socket(ssl.SSLSocket):
    """A TLS socket whose operations end with the deadline of its context."""

    def do_handshake(self, block: bool = False) -> None:
        self.settimeout(self.context.left_s())
        super().do_handshake(block)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        self.settimeout(self.context.left_s())
        return super().read(len, buffer)

    def send(self, data: Any, flags: int = 0) -> int:
        self.settimeout(self.context.left_s())
        return super().send(data, flags)


class _Context(ssl.SSLContext):
    """Trusts the system's CAs and `ca_file`, from TLS 1.2 on, and carries the deadline."""

    sslsocket_class = _Socket
    ends = 0.0  # monotonic

    def left_s(self) -> float:
        left = self.ends - monotonic()
        if left <= 0:
            raise TimeoutError("the time for the whole exchange is over")
        return left


def _context(ca_file: Path | None) -> _Context:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)  # checks the certificate and its name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


class _Adapter(HTTPAdapter):
    """Leaves verification to our context: `verify=` would replace its trust set by certifi's."""

    def __init__(self, context: ssl.SSLContext):
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"


class Server:
    """The server at `url`, reached over one kept connection."""

    def __init__(self, url: str, ca_file: Path | None = None):
        self.url = url
        self._tls = _context(ca_file)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy or netrc of the environment
        self._session.headers = {
            "User-Agent": f"sunspool/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a small answer must not inflate to a big one
        }
        self._session.mount("https://", _Adapter(self._tls))

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], within_s: float = EXCHANGE_S
    ) -> Answer:
        """Post the body and return the answer, whatever its status; raises NoAnswer."""
        self._tls.ends = monotonic() + within_s
        try:
            with self._session.post(
                self.url + path,
                data=body,
                headers=headers,
                timeout=(min(CONNECT_S, within_s), within_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                self._session.cookies.clear()
                return Answer(response.status_code, response.headers, _body(response))
        except (requests.RequestException, HTTPError, OSError) as error:
            raise NoAnswer(f"{self.url}: {_cause(error)}") from error

    def close(self) -> None:
        """Close the kept connection."""
        self._session.close()


def parse_http_date(text: str) -> datetime | None:
    """Read a date as HTTP headers have it, or return None."""
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    try:
        return date.replace(tzinfo=date.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _body(response: requests.Response) -> bytes | None:
    """The body as it came; a longer one is not read, and its connection not kept."""
    body = response.raw.read(ANSWER_BYTES + 1, decode_content=False)
    return body if len(body) <= ANSWER_BYTES else None


def _cause(error: BaseException) -> str:
    """What went wrong at the bottom of the libraries' nested errors."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    if isinstance(error, TimeoutError):
        return f"no answer in time ({error})"
    return str(error) or type(error).__name__
