#!/usr/bin/env bash
# What: peakshaving-analyzer 0.1.12, load_oeds_config, takes the grid's prices for under 2500 full-load hours for a load
#   of 8784 and those for over 2500 for a load of 1208. Prices of 20 and 120 EUR/kW: a plant that runs all year at 100
#   kW is given 20 EUR/kW, one with an hour a day at 100 kW 120 EUR/kW; the price of a kWh is swapped as well.
# Why it matters: the price of a kilowatt is what a battery that shaves peaks is paid for; its size and its worth come
#   out six times off, the wrong way round.
# Source: the names of the columns, and German grid tariffs, which are split at 2500 hours (dear kilowatts and cheap
#   kilowatt-hours above). The rest seen here ("if is_over_2500h" is followed by "under" in input.py). The database is
#   SQLite here; the script loads input.py alone, as the rest needs two solvers.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install() {
    python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
        --no-compile --target "$work" "$@"
}
install pandas==2.3.3 sqlalchemy==2.1.9 pgeocode==0.5.0 pyyaml==6.0.4 plotly==7.1.0 requests==2.34.2
install --no-deps peakshaving-analyzer==0.1.12
PYTHONPATH=$work python3 -W ignore - "$work/peakshaving_analyzer" <<'PY'
import sqlite3
import sys
import types
from importlib.metadata import version

package = sys.modules["peakshaving_analyzer"] = types.ModuleType("peakshaving_analyzer")
package.__path__ = [sys.argv[1]]
from peakshaving_analyzer.input import load_oeds_config  # noqa: E402

SCHEMA = "vea_industrial_load_profiles"
PRICES = ["capacity_price_{}_2500h_eur_per_kw", "energy_price_{}_2500h_eur_per_kwh"]
columns = [price.format(side) for price in PRICES for side in ("under", "over")]
database = sqlite3.connect(":memory:")
database.execute(f"ATTACH ':memory:' AS {SCHEMA}")
database.execute(f"CREATE TABLE {SCHEMA}.master (id, {', '.join(columns)})")
database.execute(f"CREATE TABLE {SCHEMA}.load (id, timestamp, value)")
for profile, otherwise in ((1, 100), (2, 10)):
    database.execute(f"INSERT INTO {SCHEMA}.master VALUES (?, 20, 120, 0.05, 0.01)", (profile,))
    load = ((profile, quarter, 100 if 48 <= quarter % 96 < 52 else otherwise) for quarter in range(366 * 96))
    database.executemany(f"INSERT INTO {SCHEMA}.load VALUES (?, ?, ?)", load)
print("peakshaving-analyzer", version("peakshaving-analyzer"))
print("prices under 2500 h: 20 EUR/kW and 0.05 EUR/kWh; over: 120 EUR/kW and 0.01 EUR/kWh")
seen = []
for profile in (1, 2):
    config = load_oeds_config(database, profile, price_inflation_percent=0)
    hours = config.consumption_timeseries.sum() / 4 / config.consumption_timeseries.max()
    print(f"{hours:.0f} full-load hours: {config.grid_capacity_price} EUR/kW and {config.grid_energy_price} EUR/kWh")
    seen.append((round(hours), config.grid_capacity_price, config.grid_energy_price))
assert seen == [(8784, 20, 0.05), (1208, 120, 0.01)], "CHANGED"
print("as seen")
PY
