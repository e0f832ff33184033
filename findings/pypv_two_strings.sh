#!/usr/bin/env bash
# What: pypv 0.3.0 (layout of strings on inverters): for 24 kW of modules of 545 W, which are 44, on one inverter of 26
#   kW with two trackers of 30 A each, PvSystem.calculate() lays out 67: one string of 22, three of 11 and two of 6,
#   36.5 kW. A string of 22 is above the inverter's own limit of 18 (max_modules_per_string). With trackers of 15 A it
#   is right.
# Why it matters: who builds it overloads the inverter by 40 % and its voltage by a fifth, on a cold day.
# Source: docstrings; the rest seen here: for each tracker a layout with one string and one with two are both kept,
#   only one string's modules are taken off what is left, and "not a and b" lets strings pass that are too long.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" pypv==0.3.0
PYTHONPATH=$work python3 -W ignore - <<'PY'
from importlib.metadata import version

from pypv.pv_inverter import MPPT, PvInverter
from pypv.pv_module import PvModule
from pypv.pv_system import PvSystem

MODULE = PvModule(
    p_max=545, vmp=41.8, imp=13.09, voc=49.65, isc=13.92, efficiency=21.1,
    p_max_coefficient=-0.35, voc_coefficient=-0.27, isc_coefficient=0.048,
)


def layouts(amperes, inverter_kw, target_kw):
    """Strings and modules a string for a target, on an inverter with two equal trackers; and its longest string."""
    tracker = MPPT(min_voltage=200, max_voltage=850, isc=amperes, dc_inputs=1)
    inverter = PvInverter(
        start_voltage=90, max_voltage=1100, nominal_voltage=360, nominal_power=20, efficiency=98,
        max_pv_power=inverter_kw, MPPTs=[tracker, tracker],
    )
    longest = inverter.max_modules_per_string(850, MODULE.min_vmp_adjusted(0), MODULE.voc_adjusted(0))
    system = PvSystem(MODULE, inverter, target_power=target_kw, max_temperature=75, min_temperature=0)
    return [(layout.line_quantity, layout.modules_per_line) for layout in system.calculate().layouts], longest


print("pypv", version("pypv"))
seen = []
for amperes, inverter_kw, target_kw in ((15, 13, 12), (30, 26, 24)):
    strings, longest = layouts(amperes, inverter_kw, target_kw)
    modules = sum(count * length for count, length in strings)
    laid = f"{modules} modules, {0.545 * modules:.2f} kW, limit {longest}"
    print(f"{target_kw} kW, trackers of {amperes} A: {strings}, {laid}")
    seen.append((strings, longest))
assert seen == [([(2, 11)], 18), ([(1, 22), (3, 11), (2, 6)], 18)], "CHANGED"
print("as seen")
PY
