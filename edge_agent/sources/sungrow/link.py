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
from typing import Any

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadInputRegistersRequest

from edge_agent.sources import SourceError

STOP_CHECK_S = 0.2

_HEAD = struct.Struct(">HHHBBB")  # number, protocol, length, unit, function, bytes or exception
_FUNCTION = 4  # read input registers
_FAILED = 0x80  # added to the function code of an exception reply
_EXCEPTION_LENGTHS = (3, 2)  # what the standard says, and what some WiNet-S say
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
    """The inverter answered with an exception code instead of words.

    `for_good`: it does not know the address; all other codes are states of a dongle that pass.
    """

    def __init__(self, code: int):
        meaning = _EXCEPTIONS.get(code)
        super().__init__(f"exception {code}" + (f", {meaning}" if meaning else ""))
        self.for_good = code in (2, 3)


class InvalidReply(Exception):
    """Bytes that are no reply to what was asked."""


class Link:
    """A connection to one unit, opened when a poll begins without one.

    pymodbus writes the requests. Its client is not used, because it repeats them, connects anew in
    the middle of a poll, skips replies to other requests, takes words of another function, and
    waits for as long as single bytes drip in; nor is its decoder, which takes most of the CPU time
    of a poll. Where the agent is told to stop, SourceError is raised instead of asking on.
    """

    def __init__(self, settings: Any, stop: Event, pace: Pace):
        self._address = (settings.sungrow_host, settings.sungrow_port)
        self.where = f"{settings.sungrow_host}:{settings.sungrow_port}"
        self.answered = False  # anything in this poll
        self._unit = settings.sungrow_slave_id
        self._delay_s = settings.inter_register_delay_ms / 1000
        self._stop = stop
        self._pace = pace
        self._socket: socket.socket | None = None
        self._number = 0  # of the last request
        self._quiet_until = 0.0
        self._next_poll = 0.0
        self._first = True
        self._time_left_s = 0.0

    def begin_poll(self) -> bool:
        """Wait until a poll may begin, and connect if need be; whether the connection is new."""
        self._pause_until(self._next_poll)
        self._first = True
        self.answered = False
        self._time_left_s = self._pace.poll_s
        if self._socket is not None:
            return False
        try:
            self._socket = socket.create_connection(self._address, timeout=self._pace.request_s)
        except (OSError, UnicodeError) as error:
            self.rest()
            raise ConnectionLost(f"{self.where} {_unreachable(error)}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(min(STOP_CHECK_S, self._pace.request_s))
        return True

    def read(self, start: int, count: int) -> list[int]:
        """The words from `start` on; a busy dongle is asked twice.

        Raises Refused, or ConnectionLost.
        """
        try:
            return self._read(start, count)
        except Refused as error:
            if error.for_good:
                raise
            return self._read(start, count)

    def rest(self) -> None:
        """Let the gap before the next poll begin now."""
        self._next_poll = monotonic() + self._pace.gap_s

    def close(self) -> None:
        """Hang up; may be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self, start: int, count: int) -> list[int]:
        self._pause_until(self._quiet_until)
        began, hurried = monotonic(), self._time_left_s < self._pace.request_s
        try:
            deadline = began + min(self._time_left_s, self._pace.request_s)
            words = self._exchange(start, count, deadline)
            self.answered = True
            return words
        except Refused:
            self.answered = True
            raise
        except (InvalidReply, OSError) as error:
            self.close()
            self._first = True  # the next poll needs its gap from here
            text = f"{self.where} {_complaint(error, f'{count} words at {start}', self.answered)}"
            raise ConnectionLost(text, hurried) from error
        finally:
            now = monotonic()
            self._time_left_s -= now - began
            self._quiet_until = now + self._delay_s
            if self._first:
                self._first = False
                self.rest()

    def _exchange(self, start: int, count: int, deadline: float) -> list[int]:
        """Ask once; raises Refused, InvalidReply, or OSError."""
        self._number = self._number % 0xFFFF + 1
        self._socket.send(self._number.to_bytes(2, "big") + _request(start, count, self._unit)[2:])
        reply = b""
        while not self._stop.is_set():
            try:
                received = self._socket.recv(4096)
                if not received:
                    raise ConnectionResetError
                reply += received
            except TimeoutError:
                pass  # of a moment, to see whether the agent stops
            if len(reply) >= _HEAD.size and self._is_whole(reply, count):
                return list(struct.unpack_from(f">{count}H", reply, _HEAD.size))
            if monotonic() >= deadline:
                raise TimeoutError
        raise SourceError("the agent stops")

    def _is_whole(self, reply: bytes, count: int) -> bool:
        """Whether these words are all there; raises Refused, or InvalidReply."""
        number, protocol, length, unit, function, last = _HEAD.unpack_from(reply)
        if (number, protocol, unit) == (self._number, 0, self._unit):
            size = _HEAD.size + 2 * count
            words_follow = function == _FUNCTION and (length, last) == (3 + 2 * count, 2 * count)
            if words_follow and len(reply) <= size:
                return len(reply) == size
            failed = function == _FUNCTION | _FAILED and length in _EXCEPTION_LENGTHS
            if failed and len(reply) == _HEAD.size:
                raise Refused(last)
        raise InvalidReply

    def _pause_until(self, moment: float) -> None:
        while (left := moment - monotonic()) > 0 and not self._stop.is_set():
            if left > STOP_CHECK_S:
                self._stop.wait(left)
            else:
                sleep(left)  # takes half the CPU time
        if self._stop.is_set():
            raise SourceError("the agent stops")


@cache
def _request(start: int, count: int, unit: int) -> bytes:
    """A packet that asks for these words, under the number 0."""
    request = ReadInputRegistersRequest(unit, 0, address=start, count=count)
    return FramerSocket(DecodePDU(False)).buildFrame(request)


def _complaint(error: Exception, asked: str, answered: bool) -> str:
    """What went wrong, and what to look at when nothing at all was answered in a poll."""
    hint = (
        ": is another client connected to the dongle, is SUNGROW_SLAVE_ID right? "
        "The slave of a cluster answers on another unit, often 2"
    )
    match error:
        case InvalidReply():
            return f"sent something that is no reply to what was asked ({asked})"
        case TimeoutError():
            text = f"does not answer {asked} in time (timeout)"
        case ConnectionError():
            text = f"closed the connection when asked for {asked}"
        case _:
            text = f"is lost at {asked}: {error}"
    return text if answered else text + hint


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
