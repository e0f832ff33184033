#!/usr/bin/env bash
# What: aemo-to-tariff 0.7.28, calculate_demand_fee(network, tariff, demand_kw, days): for Ausgrid the number of days of
#   the bill is taken out again. A peak of 5 kW on EA116 costs 44.99 for one day, for 30 and for 91; with Energex 3950,
#   by the same function, 0.85, 25.64 and 77.76. From 1 July 2026 the same 5 kW on EA116 are 197.43, whatever the days.
# Why it matters: a quarter's capacity charge comes out at a third, that of a bill of a week at four times, and what a
#   battery that cuts the peak earns is off by the same factor.
# Source: docstring (days: the number of days for the billing period); the rest seen here: in ausgrid.py the monthly
#   charge is divided by the days and multiplied by them, the other networks divide by 30.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" aemo-to-tariff==0.7.28
PYTHONPATH=$work python3 -W ignore - <<'PY'
from datetime import datetime, timezone
from importlib.metadata import version

from aemo_to_tariff.convert import calculate_demand_fee

print("aemo-to-tariff", version("aemo-to-tariff"))
seen = {}
for network, tariff, month in (("ausgrid", "EA116", 3), ("ausgrid", "EA116", 9), ("energex", "3950", 3)):
    when = datetime(2026, month, 15, tzinfo=timezone.utc)
    fees = [calculate_demand_fee(network, tariff, 5, days, interval_time=when) for days in (1, 30, 91)]
    print(f"{network} {tariff}, 5 kW, month {month}: 1, 30, 91 days:", *(f"{fee:.2f}" for fee in fees))
    seen[network, month] = [round(fee, 1) for fee in fees]
assert seen["ausgrid", 3] == [45.0] * 3 and seen["ausgrid", 9] == [197.4] * 3, "CHANGED"
assert seen["energex", 3] == [0.9, 25.6, 77.8], "CHANGED"
print("as seen")
PY
