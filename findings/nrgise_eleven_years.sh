#!/usr/bin/env bash
# What: nrgise 1.0.3 (economics of energy systems): a year of quarter-hours from 1 July 2026, stretched over a horizon
#   of 10 years, has 11 values in the "cash flow for each year": the last is one day's energy and a whole year's power
#   price (-104.8 where a year is -1852). From 1 January 2026 they are 10. From 1 July 2027, one year gives two.
# Why it matters: a measured year seldom starts on 1 January; net present value and payback take a year too much, with
#   a peak charge for one day.
# Source: docstrings (repeats the data over the horizon; cash flow for each year); seen here: the stretched data hold
#   their own leap days, the years are laid from 1 January of the first year. A UserWarning says one part is not a
#   year.
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
[ -n "$python" ] || { echo "nrgise 1.0.3 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" nrgise==1.0.3 numpy==2.5.5 pandas==3.1.1 pyomo==6.10.1 matplotlib==3.11.2
PYTHONPATH=$work "$python" -W ignore - <<'PY'
from importlib.metadata import version

import pandas as pd
from nrgise import economics

print("nrgise", version("nrgise"))
seen = []
for start, years in (("2026-01-01", 10), ("2026-07-01", 10), ("2027-07-01", 1)):
    load = pd.Series(1.0, pd.date_range(start, periods=365 * 96, freq="15min"))
    stretched = economics.stretch_data_over_investment_horizon(load, years)
    flow = economics.calculate_cash_flow_per_year_based_on_simplified_electricity_bill(0.2, 100, 0.08, stretched)
    seen.append((len(flow), round(float(flow[0]), 1), round(float(flow[-1]), 1)))
    print(f"1 kW from {start} over {years} year(s): {seen[-1][0]} values, first {seen[-1][1]}, last {seen[-1][2]}")
assert seen == [(10, -1852.0, -1852.0), (11, -1852.0, -104.8), (2, -1852.0, -104.8)], "CHANGED"
print("as seen")
PY
