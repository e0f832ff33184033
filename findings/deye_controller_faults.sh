#!/usr/bin/env bash
# What: deye-controller 0.2.4 reads Deye's four fault registers (555-558, bit n is fault n+1) as the four bytes of one
#   number: a lost grid (F35) is "F11: Undocumented", F02 is "F26: DC busbar is unbalanced", F05 is "F29: Parallel
#   CANBus Fault", F56 (battery voltage low) is "F08"; F17 to F24 are right.
# Why it matters: an outage of the grid is logged as another fault, and other faults as ones that have a name.
# Source: its own table of faults (F35 is 1 << 34); sunsynk 1.3.0 and pydeye 0.1.0 read the registers so. Seen here
#   (FaultInformation.format packs each register as one byte).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" deye-controller==0.2.4 pysolarmanv5==3.0.6
PYTHONPATH=$work python3 -W ignore - <<'PY'
from importlib.metadata import version

from deye_controller import HoldingRegisters

print("deye-controller", version("deye-controller"))
fault = HoldingRegisters.Fault
seen = []
for number in (2, 5, 7, 24, 35, 56):
    fault.value = [0] * 4
    fault.value[(number - 1) // 16] = 1 << (number - 1) % 16
    print(f"F{number:02d}, registers {fault.value}:", fault.format())
    seen.append(fault.format().split(":")[0])
assert seen == ["F26", "F29", "F99", "F24", "F11", "F08"], "CHANGED"
print("as seen")
PY
