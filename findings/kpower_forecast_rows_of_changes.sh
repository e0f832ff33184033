#!/usr/bin/env bash
# What: kpower-forecast 2026.10.8 gives the time before a power value to that value, all of it. A Home Assistant
#   history, which has a row when a value changes: 100 W from midnight, 3000 W at 12:00 for five minutes, 100 W to the
#   end of the day. That is 2.64 kWh; normalize_to_instant_kwh makes 37.2 kWh of it, 3 kWh in each hour before noon.
# Why it matters: one kettle becomes a day's use of three houses, and the forecast is trained on it. With rows at a
#   fixed step it is right, and the documentation feeds it with Home Assistant's history.
# Source: seen here (energy_step in utils.py); Home Assistant's documentation, that its recorder keeps changes.
#   The script loads the package's utils.py alone, as the rest needs half a gigabyte of packages.
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
[ -n "$python" ] || { echo "kpower-forecast 2026.10.8 needs Python 3.13 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" pandas==3.1.1 pvlib==0.16.1
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --no-deps --target "$work" kpower-forecast==2026.10.8
PYTHONPATH=$work "$python" -W ignore - "$work/kpower_forecast/utils.py" <<'PY'
import runpy
import sys
from importlib.metadata import version

import pandas

normalize = runpy.run_path(sys.argv[1])["normalize_to_instant_kwh"]


def day(times, watts):
    """Kilowatt-hours before noon and after it, from power at such times of one day."""
    table = pandas.DataFrame({"ds": pandas.to_datetime(times, utc=True), "y": watts})
    hours = normalize(table, "power", "W", 60)
    before = hours["ds"] <= pandas.Timestamp("2026-06-01T12:00Z")
    return round(hours["y"][before].sum(), 2), round(hours["y"][~before].sum(), 2)


print("kpower-forecast", version("kpower-forecast"), "pandas", pandas.__version__)
changes = ["2026-06-01T00:00", "2026-06-01T12:00", "2026-06-01T12:05", "2026-06-02T00:00"]
sparse = day(changes, [100, 3000, 100, 100])
print("rows where it changes:", *sparse, "kWh before and after noon")
steps = pandas.date_range("2026-06-01", "2026-06-02", freq="5min")
regular = day(steps, [3000 if f"{step:%H:%M}" == "12:05" else 100 for step in steps])
print("a row every 5 minutes:", *regular, "kWh before and after noon")
assert sparse == (36.0, 1.2) and regular == (1.2, 1.44), "CHANGED"
print("as seen")
PY
