"""A simulated Sungrow SH4.0RS behind a WiNet-S, on Modbus TCP.

    python -m tests.simulators.inverter --port 0

prints one JSON line with its port once it listens, and runs until it is told to stop. It shows a
believable house (--seed, --start, --speed) or a recording (--words FILE).
"""

import argparse
import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from pymodbus.pdu import ExceptionResponse
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.shared.samples import parse_time
from tests.simulators.belgian import SimulatedTime
from tests.simulators.house import House
from tests.simulators.inverter_words import HouseWords, listed, recorded
from tests.simulators.misbehaviour import Misbehaviour, shorten_exceptions
from tests.simulators.plan import NOTHING_SPECIAL, Plan, add_plan, plan_of

FIRST, LAST = 2500, 13_400
# A read may begin here too on some dongles, as dumps of them say; it gives zeros or text.
ALSO_SERVED = (5114, 13199, 13249, 13279)
UNIT = 1
READ_SETTINGS, READ_INPUT = 3, 4
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS = 1, 2
# Settings, which the agent never asks for but other programs do: where a read may lie, and what is
# not zero there beside the clock: no forced charging, charge from 5 to 100 %, export not limited.
SETTINGS = (range(4999, 5049), range(13000, 13100))
SETTING_WORDS = {13050: 0xCC, 13057: 1000, 13058: 50, 13073: 4000, 13074: 0x55, 13086: 0x55}


@dataclass(frozen=True)
class Request:
    """One request as the inverter saw it."""

    at_s: float  # monotonic
    connection: int
    function: int
    address: int
    count: int


def setting_words() -> dict[int, int]:
    """The settings, with the inverter's local clock from 4999 on."""
    return SETTING_WORDS | dict(enumerate(datetime.now().timetuple()[:6], 4999))


def touching(*ranges: range) -> Callable[[Request], bool]:
    """Whether a request wants one of these registers; a `cut` or a `hang`."""
    return lambda request: any(
        request.address < part.stop and part.start < request.address + request.count
        for part in ranges
    )


class InverterSimulator:
    """The inverter in a thread of its own; its faults may be changed at any time."""

    def __init__(self, words: Callable[[], dict[int, int]], host: str = "127.0.0.1", port: int = 0):
        self.requests: list[Request] = []
        self.connections = 0
        self.refused: list[range] = []  # a read that touches one gets exception 2
        self.exceptions: list[int] = []  # answers to the next requests, in order; 0: served
        self.hang: Callable[[Request], bool] = lambda request: False
        self.cut: Callable[[Request], bool] = lambda request: False  # hang up instead of answering
        self.garble: Callable[[bytes], bytes] = lambda reply: reply
        self.pieces = 0  # a reply is sent in two, the first this long
        self.port = port
        self._host = host
        self._words = words
        documented = [register.addresses for register in listed() if register.served]
        self._documented = {address for addresses in documented for address in addresses}
        self._documented.update(ALSO_SERVED)
        self._server: _Server
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inverter")

    def __enter__(self) -> "InverterSimulator":
        self._thread.start()
        if not self._listening.wait(10):
            raise RuntimeError("the simulated inverter does not listen")
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10)
        self._thread.join()

    def cut_all(self) -> None:
        """Hang up on everybody now."""
        self._loop.call_soon_threadsafe(self._server.hang_up)

    def answer(self, request: Request) -> int:
        """The exception code that answers a request, 0: its words."""
        if self.exceptions:
            return self.exceptions.pop(0)
        if request.function == READ_SETTINGS:
            end = request.address + request.count - 1
            known = any(request.address in part and end in part for part in SETTINGS)
            return 0 if known else ILLEGAL_ADDRESS
        if request.function != READ_INPUT:  # a write: nobody has any business there
            return ILLEGAL_FUNCTION
        if request.address not in self._documented or touching(*self.refused)(request):
            return ILLEGAL_ADDRESS
        return 0

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        device = SimDevice(
            UNIT,
            SimData(FIRST, count=LAST - FIRST + 1, values=0, datatype=DataType.REGISTERS),
            action=self._fill,
        )
        self._server = _Server(device, self, (self._host, self.port))
        await self._server.serve_forever(background=True)
        self.port = self._server.transport.sockets[0].getsockname()[1]
        self._listening.set()
        await self._server.serving

    async def _fill(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        _set: object,
    ) -> None:
        """Put what the inverter holds now where pymodbus reads it."""
        words = setting_words() if function == READ_SETTINGS else self._words()
        for place in range(address, address + count):
            registers[place - start] = words.get(place, 0)


class _Server(ModbusTcpServer):
    def __init__(self, device: SimDevice, simulator: InverterSimulator, address: tuple[str, int]):
        super().__init__(device, address=address)
        self.simulator = simulator

    def callback_new_connection(self) -> "_Connection":
        self.simulator.connections += 1
        return _Connection(self, self.simulator.connections)

    def hang_up(self) -> None:
        for connection in list(self.active_connections.values()):
            connection.transport.abort()


class _Connection(ServerRequestHandler):
    """Answers one client, as badly as the simulator is told to."""

    def __init__(self, server: _Server, number: int):
        super().__init__(server, self._trace, None, None)
        self._number = number

    def _trace(self, sending: bool, data: bytes) -> bytes:
        if not sending:
            return data
        simulator = self.server.simulator
        reply = simulator.garble(data)
        if not simulator.pieces:
            return reply
        self.transport.write(reply[: simulator.pieces])
        time.sleep(0.05)  # the client has read it by then
        return reply[simulator.pieces :]

    async def handle_request(self) -> None:
        asked, simulator = self.last_pdu, self.server.simulator
        if asked is None:
            return
        request = Request(
            monotonic(), self._number, asked.function_code, asked.address, asked.count
        )
        simulator.requests.append(request)
        if simulator.hang(request):
            return
        if simulator.cut(request):
            self.transport.abort()
            return
        code = simulator.answer(request)
        if code:
            refusal = ExceptionResponse(asked.function_code, code, asked.dev_id)
            refusal.transaction_id = asked.transaction_id
            self.server_send(refusal, self.last_addr)
        else:
            await super().handle_request()


def house_words(
    seed: int, start: datetime, speed: float, plan: Plan = NOTHING_SPECIAL, number: int = 1
) -> Callable[[], dict[int, int]]:
    """What the first or second inverter of house `seed` holds, from `start` on."""
    words = HouseWords(House(seed, plan), number)
    words.at(start)  # the years before take a moment, which no client should wait for
    clock = SimulatedTime(start, speed)
    return lambda: words.at(clock.now())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one inverter until SIGTERM or Ctrl-C."""
    options = _options(arguments)
    if options.words:
        told = recorded(options.words)
        words: Callable[[], dict[int, int]] = lambda: told  # noqa: E731
    else:
        start = options.start or datetime.now(UTC)
        plan = plan_of(options)
        words = house_words(options.seed, start, options.speed, plan, options.number)
    misbehaviour = None
    if options.misbehave is not None:
        words = misbehaviour = Misbehaviour(words, options.misbehave)
    simulator = InverterSimulator(words, options.host, options.port)
    simulator.refused = options.refuse
    simulator.cut, simulator.hang = touching(*options.close), touching(*options.silent)
    if options.short_exceptions:
        simulator.garble = shorten_exceptions
    if misbehaviour:
        misbehaviour.take(simulator)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with simulator:
        print(json.dumps({"port": simulator.port}), flush=True)
        stop.wait()
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulators.inverter", description=__doc__
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--seed", type=int, default=1, help="which house")
    parser.add_argument("--start", type=parse_time, help="its time when it starts; default: now")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--words", type=Path, help="show this recording instead of a house")
    parser.add_argument("--number", type=int, choices=(1, 2), default=1, help="which inverter")
    add_plan(parser)
    for name, help_text in (
        ("--refuse", "answer reads of these registers with exception 2"),
        ("--close", "hang up when they are read"),
        ("--silent", "never answer when they are read"),
    ):
        parser.add_argument(
            name, type=_range, action="append", default=[], metavar="FIRST-LAST", help=help_text
        )
    parser.add_argument(
        "--short-exceptions", action="store_true", help="of length 2, as some WiNet-S send them"
    )
    parser.add_argument("--misbehave", type=int, metavar="SEED", help="all of that at random")
    return parser.parse_args(arguments)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    raise SystemExit(main())
