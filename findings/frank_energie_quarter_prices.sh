#!/usr/bin/env bash
# What: python-frank-energie 2026.9.20 (Frank Energie, Belgium and the Netherlands) with prices by the quarter-hour, at
#   12:20. average_current_hour is the price of the quarter that runs, not the mean of the hour's four; next_hour is
#   the first quarter of the next hour; upcoming_market_avg leaves the next quarter out, upcoming_avg does not; and
#   average_price(12:00, 13:00) is the mean of five quarters.
# Why it matters: since quarter-hour prices came, a boiler or battery that is switched by "the mean of this hour"
#   follows each quarter, and two means of the same hours to come differ.
# Source: seen here; the names and their documentation say average price of the current hour and of the hours to
#   come. With hourly prices the first two are right.
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
[ -n "$python" ] || { echo "python-frank-energie 2026.9.20 needs Python 3.12 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" python-frank-energie==2026.9.20 python-dateutil==2.9.0.post0 freezegun==1.5.5
PYTHONPATH=$work "$python" -W ignore - <<'PY'
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from freezegun import freeze_time
from python_frank_energie.models import PriceData

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def averages(minutes):
    """What the package makes at 12:20 of prices 1, 2, 3 ... cents from 12:00 to 15:00, one every so many minutes."""
    step = timedelta(minutes=minutes)
    rows = [
        {"from": f"{NOON + step * i:%FT%TZ}", "till": f"{NOON + step * (i + 1):%FT%TZ}", "marketPrice": (i + 1) / 100}
        for i in range(3 * HOUR // step)
    ]
    prices = PriceData(rows, "electricity")
    with freeze_time("2026-06-01T12:20Z"):
        means = {
            "average_current_hour": prices.average_current_hour,
            "next_hour": prices.next_hour.total,
            "upcoming_market_avg": prices.upcoming_market_avg,
            "upcoming_avg": prices.upcoming_avg.market_price,
            "average_price(12:00, 13:00)": prices.average_price(NOON, NOON + HOUR),
        }
    return {name: round(100 * value, 3) for name, value in means.items()}


print("python-frank-energie", version("python-frank-energie"))
print("1, 2, 3 ... 12 cents by the quarter from 12:00, at 12:20:")
seen = averages(15)
for name, cents in seen.items():
    print(f"  {name}: {cents:g} cents")
print("1, 2, 3 cents by the hour:", averages(60))
assert list(seen.values()) == [2, 5, 8, 7.5, 3], "CHANGED"
print("as seen")
PY
