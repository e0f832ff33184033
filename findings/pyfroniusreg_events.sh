#!/usr/bin/env bash
# What: pyfroniusreg 0.2.4 (Fronius inverters by SunSpec) reads fields of bits as if they were floating-point numbers:
#   an inverter that is too hot (Evt1, bit 7, 00000080) has the event 1.793662034335766e-43, a ground fault (bit 0)
#   1.401298464324817e-45. EvtVnd1 with all bits but the sign's is nan. A test like Evt1 & 128 is a TypeError; rounded,
#   each event is 0.0.
# Why it matters: an alarm that is stored or charted as a number is 0 at whatever precision, so the inverter never has
#   one.
# Source: SunSpec's model 103 (bitfield32). Seen here: the type is decoded with decode_32bit_float. The inverter is a
#   Modbus server of 15 lines.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" --no-deps pyfroniusreg==0.2.4 pymodbus==3.7.4
PYTHONPATH=$work python3 -W ignore - <<'PY'
import math
import socketserver
import struct
import threading
from importlib.metadata import version

from pyfroniusreg import gen24_primo_symo_inverter_register_map_int_sf as gen24
from pymodbus.client import ModbusTcpClient

registers = dict.fromkeys(range(40001, 40307), 0)  # numbered from 1, as in SunSpec's tables


class Inverter(socketserver.StreamRequestHandler):
    def handle(self):
        while header := self.rfile.read(7):
            function, address, count = struct.unpack(">BHH", self.rfile.read(5))
            words = [registers[number + 1] for number in range(address, address + count)]
            answer = bytes([function, 2 * count]) + struct.pack(f">{count}H", *words)
            self.wfile.write(header[:4] + struct.pack(">H", len(answer) + 1) + header[6:7] + answer)


server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Inverter)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
client = ModbusTcpClient("127.0.0.1", port=server.server_address[1])
client.connect()


def event(register, bits):
    registers.update(enumerate(struct.unpack(">HH", struct.pack(">I", bits)), register.address))
    return register.get(client)


print("pyfroniusreg", version("pyfroniusreg"), "pymodbus", version("pymodbus"))
hot, ground, every = event(gen24.Evt1, 0x80), event(gen24.Evt1, 0x01), event(gen24.EvtVnd1, 0x7FFFFFFF)
print("too hot:", hot, "- ground fault:", ground, "- 31 vendor's bits:", every)
client.close()
server.shutdown()
assert (hot, ground) == (128 * 2**-149, 2**-149) and math.isnan(every), "CHANGED"
print("as seen")
PY
