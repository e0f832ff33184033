#!/usr/bin/env bash
# What: tariff-core 2026.10.1 counts a month's consumption against a step as long as the whole bill. A first step of
#   365 kWh a month at 0.10 EUR, pro rata, then 0.30 EUR, and 1 kW all the time: 144, 148.80 and 144 EUR for April, May
#   and June, but 218.40 EUR for the three on one bill.
# Why it matters: a bill of a quarter never reaches the dear step, and half of what is due is missing.
# Source: seen here; consumption is counted by calendar month, the step's size by the days of the billing period.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=
# pyenv's commands run only the version named in this variable.
for PYENV_VERSION in "${PYENV_VERSION:-}" $(pyenv versions --bare 2>/dev/null | grep '^3\.1[3-9]'); do
    export PYENV_VERSION
    for candidate in python3.14 python3.13 python3.12 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; then
            python=$candidate
            break 2
        fi
    done
done
[ -n "$python" ] || { echo "tariff-core 2026.10.1 needs Python 3.13 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" tariff-core==2026.10.1
PYTHONPATH=$work "$python" -W ignore - <<'PY'
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from zoneinfo import ZoneInfo

from tariff_core.engine import BillingPeriod, Interval, bill
from tariff_core.models import (
    BlockPeriod,
    Blocks,
    BlockTier,
    Commodity,
    PlanVersion,
    Register,
    UsageComponent,
)

BRUSSELS = ZoneInfo("Europe/Brussels")
QUARTER = timedelta(minutes=15)
STEPS = UsageComponent(
    blocks=Blocks(
        period=BlockPeriod.MONTH,
        prorate=True,
        tiers=(BlockTier(Decimal("0.10"), Decimal(365)), BlockTier(Decimal("0.30"))),
    )
)


def total(first, last):
    """The bill for 1 kW in quarter-hours from the beginning of a month of 2026 to that of another."""
    start, end = (datetime(2026, month, 1, tzinfo=BRUSSELS).astimezone(UTC) for month in (first, last))
    ends = [start + QUARTER * (number + 1) for number in range((end - start) // QUARTER)]
    load = [Interval(moment, QUARTER, Register.GENERAL, "kWh", Decimal("0.25")) for moment in ends]
    plan = PlanVersion(commodity=Commodity.ELECTRICITY, timezone="Europe/Brussels", components=(STEPS,))
    return float(round(bill(plan, load, period=BillingPeriod(start, end)).total, 2))


print("tariff-core", version("tariff-core"))
months = [total(month, month + 1) for month in (4, 5, 6)]
quarter = total(4, 7)
print("April, May, June", *months, "EUR; April to June on one bill", quarter, "EUR")
assert [round(amount) for amount in months] == [144, 149, 144] and quarter == 218.4, "CHANGED"
print("as seen")
PY
