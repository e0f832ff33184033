"""One process that polls an inverter as often as told and prints what that took: CPU and memory.

    python -m benchmarks._polls pymodbus|polling|agent --port PORT --polls N --pause-ms MS

`pymodbus` only reads the registers, `polling` also makes, spools and reports samples, `agent` also
uploads every second one. Settings of the agent come from the environment.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

from pymodbus.client import ModbusTcpClient

from edge_agent.sources.sungrow.registers import LIVE, OPTIONAL

WARM_UP = 5


def main() -> None:
    """Poll and print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("pymodbus", "polling", "agent"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--polls", type=int, required=True)
    parser.add_argument("--pause-ms", type=int, default=20)
    options = parser.parse_args()
    if options.what == "pymodbus":
        poll = pymodbus_alone(options.port, options.pause_ms / 1000)
    else:
        poll = our_agent(options.pause_ms, uploads=options.what == "agent")
    for _ in range(WARM_UP):
        poll()
    start, settled_kb = time.process_time(), 0
    for number in range(options.polls):
        poll()
        if number == options.polls // 4:
            settled_kb = resident_kb()
    used_s = time.process_time() - start
    result = {"cpu_s": used_s, "settled_kb": settled_kb, "rss_kb": resident_kb()}
    print(json.dumps(result), flush=True)


def pymodbus_alone(port: int, pause_s: float) -> Callable[[], object]:
    """The same registers, at the same pace, with nothing done to them."""
    client = ModbusTcpClient("127.0.0.1", port=port, retries=0)
    client.connect()

    def poll() -> None:
        for start, count in (*LIVE, *OPTIONAL):
            assert not client.read_input_registers(start, count=count, device_id=1).isError()
            time.sleep(pause_s)

    return poll


def our_agent(pause_ms: int, uploads: bool) -> Callable[[], object]:
    """The agent's own parts, on a clock that lets one poll follow the other."""
    from edge_agent import config
    from edge_agent.clock import Clock
    from edge_agent.poller import Poller
    from edge_agent.shared import logs
    from edge_agent.sources.sungrow.link import Pace
    from edge_agent.sources.sungrow.reader import SungrowSource
    from edge_agent.spool.queue import Spool
    from edge_agent.upload.uploader import Uploader

    logs.set_up("WARNING")
    settings = replace(config.load(os.environ), inter_register_delay_ms=pause_ms)
    now, polls, stop, clock = 0.0, 0, Event(), Clock(kernel=lambda: True)
    spool = Spool(settings.spool_path)
    source = SungrowSource(settings, clock.reading_time, stop, Pace(gap_s=0))
    uploader = Uploader(settings, spool, report=lambda: poller.agent_report())
    poller = Poller(settings, source, spool, clock, uploader, stop, now=lambda: now)

    def poll() -> None:
        nonlocal now, polls
        poller.tick()
        assert poller.error is None, poller.error
        now += settings.poll_interval_s
        polls += 1
        if uploads and polls % 2 == 0:
            uploader.tick()
            assert uploader.error is None, uploader.error

    return poll


def resident_kb() -> int:
    """The resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


if __name__ == "__main__":
    main()
