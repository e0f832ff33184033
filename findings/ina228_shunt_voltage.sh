#!/usr/bin/env bash
# What: ina228 0.1.0 (a driver of 2026 for TI's current and energy monitor on a battery's shunt): 1 A through 0.025
#   Ohm has get_current() 1.0 and get_shunt_voltage() 0.0625 V, 2.5 times what it is. With configure(adcrange=1), the
#   fine range, the chip measures in it but get_current() is 4.0 A and the shunt's voltage 0.25 V, 10 times.
# Why it matters: who takes the current from the shunt's voltage, or the finer range for a small battery, counts 2.5,
#   4 or 10 times the energy; get_power, get_energy and get_charge follow get_current.
# Source: TI's datasheet (312.5 nV a step in range 0, 78.125 nV in range 1, current step from 40.96 mV in range 1);
#   README ("Value of VSHUNT is needed to be multiplied by 10"); seen here: the two steps are swapped before that
#   factor, and the range is read from a constant. The chip is the package's own stub with the datasheet's registers.
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
[ -n "$python" ] || { echo "ina228 0.1.0 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" ina228==0.1.0 smbus2==0.6.1
PYTHONPATH=$work "$python" -W ignore - <<'PY'
from importlib.metadata import version

from ina228 import INA228

OHMS, AMPERES, VOLTS = 0.025, 1.0, 48.0


def chip(adcrange):
    """The registers of the chip at these amperes and volts: 20 bits, left aligned in three bytes."""
    full, step = ((163.84e-3, 312.5e-9), (40.96e-3, 78.125e-9))[adcrange]
    current_step = full / OHMS / 2**19

    def aligned(value):
        return list((round(value) << 4).to_bytes(3, "big"))

    power = list(round(VOLTS * AMPERES / (3.2 * current_step)).to_bytes(3, "big"))
    return {
        0: [0, adcrange << 4], 1: [0xFB, 0x68], 2: [0x10, 0],
        4: aligned(OHMS * AMPERES / step), 5: aligned(VOLTS / 195.3125e-6),
        7: aligned(AMPERES / current_step), 8: power,
    }


print("ina228", version("ina228"))
seen = []
for adcrange in (0, 1):
    sensor = INA228(shunt_ohms=OHMS, stub_regmap=chip(adcrange))
    sensor.configure(adcrange=adcrange)
    row = (sensor.get_vbus_voltage(), sensor.get_current(), sensor.get_power(), sensor.get_shunt_voltage())
    seen.append(tuple(round(value, 3) if value > 1 else round(value, 4) for value in row))
    print(f"range {adcrange}, {AMPERES} A, {VOLTS} V, shunt {OHMS * AMPERES} V: bus, current, power, shunt:", *seen[-1])
assert seen == [(48.0, 1.0, 48.0, 0.0625), (48.0, 4.0, 192.0, 0.25)], "CHANGED"
print("as seen")
PY
