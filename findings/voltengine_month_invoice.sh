#!/usr/bin/env bash
# What: voltengine 0.1.2 (electricity bills, prepaid): after 30 days at 12 kWh and 0.50 a day of fixed charge, all of
#   it taken from the wallet and kept in the ledger, PrepaidMonthlyInvoice says energy 0, fixed 0, dps 0 and
#   instalment 0, beside the right balance. And a day's 12 kWh begin at the first step of the tariff each day.
# Why it matters: the invoice of a month shows no use at all, while the money is gone; and with steps by month the
#   dear ones are never reached (360 kWh cost 36 for steps of 100 kWh at 0.10 and then 0.30, which is 88).
# Source: its README and names; the rest seen here: the ledger has ENERGY, the invoice looks for energy.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" voltengine==0.1.2
PYTHONPATH=$work python3 -W ignore - <<'PY'
from importlib.metadata import version

from voltengine.accounting.ledger_engine import LedgerEngine
from voltengine.billing.prepaid_daily import PrepaidDailyBilling
from voltengine.billing.prepaid_monthly import PrepaidMonthlyInvoice
from voltengine.models.consumer import Consumer
from voltengine.models.meter import Meter
from voltengine.models.period import Period
from voltengine.models.tariff import Tariff

tariff = Tariff(slabs=[{"upto": 100, "rate": 0.10}, {"upto": None, "rate": 0.30}], fixed_charge=15)
consumer = Consumer("house", wallet_balance=100, load_kw=5)
ledger = LedgerEngine()
for day in range(1, 31):
    meter = Meter(daily_units=12, max_demand_kw=4)
    PrepaidDailyBilling().run(consumer, meter, tariff, Period(days=30), ledger, f"2026-06-{day:02}")
invoice = PrepaidMonthlyInvoice().generate(consumer, ledger.snapshot(), "2026-06")
booked = {kind: round(sum(entry["amount"] for entry in ledger.snapshot() if entry["type"] == kind), 2)
          for kind in ("ENERGY", "FIXED")}
print("voltengine", version("voltengine"))
print("ledger", booked, "invoice", invoice["summary"], "wallet", round(invoice["closingWallet"], 2))
assert booked == {"ENERGY": 36.0, "FIXED": 15.0} and round(invoice["closingWallet"], 2) == 49.0, "CHANGED"
assert invoice["summary"] == {"energy": 0, "fixed": 0, "dps": 0, "installment": 0}, "CHANGED"
print("as seen")
PY
