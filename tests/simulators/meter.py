"""A simulated P1 meter in the same house as the simulated inverter.

    python -m tests.simulators.meter --folder DIR

prints one JSON line with port, ca_file, serial and token once it listens, and runs until it is
told to stop. DIR gets its certificates.
"""

import argparse
import json
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_agent.shared.samples import parse_time
from tests.simulators.appliances import SERIAL, ApplianceCa, san
from tests.simulators.belgian import BelgianMeter, SimulatedTime, as_v1
from tests.simulators.homewizard import TOKEN, MeterSimulator
from tests.simulators.house import House
from tests.simulators.plan import add_plan, plan_of
from tests.simulators.telegram import telegram


class HouseMeter:
    """What a meter in this house tells whenever it is asked, as API v2 or v1 puts it."""

    def __init__(self, house: House, start: datetime, speed: float = 1.0, v1: bool = False):
        self._clock, self._one_at_a_time = SimulatedTime(start, speed), threading.Lock()
        self._meter, self._v1 = BelgianMeter(house, start), v1

    def __call__(self) -> dict[str, Any]:
        """The measurement."""
        with self._one_at_a_time:
            body = self._meter.measurement(self._clock.now())
        return as_v1(body) if self._v1 else body

    def telegram(self) -> bytes:
        """The raw telegram, with the peaks of the past months."""
        with self._one_at_a_time:
            now = self._clock.now()
            return telegram(self._meter, self._meter.measurement(now), now)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one meter until SIGTERM or Ctrl-C."""
    options = _options(arguments)
    start = options.start or datetime.now(UTC)
    v1 = options.api == "v1"
    of_house = None
    if options.recording:
        body = json.loads(options.recording.read_text())
        measure: Callable[[], Any] = lambda: body  # noqa: E731
    else:
        measure = of_house = HouseMeter(
            House(options.seed, plan_of(options)), start, options.speed, v1
        )
    ca = None if v1 else ApplianceCa(options.folder)
    certificate = ca and ca.issue(
        f"appliance/p1dongle/{SERIAL}", (san(),) if options.names == "san" else ()
    )
    meter = MeterSimulator(measure, certificate, options.host, options.port)
    meter.fault = options.fault
    if of_house:
        meter.telegram = of_house.telegram
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with meter:
        told = {
            "port": meter.port,
            "ca_file": ca and str(ca.file),
            "serial": SERIAL,
            "token": TOKEN,
        }
        print(json.dumps(told), flush=True)
        stop.wait()
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulators.meter", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where its certificates go")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--api", choices=("v2", "v1"), default="v2")
    parser.add_argument("--names", choices=("cn", "san"), default="san", help="in its certificate")
    parser.add_argument("--seed", type=int, default=1, help="which house")
    parser.add_argument("--start", type=parse_time, help="its time when it starts; default: now")
    parser.add_argument("--speed", type=float, default=1.0)
    add_plan(parser)
    parser.add_argument("--recording", type=Path, help="tell this body again and again")
    parser.add_argument(
        "--fault", help="what it suffers from, as in tests/simulators/homewizard_api.py"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
