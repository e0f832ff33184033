#!/usr/bin/env bash
# What: async-sunspec 0.1.0 (SunSpec client and server of 2026): a server with the inverter's model of floats (113)
#   sends each optional point that was never set as 4F80 0000, the number 4294967296.0, and not as SunSpec's "not
#   implemented" (NaN, 7FC0 0000). Strings go out one character a register (53, 75, 6E ... and not 5375 6E73). Model
#   103 is right.
# Why it matters: whoever reads it counts 4.3 GW of DC power and 4.3 GVA; a manufacturer's name is unreadable both
#   ways.
# Source: SunSpec's information model (float32: NaN; string: two characters a register), docstring of SunSpecPoint (an
#   optional point is initialised to its not_implemented sentinel); seen here: that of floats is the integer FFFFFFFF.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=
# pyenv's commands run only the version named in this variable.
for PYENV_VERSION in "${PYENV_VERSION:-}" $(pyenv versions --bare 2>/dev/null | grep '^3\.1[2-9]'); do
    export PYENV_VERSION
    for candidate in python3.14 python3.13 python3.12 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
            python=$candidate
            break 2
        fi
    done
done
[ -n "$python" ] || { echo "async-sunspec 0.1.0 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" async-sunspec==0.1.0 pymodbus==3.12.1
PYTHONPATH=$work "$python" -W ignore - <<'PY'
import asyncio
import socket
from importlib.metadata import version

from async_sunspec.models.model_1 import Model1
from async_sunspec.models.model_103 import Model103
from async_sunspec.models.model_113 import Model113
from async_sunspec.server.device import SunSpecServerDevice
from async_sunspec.server.server import SunSpecServer
from pymodbus.client import AsyncModbusTcpClient


async def main():
    print("async-sunspec", version("async-sunspec"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    device = SunSpecServerDevice(device_id=1, address=40000)
    common, inverter = Model1(), Model113()
    device.add_model(common)
    device.add_model(inverter)
    common.Mn, inverter.W = "Sunspool", 1500.0
    running = asyncio.create_task(SunSpecServer("127.0.0.1", port, devices=[device]).run())
    await asyncio.sleep(1)
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    name = (await client.read_holding_registers(40004, count=3, device_id=1)).registers
    powers = (await client.read_holding_registers(40000 + inverter.offset + 22, count=6, device_id=1)).registers
    client.close()
    running.cancel()
    print("Mn:", [f"{word:04X}" for word in name])
    print("W, Hz, VA:", [f"{word:04X}" for word in powers])
    print("W", inverter.W, "VA", inverter.VA, "DCW", inverter.DCW, "- integers (103): DCW", Model103().DCW)
    assert name == [0x53, 0x75, 0x6E], "CHANGED"
    assert powers == [0x44BB, 0x8000, 0, 0, 0x4F80, 0], "CHANGED"
    assert inverter.VA == inverter.DCW == 4294967296.0 and Model103().DCW == -32768, "CHANGED"
    print("as seen")


asyncio.run(main())
PY
