#!/usr/bin/env bash
# What: tmodbus 1.1.0 (the Modbus client under several home automation packages of 2026) does not report exception
#   6, device busy: it asks again after 1, 2, 4, 8, 10, 10 ... s, ten frames in 65 s, however short the timeout is,
#   and only then raises RequestRetryFailedError. Reads of other registers of that client wait behind it.
# Why it matters: a busy WiNet-S is asked more, and a poll of every 5 s stands still for over a minute with no
#   error. retry_on_device_busy=False gives the error at once.
# Source: documentation of create_async_tcp_client (that it retries), and seen here (for how long and how often).
#   This script looks at the first 10 s and at the setting that ends it.
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
[ -n "$python" ] || { echo "tmodbus 1.1.0 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" tmodbus==1.1.0
PYTHONPATH=$work "$python" -W ignore - <<'PY'
import asyncio
import struct
import time
from importlib.metadata import version

from tmodbus import create_async_tcp_client

asked = []


async def busy_device(reader, writer):
    while len(request := await reader.read(12)) == 12:
        asked.append(time.monotonic())
        writer.write(request[:2] + struct.pack(">HHBBB", 0, 3, request[6], request[7] | 0x80, 6))
    writer.close()


async def read(port, seconds, **settings):
    """Read two registers for at most so many seconds; tell how it ended and when the device was asked."""
    asked.clear()
    client = create_async_tcp_client("127.0.0.1", port, unit_id=1, timeout=1.0, **settings)
    await client.connect()
    try:
        async with asyncio.timeout(seconds):
            ended = f"answered {await client.read_input_registers(13000, 2)}"
    except TimeoutError:
        ended = f"no result after {seconds} s"
    except Exception as error:
        ended = type(error).__name__
    await client.disconnect()
    return ended, [round(moment - asked[0]) for moment in asked]


async def main():
    server = await asyncio.start_server(busy_device, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print("tmodbus", version("tmodbus"))
    default = await read(port, 10)
    print("as it comes, timeout 1 s:", default[0], "- asked at s", default[1])
    plain = await read(port, 10, retry_on_device_busy=False)
    print("retry_on_device_busy=False:", plain[0], "- asked at s", plain[1])
    assert default == ("no result after 10 s", [0, 1, 3, 7]), "CHANGED"
    assert plain == ("ServerDeviceBusyError", [0]), "CHANGED"
    print("as seen")


asyncio.run(main())
PY
