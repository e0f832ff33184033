#!/usr/bin/env bash
# What: tnb-bill 0.2 (bills of Malaysia's TNB by steps; the fifth step, at 0.571, is for all above 900 kWh): the last
#   step is given 500 kWh, and a consumption beyond that loses the whole step. 1400 kWh are RM 718.96, 1401 kWh and
#   each larger consumption are RM 411.73, what 900 kWh cost.
# Why it matters: a house with a heat pump or a car gets a bill that falls by RM 307 with one more kWh; savings from
#   panels come out negative.
# Source: its code ("Above 900 kWh" beside the rate) and README (1400 kWh is its example); the rest seen here: the last
#   step has an "if" for its limit and no "else".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" tnb-bill==0.2
PYTHONPATH=$work python3 -W ignore - <<'PY'
from importlib.metadata import version

from tnb_bill import calculate_electricity_bill

print("tnb-bill", version("tnb_bill"))
seen = []
for kwh in (600, 900, 1400, 1401, 2000, 5000):
    energy, _, _, total = calculate_electricity_bill(kwh, 30)
    print(f"{kwh} kWh: energy {energy:.2f}, in all {total:.2f}")
    seen.append(round(total, 2))
assert seen == [235.5, 411.73, 718.96, 411.73, 411.73, 411.73], "CHANGED"
print("as seen")
PY
