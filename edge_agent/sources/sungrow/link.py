"""One paced Modbus connection to the dongle.

A WiNet-S bears one client that asks one thing at a time, with pauses. So there is one request in
flight, INTER_REGISTER_DELAY_MS of quiet after each reply, and a gap between the first requests of
two polls. All are counted from the reply, which is never before the dongle has seen the request.
Anything but a sound reply ends the connection, because a later reply could not be matched to its
request.
"""

import socket
from dataclasses import dataclass
from threading import Event
from time import monotonic, sleep

from edge_agent.sources.sungrow.modbus import (
    STOP_CHECK_S,
    Client,
    ClosedByPeer,
    InvalidReply,
    NoReply,
    Refused,
    Stopping,
)


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


class Link:
    """A connection to one unit, opened when a poll begins without one."""

    def __init__(self, host: str, port: int, unit: int, delay_s: float, stop: Event, pace: Pace):
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._unit = unit
        self._delay_s = delay_s
        self._stop = stop
        self._pace = pace
        self._client: Client | None = None
        self._quiet_until = 0.0
        self._next_poll = 0.0
        self._first = True
        self._answered = False  # anything in this poll
        self._time_left_s = 0.0

    @property
    def connected(self) -> bool:
        """Whether there is a connection to ask on."""
        return self._client is not None

    def begin_poll(self) -> bool:
        """Wait until a poll may begin, and connect if need be; whether the connection is new."""
        self._pause_until(self._next_poll)
        self._first = True
        self._answered = False
        self._time_left_s = self._pace.poll_s
        if self._client is not None:
            return False
        self._client = self._connect()
        return True

    def read(self, start: int, count: int) -> list[int]:
        """The words from `start` on; raises Refused, or ConnectionLost."""
        if self._client is None:
            raise ConnectionLost(f"not connected to {self.where}")
        self._pause_until(self._quiet_until)
        began, hurried = monotonic(), self._time_left_s < self._pace.request_s
        try:
            within_s = min(self._time_left_s, self._pace.request_s)
            words = self._client.words(self._unit, start, count, within_s)
        except Refused:
            self._answered = True
            raise
        except (NoReply, ClosedByPeer, InvalidReply, OSError) as error:
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
                self._next_poll = now + self._pace.gap_s

    def rest(self) -> None:
        """Let the gap before the next poll begin now."""
        self._next_poll = monotonic() + self._pace.gap_s

    def close(self) -> None:
        """Hang up; may be called twice."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connect(self) -> Client:
        try:
            connected = socket.create_connection(self._address, timeout=self._pace.request_s)
        except (OSError, UnicodeError) as error:
            self._next_poll = monotonic() + self._pace.gap_s
            raise ConnectionLost(f"{self.where} {_unreachable(error)}") from error
        return Client(connected, self._stop)

    def _pause_until(self, moment: float) -> None:
        while (left := moment - monotonic()) > 0 and not self._stop.is_set():
            if left > STOP_CHECK_S:
                self._stop.wait(left)
            else:
                sleep(left)  # takes half the CPU time
        if self._stop.is_set():
            raise Stopping("the agent stops")


def _complaint(error: Exception, asked: str) -> str:
    match error:
        case NoReply():
            return f"does not answer {asked} in time (timeout)"
        case ClosedByPeer() | ConnectionError():
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
