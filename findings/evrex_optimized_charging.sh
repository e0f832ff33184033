#!/usr/bin/env bash
# What: evrex 0.1.1 (EV fleets and the grid), generate_all_scenarios: the same 1000 cars of 7 kW take 30.38 MWh a day
#   when they charge as they like, 24.57 MWh on a night tariff and 7.0 MWh when charging is "optimized", whatever the
#   share of smart charging. With a share of 0 the peak falls from 4.55 MW to 1.05 MW all the same.
# Why it matters: smart charging looks as if it cut the peak to a quarter; three quarters of the energy is just not
#   charged.
# Source: docstring (profiles of a fleet for three scenarios; "optimized" fills demand valleys); seen here: two
#   patterns are shares of the cars that charge in each hour, the third is normed to a sum of 1 and multiplied the same
#   way.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" evrex==0.1.1 numpy==2.4.6 scipy==1.17.1
PYTHONPATH=$work python3 -W ignore - <<'PY'
from importlib.metadata import version

from evrex import generate_all_scenarios

print("evrex", version("evrex"))
demand = [60.0] * 7 + [90.0] * 16 + [60.0]
seen = {}
for share in (0.0, 0.5, 1.0):
    scenarios = generate_all_scenarios(
        {"light": 1000}, {"light": {"charging_power": 7.0}}, smart_charging_fraction=share, base_demand_24h=demand
    )
    for name, result in scenarios.items():
        seen[name, share] = round(result.daily_energy_mwh, 2), round(result.peak_demand_mw, 2)
        print(f"smart {share}, {name}: {result.daily_energy_mwh:.2f} MWh a day, peak {result.peak_demand_mw:.2f} MW")
assert all(seen["uncontrolled", share] == (30.38, 4.55) for share in (0.0, 0.5, 1.0)), "CHANGED"
assert all(seen["tou_shifted", share] == (24.57, 2.66) for share in (0.0, 0.5, 1.0)), "CHANGED"
assert [seen["optimized", share] for share in (0.0, 0.5, 1.0)] == [(7.0, 1.05), (7.0, 0.58), (7.0, 0.88)], "CHANGED"
print("as seen")
PY
