"""One paced Modbus connection to the dongle; pymodbus, and its errors, end here.

A WiNet-S bears one client that asks one thing at a time, with pauses. So there is one request in
flight, INTER_REGISTER_DELAY_MS of quiet after each reply, and a gap between the first requests of
two polls. All are counted from the reply, which is never before the dongle has seen the request.
Whatever else than a sound reply comes ends the connection: what a late or foreign reply means is
anybody's guess.
"""

import logging
import select
import socket
from dataclasses import dataclass
from threading import Event
from time import monotonic, sleep

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException

STOP_CHECK_S = 0.2

_READ = 4  # function code: input registers
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    6: "device busy",
    10: "gateway path unavailable",
    11: "no answer behind the dongle, is SUNGROW_SLAVE_ID right?",
}


@dataclass(frozen=True)
class Pace:
    """What the dongle bears, and how long it may take."""

    gap_s: float = 5.0  # between the first requests of two polls
    request_s: float = 5.0  # for one reply, or for connecting
    poll_s: float = 15.0  # for all replies of a poll


NORMAL = Pace()


class LinkLost(Exception):
    """No connection, or none any more; the text says why and what to look at."""


class Refused(Exception):
    """The inverter answered with an exception code instead of words."""

    def __init__(self, code: int):
        meaning = _EXCEPTIONS.get(code)
        super().__init__(f"exception {code}" + (f", {meaning}" if meaning else ""))
        self.code = code


class Stopping(Exception):
    """The agent stops; nothing more is asked."""


class Link:
    """A connection to one unit, opened when a poll begins without one."""

    def __init__(self, host: str, port: int, unit: int, delay_s: float, stop: Event, pace: Pace):
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._unit = unit
        self._delay_s = delay_s
        self._stop = stop
        self._pace = pace
        self._client: _Client | None = None
        self._quiet_until = 0.0
        self._next_poll = 0.0
        self._first = True
        self._time_left_s = 0.0
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # we say it once, in our words

    @property
    def connected(self) -> bool:
        """Whether there is a connection to ask on."""
        return self._client is not None

    def begin_poll(self) -> bool:
        """Wait until a poll may begin, and connect if need be; whether the connection is new."""
        self._pause_until(self._next_poll)
        self._first = True
        self._time_left_s = self._pace.poll_s
        if self._client is not None:
            return False
        self._client = self._connect()
        return True

    def read(self, start: int, count: int) -> list[int]:
        """The words from `start` on; raises Refused, or LinkLost when the connection is gone."""
        if self._client is None:
            raise LinkLost(f"not connected to {self.where}")
        self._pause_until(self._quiet_until)
        began = monotonic()
        try:
            return self._client.words(start, count, self._unit, self._time_left_s)
        except (_Silence, _Closed, _Garbled, OSError, ModbusException) as error:
            self.close()
            self._first = True  # the next poll needs its gap from here
            raise LinkLost(f"{self.where} {_complaint(error)} (at {start})") from error
        finally:
            now = monotonic()
            self._time_left_s -= now - began
            self._quiet_until = now + self._delay_s
            if self._first:
                self._first = False
                self._next_poll = now + self._pace.gap_s

    def close(self) -> None:
        """Hang up; may be called twice."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connect(self) -> "_Client":
        try:
            connected = socket.create_connection(self._address, timeout=self._pace.request_s)
        except (OSError, UnicodeError) as error:
            self._next_poll = monotonic() + self._pace.gap_s
            raise LinkLost(f"{self.where} {_unreachable(error)}") from error
        return _Client(connected, self._stop, self._pace.request_s)

    def _pause_until(self, moment: float) -> None:
        while (left := moment - monotonic()) > 0 and not self._stop.is_set():
            if left > STOP_CHECK_S:
                self._stop.wait(left)
            else:
                sleep(left)  # takes half the CPU time
        if self._stop.is_set():
            raise Stopping("the agent stops")


class _Silence(Exception):
    """No reply in time."""


class _Closed(Exception):
    """The other side hung up."""


class _Garbled(Exception):
    """Bytes that are no reply to what was asked."""


class _Client(ModbusTcpClient):
    """pymodbus on a connection that is made for it, with its waits bounded by the wall clock.

    By itself it would repeat requests and connect anew in the middle of a poll, skip replies to
    other requests, and wait for as long as single bytes drip in.
    """

    def __init__(self, connected: socket.socket, stop: Event, request_s: float):
        super().__init__("", timeout=request_s, retries=0, trace_packet=self._check)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setblocking(False)
        self.socket = connected
        self._readable = select.poll()
        self._readable.register(connected, select.POLLIN)
        self._stop = stop
        self._request_s = request_s
        self._deadline = 0.0
        self._served = self._refused = b""
        self._served_length = 0

    def words(self, start: int, count: int, unit: int, within_s: float) -> list[int]:
        """Read once; raises Refused, _Silence, _Closed, _Garbled, OSError or ModbusException."""
        self._deadline = monotonic() + min(within_s, self._request_s)
        reply = self.read_input_registers(start, count=count, device_id=unit)
        if reply.isError():
            raise Refused(reply.exception_code)
        if len(reply.registers) != count:
            raise _Garbled
        return reply.registers

    def connect(self) -> bool:
        """Never, if the connection is gone: the dongle needs a pause first."""
        return self.connected

    def recv(self, size: int | None) -> bytes:
        """The next bytes, until the deadline."""
        while not self._stop.is_set():
            left = self._deadline - monotonic()
            if left <= 0:
                raise _Silence
            if self._readable.poll(min(left, STOP_CHECK_S) * 1000):
                data = self.socket.recv(4096)
                if not data:
                    raise _Closed
                return data
        raise Stopping("the agent stops")

    def _check(self, sending: bool, data: bytes) -> bytes:
        """Let a packet pass; what comes must be the beginning of a reply to what was sent."""
        if sending:
            size = int.from_bytes(data[10:12], "big") * 2
            self._served = data[:4] + (size + 3).to_bytes(2, "big") + data[6:8] + bytes([size])
            self._served_length = len(self._served) + size
            self._refused = data[:4] + bytes([0, 3, data[6], _READ | 0x80])
        elif not (
            _begins(data, self._served, self._served_length)
            or _begins(data, self._refused, len(self._refused) + 1)
        ):
            raise _Garbled
        return data


def _begins(data: bytes, head: bytes, length: int) -> bool:
    """Whether data is the beginning of a packet with this head and length, or all of it."""
    return len(data) <= length and (data.startswith(head) or head.startswith(data))


def _complaint(error: Exception) -> str:
    match error:
        case _Silence():
            return "does not answer in time (timeout): is another client connected to the dongle?"
        case _Closed() | ConnectionError() | ConnectionException():
            return "closed the connection: is another client connected to the dongle?"
        case _Garbled() | ModbusException():
            return "sent something that is no reply to what was asked"
    return f"is lost: {error}"


def _unreachable(error: OSError | UnicodeError) -> str:
    match error:
        case ConnectionRefusedError():
            return (
                "refuses connections (port closed): switch on Modbus TCP in the WiNet-S, "
                "an update may have switched it off; is SUNGROW_PORT right?"
            )
        case TimeoutError():
            return "can not be reached (timeout): is SUNGROW_HOST right, is the dongle on?"
        case socket.gaierror() | UnicodeError():
            return f"is not known: is SUNGROW_HOST right? ({error})"
    return f"can not be reached: {error}"
