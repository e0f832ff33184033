#!/usr/bin/env bash
# What: optivgi 0.2.0 (smart charging, OCPP profiles), ChargingRateUnit.convert without a voltage ("if None or zero,
#   the default of 240 V is used"): 16 A are 240 W and not 3840, 7.2 kW are 240 A and not 30, and 16 A as amperes are
#   240 A. With a voltage of 240 given it is right. A charging profile of an EV whose voltage is 0 has a limit of 240
#   A.
# Why it matters: the charging station is told a limit far above its fuse, or a trickle.
# Source: docstring; seen here: "value * voltage if voltage else 240" is read as "(value * voltage) if voltage else
#   240".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" optivgi==0.2.0 pulp==3.3.0
PYTHONPATH=$work python3 -W ignore - <<'PY'
from datetime import datetime, timedelta
from importlib.metadata import version

from optivgi.scm.ev import EV, ChargingRateUnit

AMPERES, WATTS = ChargingRateUnit.A, ChargingRateUnit.W
NOW = datetime(2026, 11, 28, 18)
print("optivgi", version("optivgi"))
seen = []
for voltage in (None, 0, 240):
    values = (WATTS.convert(16, AMPERES, voltage), AMPERES.convert(7.2, WATTS, voltage),
              AMPERES.convert(16, AMPERES, voltage))
    print(f"voltage {voltage}: 16 A = {values[0]} W, 7.2 kW = {values[1]} A, 16 A = {values[2]} A")
    seen.append(values)
car = EV(1, True, 1, 1, 0, 7.2, NOW, NOW + timedelta(hours=8), 20, voltage=0)
car.power = [7.2] * 60 + [3.6] * 60 + [0.0] * 360
periods = car.charging_profile(NOW, AMPERES)["chargingSchedule"]["chargingSchedulePeriod"]
print("profile of 7.2, 3.6 and 0 kW in amperes, voltage 0:", [(p["startPeriod"], p["limit"]) for p in periods])
assert seen == [(240,) * 3, (240,) * 3, (3840, 30, 16)], "CHANGED"
assert [(p["startPeriod"], p["limit"]) for p in periods] == [(0, 240)], "CHANGED"
print("as seen")
PY
