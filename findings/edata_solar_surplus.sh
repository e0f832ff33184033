#!/usr/bin/env bash
# What: e-data 2.2.3 takes a contract that pays for solar surplus (surplus_p1_kwh_eur and its fellows, and a
#   surplus_formula) and never uses it: 12 kWh fed into the grid in a day at 0.06 EUR leave surplus_term at 0 in each
#   hour, and the bill at 2.88 EUR as if nothing had been fed in.
# Why it matters: the bill of a house with panels is too high by all that it sold, while the settings are accepted and
#   the energy's statistics show the surplus.
# Source: seen here; bill_service.py compiles the formulas of energy, power and others, and sums up a surplus term that
#   nothing sets.
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
[ -n "$python" ] || { echo "e-data 2.2.3 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" e-data==2.2.3
PYTHONPATH=$work "$python" -W ignore - <<'PY'
import tempfile
from datetime import datetime, timedelta
from importlib.metadata import version

from edata.models import Contract, Energy
from edata.models.bill import BillingRules
from edata.services.bill_service import BillService

CONTRACT = Contract(
    date_start=datetime(2026, 1, 1),
    date_end=datetime(2027, 1, 1),
    marketer="any",
    distributor_code="2",
    power=[4.6, 4.6],
)
PRICES = {"p1_kw_year_eur": 30, "p2_kw_year_eur": 1.4, "p1_kwh_eur": 0.2, "p2_kwh_eur": 0.15, "p3_kwh_eur": 0.1}
PAID = {f"surplus_p{period}_kwh_eur": 0.06 for period in (1, 2, 3)}
FORMULA = "iva_tax * surplus_kwh_eur * surplus_kwh"
midnight = datetime(2026, 6, 3)
day = [
    Energy(
        datetime=midnight + timedelta(hours=hour),
        delta_h=1,
        consumption_kwh=0.5,
        surplus_kwh=2 if 10 <= hour < 16 else 0,
        real=True,
    )
    for hour in range(24)
]


folder = tempfile.TemporaryDirectory()
service = BillService("ES0000000000000000AA", folder.name)
print("e-data", version("e-data"), "-", sum(hour.surplus_kwh for hour in day), "kWh fed in at 0.06 EUR")
seen = []
for name, rules in (
    ("nothing paid:", {}),
    ("paid by the kWh:", {**PAID, "surplus_formula": FORMULA}),
):
    hours = service.simulate_custom([CONTRACT], day, BillingRules(**PRICES, **rules))
    total, surplus = round(sum(hour.value_eur for hour in hours), 2), sum(hour.surplus_term for hour in hours)
    print(name, total, "EUR, surplus term", surplus)
    seen.append((total, surplus))
assert seen == [(2.88, 0.0)] * 2, "CHANGED"
print("as seen")
PY
