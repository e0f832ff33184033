"""Modbus TCP as far as it is needed: one request for input registers, and the reply to it.

What a client for every device does besides (it repeats requests, connects anew in the middle of a
poll, skips replies to other requests, waits for as long as single bytes drip in) a WiNet-S does not
bear. Some WiNet-S say length 2 instead of 3 in exception replies: they count as exceptions.
"""

import select
import socket
import struct
from threading import Event
from time import monotonic

STOP_CHECK_S = 0.2

READ_INPUT_REGISTERS = 4
EXCEPTION = 0x80  # added to the function code in the reply
EXCEPTION_BYTES = 9
MEANINGS = {
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


class NoReply(Exception):
    """No reply in time."""


class ClosedByPeer(Exception):
    """The other side hung up."""


class InvalidReply(Exception):
    """Bytes that are no reply to what was asked."""


class Stopping(Exception):
    """The agent stops; nothing more is asked."""


class Refused(Exception):
    """The inverter answered with an exception code instead of words."""

    def __init__(self, code: int):
        meaning = MEANINGS.get(code)
        super().__init__(f"exception {code}" + (f", {meaning}" if meaning else ""))
        self.code = code


class Client:
    """Asks on a connected socket, one thing at a time; of no use after any error but Refused."""

    def __init__(self, connected: socket.socket, stop: Event):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setblocking(False)
        self._socket = connected
        self._readable = select.poll()
        self._readable.register(connected, select.POLLIN)
        self._stop = stop
        self._transaction = 0

    def words(self, unit: int, start: int, count: int, within_s: float) -> list[int]:
        """Read once; raises Refused, OSError or one of the errors above."""
        deadline = monotonic() + within_s
        self._transaction = self._transaction % 0xFFFF + 1
        function, size = READ_INPUT_REGISTERS, 2 * count
        self._socket.send(_head(self._transaction, 6, unit, function, start, count, form="HH"))
        wanted = _head(self._transaction, size + 3, unit, function, size, form="B")
        refusals = [
            _head(self._transaction, length, unit, function | EXCEPTION) for length in (3, 2)
        ]
        reply = b""
        while True:
            reply += self._receive(deadline)
            if _begins(reply, wanted, len(wanted) + size):
                if len(reply) == len(wanted) + size:
                    return list(struct.unpack_from(f">{count}H", reply, len(wanted)))
            elif not any(_begins(reply, refusal, EXCEPTION_BYTES) for refusal in refusals):
                raise InvalidReply
            elif len(reply) == EXCEPTION_BYTES:
                raise Refused(reply[-1])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _receive(self, deadline: float) -> bytes:
        """The next bytes, until the deadline."""
        while not self._stop.is_set():
            left_s = deadline - monotonic()
            if left_s <= 0:
                raise NoReply
            if self._readable.poll(min(left_s, STOP_CHECK_S) * 1000):
                data = self._socket.recv(4096)
                if not data:
                    raise ClosedByPeer
                return data
        raise Stopping("the agent stops")


def _head(
    transaction: int, length: int, unit: int, function: int, *values: int, form: str = ""
) -> bytes:
    """The beginning of a packet: transaction, protocol 0, bytes that follow, unit, function."""
    return struct.pack(f">HHHBB{form}", transaction, 0, length, unit, function, *values)


def _begins(data: bytes, head: bytes, length: int) -> bool:
    """Whether data is the beginning of a packet with this head and length, or all of it."""
    return len(data) <= length and (data.startswith(head) or head.startswith(data))
