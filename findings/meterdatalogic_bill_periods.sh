#!/usr/bin/env bash
# What: meterdatalogic 0.6.0 reckons what is billed from 15 January to 14 February and from 15 February to 14 March,
#   1 kW all the time. With one price it gives 744 and 672 kWh, which is right. With a day and a night price it gives
#   1080 and 336: all of February's kWh go to the first bill.
# Why it matters: bills of suppliers seldom begin on the first of a month; two bills are wrong by half a month, the
#   number of days beside them is right, and their sum is too.
# Source: seen here. Kilowatt-hours of the bands are summed by calendar month, and each month goes to the first
#   period that has a row in it. The periods' bounds are midnights of the machine's zone, whatever the table's is, so
#   the script sets that zone.
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
[ -n "$python" ] || { echo "meterdatalogic 0.6.0 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" meterdatalogic==0.6.0 polars==2.1.0
PYTHONPATH=$work "$python" -W ignore - <<'PY'
import os
import time
from datetime import datetime
from importlib.metadata import version

import polars
from meterdatalogic.analytics.pricing import compute_billables
from meterdatalogic.analytics.types import Plan, ToUBand


def meter(start, end):
    """Half-hours of 1 kW from the grid, between two instants in UTC, on the clock of Brussels."""
    instants = polars.datetime_range(start, end, "30m", closed="left", time_zone="UTC", eager=True)
    return polars.DataFrame(
        {"t_start": instants.dt.convert_time_zone("Europe/Brussels"), "nmi": "a", "channel": "E1",
         "flow": "grid_import", "kwh": 0.5, "cadence_min": 30}
    )  # fmt: skip



os.environ["TZ"] = "Europe/Brussels"
time.tzset()
periods = [("2026-01-15", "2026-02-14"), ("2026-02-15", "2026-03-14")]
one = [ToUBand(name="all", start="00:00", end="24:00", rate_c_per_kwh=30)]
two = [
    ToUBand(name="day", start="07:00", end="22:00", rate_c_per_kwh=30),
    ToUBand(name="night", start="22:00", end="07:00", rate_c_per_kwh=20),
]
table = meter(datetime(2026, 1, 14, 23), datetime(2026, 3, 14, 23))
print("meterdatalogic", version("meterdatalogic"), "polars", polars.__version__)
seen = {}
for bands in (one, two):
    bill = compute_billables(table, Plan(usage_bands=bands), mode="cycles", cycles=periods).sort("cycle")
    for row in bill.iter_rows(named=True):
        print(row["cycle"], row["days_in_cycle"], "days:", *(f"{band.name} {row[band.name]:g} kWh" for band in bands))
        seen.setdefault(len(bands), []).append([row[band.name] for band in bands])
assert seen == {1: [[744.0], [672.0]], 2: [[675.0, 405.0], [210.0, 126.0]]}, "CHANGED"
print("as seen")
PY
