#!/usr/bin/env bash
# What: mosaik-battery 0.1.0 (battery of the mosaik co-simulation): an empty battery of 51 kWh with a discharge power
#   of 150 kW offers schedules of up to 0.3 MW in each quarter-hour, twice its power; one with 20 kWh, 80 kW for a
#   quarter, offers 0.22 MW for the first. A full battery offers to charge with 0, as is right.
# Why it matters: a house or a grid is simulated with energy from nowhere.
# Source: README (discharge_power: maximum power out); the rest seen here: what lies below zero is negative already and
#   is added to the power, which is negative too. The package asks for mosaik-api-v3 and imports mosaik-api, which is
#   installed beside it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" mosaik-battery==0.1.0 mosaik-api==3.0.6
PYTHONPATH=$work python3 -W ignore - <<'PY'
from importlib.metadata import version

from mosaik_components.battery import Simulator

def offers(soc):
    """Most power in (negative) and out of each of the two quarter-hours of all schedules, MW."""
    battery = Simulator()
    battery.init(
        "battery", step_size=900, interval_size=2, charge_power=11, discharge_power=150, battery_capacity=51,
        start_soc=soc, number_of_schedules=33,
    )
    battery.step(0, {}, 900)
    schedules = battery.get_data({})["battery"]["schedules"]
    return [(round(min(column), 4), round(max(column), 4)) for column in zip(*schedules)]


print("mosaik-battery", version("mosaik-battery"))
seen = []
for kwh in (0, 20, 40, 51):
    seen.append(offers(kwh / 51))
    print(f"{kwh} kWh of 51, 150 kW: quarter-hours from {seen[-1][0]} and {seen[-1][1]} MW")
assert [quarter[1] for quarter in seen[0]] == [0.3, 0.3] and seen[1][0][1] == 0.22, "CHANGED"
assert seen[2][0][1] == 0.15 and seen[3][0][0] == 0, "CHANGED"
print("as seen")
PY
