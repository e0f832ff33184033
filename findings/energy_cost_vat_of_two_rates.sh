#!/usr/bin/env bash
# What: energy-cost 0.8.5 adds the VAT of two rates when a billing period holds the day the rate changed: 100 EUR/MWh
#   and VAT of 21 % until 28 February 2022, 6 % from 1 March (as it was in Belgium). By month the VAT of 876 EUR is
#   73.80 EUR; by year it is 236.52 EUR, 27 % of all of it. The same for one month when a rate changes on the 15th.
# Why it matters: a Belgian year bill over a change of VAT comes out far too high, by an amount that looks like a bad
#   winter. The price itself is shared by days in the same run.
# Source: seen here; tax.py takes every row that overlaps a version's time whole, and adds the versions up.
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
[ -n "$python" ] || { echo "energy-cost 0.8.5 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" energy-cost==0.8.5 pandas==3.1.1
PYTHONPATH=$work "$python" -W ignore - <<'PY'
from importlib.metadata import version

import pandas
from energy_cost import Contract, Meter, TimeseriesFrame
from isodate import parse_duration

ZONE = "Europe/Brussels"


def vat(start, end, period, change):
    """Total VAT of 1 kW at 100 EUR/MWh: 21 % before the change, 6 % from it."""
    rates = [{"start": "2020-01-01T00:00:00+01:00", "default": 0.21}, {"start": change, "default": 0.06}]
    tariff = [{"start": "2020-01-01T00:00:00+01:00", "consumption": {"energy": {"constant_cost": 100}}}]
    times = pandas.date_range(start, end, freq="h", inclusive="left", tz=ZONE)
    meter = Meter(measurements=TimeseriesFrame({"timestamp": times, "value": 0.001}))
    contract = Contract.model_validate({"timezone": ZONE, "supplier": tariff, "taxes": rates})
    bill = contract.apply(meter, output_resolution=parse_duration(period))
    return round(float(bill[("taxes", "total", "total")].sum()), 2)


print("energy-cost", version("energy-cost"), "pandas", pandas.__version__)
march_1 = "2022-03-01T00:00:00+01:00"
by_year = vat("2022-01-01", "2023-01-01", "P1Y", march_1)
by_month = vat("2022-01-01", "2023-01-01", "P1M", march_1)
march = vat("2022-03-01", "2022-04-01", "P1M", "2022-03-15T00:00:00+01:00")
print("VAT of 876.00 EUR in 2022, by year:", by_year, "- by month:", by_month)
print("VAT of 74.30 EUR in March with the change on the 15th:", march)
assert (by_year, by_month, march) == (236.52, 73.8, 20.06), "CHANGED"
print("as seen")
PY
