#!/usr/bin/env bash
# What: energy-tools 1.2.2 (phasors of power engineering): 120 / Phasor(10, 30) is 12 at 210 degrees, and Phasor(120) /
#   Phasor(10, 30) is 12 at 330, which is right. 1 / EleComplex(3, 4) is 0.12+0.16j, and EleComplex(1) / EleComplex(3,
#   4) is 0.12-0.16j. Phasor(5) == 5 is None, and Phasor(5) != 5 is True.
# Why it matters: a current from volts over an impedance points the wrong way: power that is drawn counts as fed in.
# Source: README ("division ... and equality with either another phasor, a float or an integer"); the rest seen here
#   (180 degrees are added where the angle is to be negated; the number is made a phasor and nothing is returned).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" energy_tools==1.2.2
PYTHONPATH=$work python3 -W ignore - <<'PY'
from importlib.metadata import version

from energy_tools.complex import EleComplex
from energy_tools.phasor import Phasor

print("energy_tools", version("energy_tools"))
currents = [120 / Phasor(10, 30), Phasor(120) / Phasor(10, 30)]
print("120 / Phasor(10, 30):", currents[0], "  Phasor(120) / Phasor(10, 30):", currents[1])
admittances = [1 / EleComplex(3, 4), EleComplex(1) / EleComplex(3, 4)]
print("1 / EleComplex(3, 4):", admittances[0], "  EleComplex(1) / EleComplex(3, 4):", admittances[1])
comparisons = [Phasor(5) == 5, Phasor(5) != 5, Phasor(5) == Phasor(5)]
print("Phasor(5) == 5, != 5, == Phasor(5):", *comparisons)
assert [str(current) for current in currents] == ["12.0 @ 210.0°", "12.0 @ 330.0°"], "CHANGED"
assert [str(value) for value in admittances] == ["(0.12+0.16j)", "(0.12-0.16j)"], "CHANGED"
assert comparisons == [None, True, True], "CHANGED"
print("as seen")
PY
