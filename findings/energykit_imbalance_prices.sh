#!/usr/bin/env bash
# What: energykit 0.2.0, ImbalanceCostCalculator with 0.30 EUR/kWh for "positive imbalance (you consumed/produced MORE
#   than forecast)" and 0.10 for less: 1 kWh more than forecast costs 0.10, 1 kWh less costs 0.30.
# Why it matters: the price that the grid's operator asks for the dear side is put on the cheap one; a forecast is tuned
#   to err the wrong way.
# Source: docstrings of imbalance_price_up and imbalance_price_down; the rest seen here (compute has "over" for forecast
#   minus actual, and multiplies it by the price for more).
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
[ -n "$python" ] || { echo "scipy 1.18.1 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" energykit==0.2.0 pandas==3.1.1 scipy==1.18.1 scikit-learn==1.9.1
PYTHONPATH=$work "$python" -W ignore - <<'PY'
from importlib.metadata import version

import pandas
from energykit.cost import ImbalanceCostCalculator

hours = pandas.date_range("2026-01-01", periods=2, freq="h")
calculator = ImbalanceCostCalculator(imbalance_price_up=0.3, imbalance_price_down=0.1)


def cost(forecast, actual):
    return calculator.compute(pandas.Series(forecast, hours), pandas.Series(actual, hours)).total_cost_usd


print("energykit", version("energykit"))
more, less = cost([1.0, 1.0], [2.0, 1.0]), cost([2.0, 1.0], [1.0, 1.0])
print("up 0.30, down 0.10: 1 kWh more than forecast costs", more, "- 1 kWh less costs", less)
assert (more, less) == (0.1, 0.3), "CHANGED"
print("as seen")
PY
