"""One paced Modbus connection to the dongle.

A WiNet-S bears one client that asks one thing at a time, with pauses. So there is one request in
flight, INTER_REGISTER_DELAY_MS of quiet after each reply, and a gap between the first requests of
two polls. All are counted from the reply, which is never before the dongle has seen the request.
Anything but a sound reply ends the connection, because a later reply could not be matched to its
request. One flaw is repaired: some WiNet-S say length 2 instead of 3 in exception replies.
"""

import socket
import struct
from dataclasses import dataclass
from functools import cache
from threading import Event
from time import monotonic, sleep

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadInputRegistersRequest

STOP_CHECK_S = 0.2

_FAILED = 0x80  # added to the function code of an exception reply
_REFUSAL_BYTES = 9
_LENGTHS = (b"\0\3", b"\0\2")  # in an exception reply, and what some WiNet-S say
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, not done yet",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "no answer behind the dongle, is SUNGROW_SLAVE_ID right?",
}


@dataclass(frozen=True)
class Pace:
    """What the dongle bears, and how long it may take."""

    gap_s: float = 5.0  # between the first requests of two polls
    request_s: float = 5.0  # for one reply, or for connecting
    poll_s: float = 15.0  # for all replies of a poll
    retry_block_s: float = 3600.0  # until a block that broke the connection is asked again


NORMAL = Pace()


class ConnectionLost(Exception):
    """No connection, or none any more; the text says why and what to look at.

    `hurried`: the poll's time was nearly over, so the block that was asked for is not to blame.
    """

    def __init__(self, text: str, hurried: bool = False):
        super().__init__(text)
        self.hurried = hurried


class Refused(Exception):
    """The inverter answered with an exception code instead of words."""

    def __init__(self, code: int):
        meaning = _EXCEPTIONS.get(code)
        super().__init__(f"exception {code}" + (f", {meaning}" if meaning else ""))
        self.code = code


class InvalidReply(Exception):
    """Bytes that are no reply to what was asked."""


class Stopping(Exception):
    """The agent stops; nothing more is asked."""


class Link:
    """A connection to one unit, opened when a poll begins without one.

    pymodbus writes the requests. Its client is not used, because it repeats them, connects anew in
    the middle of a poll, skips replies to other requests, takes words of another function, and
    waits for as long as single bytes drip in; nor is its decoder, which takes most of the CPU time
    of a poll.
    """

    def __init__(self, host: str, port: int, unit: int, delay_s: float, stop: Event, pace: Pace):
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._unit = unit
        self._delay_s = delay_s
        self._stop = stop
        self._pace = pace
        self._socket: socket.socket | None = None
        self._number = 0  # of the last request
        self._quiet_until = 0.0
        self._next_poll = 0.0
        self._first = True
        self._answered = False  # anything in this poll
        self._time_left_s = 0.0

    @property
    def connected(self) -> bool:
        """Whether there is a connection to ask on."""
        return self._socket is not None

    def begin_poll(self) -> bool:
        """Wait until a poll may begin, and connect if need be; whether the connection is new."""
        self._pause_until(self._next_poll)
        self._first = True
        self._answered = False
        self._time_left_s = self._pace.poll_s
        if self.connected:
            return False
        self._connect()
        return True

    def read(self, start: int, count: int) -> list[int]:
        """The words from `start` on; raises Refused, or ConnectionLost."""
        if self._socket is None:
            raise ConnectionLost(f"not connected to {self.where}")
        self._pause_until(self._quiet_until)
        began, hurried = monotonic(), self._time_left_s < self._pace.request_s
        try:
            words = self._exchange(
                self._socket, start, count, began + min(self._time_left_s, self._pace.request_s)
            )
        except Refused:
            self._answered = True
            raise
        except (InvalidReply, OSError) as error:
            self.close()
            self._first = True  # the next poll needs its gap from here
            text = f"{self.where} {_complaint(error, f'{count} words at {start}')}"
            if not self._answered:
                text += _hint(error)
            raise ConnectionLost(text, hurried) from error
        else:
            self._answered = True
            return words
        finally:
            now = monotonic()
            self._time_left_s -= now - began
            self._quiet_until = now + self._delay_s
            if self._first:
                self._first = False
                self.rest()

    def rest(self) -> None:
        """Let the gap before the next poll begin now."""
        self._next_poll = monotonic() + self._pace.gap_s

    def close(self) -> None:
        """Hang up; may be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        try:
            connected = socket.create_connection(self._address, timeout=self._pace.request_s)
        except (OSError, UnicodeError) as error:
            self.rest()
            raise ConnectionLost(f"{self.where} {_unreachable(error)}") from error
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(min(STOP_CHECK_S, self._pace.request_s))
        self._socket = connected

    def _exchange(
        self, connected: socket.socket, start: int, count: int, deadline: float
    ) -> list[int]:
        """Ask once; raises Refused, InvalidReply, or OSError."""
        self._number = self._number % 0xFFFF + 1
        asked = self._number.to_bytes(2, "big") + _request(start, count, self._unit)[2:]
        connected.send(asked)
        packet = b""
        while not self._stop.is_set():
            packet += _received(connected)
            if (words := _words(packet, asked, count)) is not None:
                return words
            if monotonic() >= deadline:
                raise TimeoutError
        raise Stopping("the agent stops")

    def _pause_until(self, moment: float) -> None:
        while (left := moment - monotonic()) > 0 and not self._stop.is_set():
            if left > STOP_CHECK_S:
                self._stop.wait(left)
            else:
                sleep(left)  # takes half the CPU time
        if self._stop.is_set():
            raise Stopping("the agent stops")


def _received(connected: socket.socket) -> bytes:
    """What has come, nothing after a while of silence; raises OSError."""
    try:
        data = connected.recv(4096)
    except TimeoutError:
        return b""
    if not data:
        raise ConnectionResetError
    return data


@cache
def _request(start: int, count: int, unit: int) -> bytes:
    """A packet that asks for these words, under the number 0."""
    request = ReadInputRegistersRequest(unit, 0, address=start, count=count)
    return FramerSocket(DecodePDU(False)).buildFrame(request)


def _words(packet: bytes, asked: bytes, count: int) -> list[int] | None:
    """The words of a reply, None while it is not all there; raises Refused or InvalidReply."""
    unit, function = asked[6:8]
    reply = asked[:4] + struct.pack(">HBBB", 3 + 2 * count, unit, function, 2 * count)
    size = len(reply) + 2 * count
    if _begins(packet, reply, size):
        whole = len(packet) == size
        return list(struct.unpack_from(f">{count}H", packet, len(reply))) if whole else None
    failed = bytes([unit, function | _FAILED])
    refusals = (asked[:4] + length + failed for length in _LENGTHS)
    if not any(_begins(packet, refusal, _REFUSAL_BYTES) for refusal in refusals):
        raise InvalidReply
    if len(packet) == _REFUSAL_BYTES:
        raise Refused(packet[-1])
    return None


def _begins(data: bytes, head: bytes, length: int) -> bool:
    """Whether data is the beginning of a packet with this head and length, or all of it."""
    return len(data) <= length and (data.startswith(head) or head.startswith(data))


def _complaint(error: Exception, asked: str) -> str:
    match error:
        case TimeoutError():
            return f"does not answer {asked} in time (timeout)"
        case ConnectionError():
            return f"closed the connection when asked for {asked}"
        case InvalidReply():
            return f"sent something that is no reply to what was asked ({asked})"
    return f"is lost at {asked}: {error}"


def _hint(error: Exception) -> str:
    """What to look at when nothing at all was answered in a poll."""
    if isinstance(error, InvalidReply):
        return ""
    return (
        ": is another client connected to the dongle, is SUNGROW_SLAVE_ID right? "
        "The slave of a cluster answers on another unit, often 2"
    )


def _unreachable(error: OSError | UnicodeError) -> str:
    match error:
        case ConnectionRefusedError():
            return (
                "refuses connections (port closed): switch on Modbus TCP in the WiNet-S, "
                "an update may have switched it off; is SUNGROW_PORT right?"
            )
        case TimeoutError():
            return "cannot be reached (timeout): is SUNGROW_HOST right, is the dongle on?"
        case socket.gaierror() | UnicodeError():
            return f"is not known: is SUNGROW_HOST right? ({error})"
    return f"cannot be reached: {error}"
