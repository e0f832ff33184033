#!/usr/bin/env bash
# What: bgetech-modbus 0.1.0b8 (B+G e-tech's DS100 meters over Modbus) reads the current of L3 one register early: low
#   word of L2, then high word of L3. With 10, 5 and 7 A on the phases L3 is 327680 A; with 0 A on L2 it is 0.
# Why it matters: L3 shows nothing of L3, but moves with L2: its mA times 65.536, below zero from 32.768 A on. An
#   overload of the third phase is not seen. Voltages, powers and energies are right.
# Source: its own table (ds100.py: L1 at 0x0410, L2 at 0x0412, two registers each, L3 at 0x0413); voltages and powers
#   are two apart. The meter is a Modbus server of 20 lines here.
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
[ -n "$python" ] || { echo "bgetech-modbus 0.1.0b8 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" bgetech-modbus==0.1.0b8 pymodbus==3.16.1
PYTHONPATH=$work "$python" -W ignore - <<'PY'
import asyncio
import struct
from importlib.metadata import version

from bgetech_modbus.client import BGEtechClient
from bgetech_modbus.devices.ds100 import DS100

READ = [DS100.current_l1, DS100.current_l2, DS100.current_l3]


def meter(milliamperes):
    """A Modbus server with the currents of three phases from register 0x0410 on, two registers each."""
    words = struct.unpack(">6H", struct.pack(">3i", *milliamperes))

    async def serve(reader, writer):
        while header := await reader.read(7):
            _, address, count = struct.unpack(">BHH", await reader.readexactly(5))
            answer = bytes([3, 2 * count]) + b"".join(
                struct.pack(">H", words[register - 0x0410]) for register in range(address, address + count)
            )
            writer.write(header[:4] + struct.pack(">H", len(answer) + 1) + header[6:7] + answer)
        writer.close()

    return serve


async def currents(*milliamperes):
    server = await asyncio.start_server(meter(milliamperes), "127.0.0.1", 0)
    client = BGEtechClient("127.0.0.1", server.sockets[0].getsockname()[1])
    found = [register.value for register in await client.read_data(READ)]
    client.close()
    server.close()
    await server.wait_closed()
    return found


print("bgetech-modbus", version("bgetech-modbus"))
loaded = asyncio.run(currents(10000, 5000, 7000))
idle = asyncio.run(currents(10000, 0, 7000))
print("10, 5 and 7 A:", loaded, "- 10, 0 and 7 A:", idle)
assert loaded == [10.0, 5.0, 327680.0] and idle == [10.0, 0.0, 0.0], "CHANGED"
print("as seen")
PY
