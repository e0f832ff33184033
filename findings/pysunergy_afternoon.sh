#!/usr/bin/env bash
# What: pysunergy-calc 1.0.4, compute_solar_potential in Brussels on 21 June: the sun goes from the east to the south
#   and back to the east: azimuth 117.8 at 09:00 UTC, 167.7 at 12:00, 105.2 at 15:00 and 109.8 at 18:00, when it is
#   west (252.6 and 288.1). No azimuth is ever above 180 degrees; altitudes are right to 2
#   degrees.
# Why it matters: a roof to the west gets nothing and one to the east gets the sun twice.
# Source: docstring (angles in degrees) and README (sin(Az) = cos(declination) sin(hour angle) / cos(altitude)); the
#   rest seen here: after noon the arc sine, positive then, is taken off 180 where it is to be added; and an arc sine
#   does not tell north-west from south-west.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" pysunergy-calc==1.0.4
PYTHONPATH=$work python3 -W ignore - <<'PY'
from datetime import datetime, timezone
from importlib.metadata import version

from pysunergy_calc import compute_solar_potential

DAY = datetime(2026, 6, 21, tzinfo=timezone.utc)
print("pysunergy-calc", version("pysunergy-calc"))
seen = []
for hour in (6, 9, 12, 15, 18):
    sun = compute_solar_potential(50.85, 4.35, DAY.replace(hour=hour))
    print(f"{hour} UTC: altitude {sun.altitude:.1f}, azimuth {sun.azimuth:.1f}")
    seen.append((round(sun.altitude, 1), round(sun.azimuth, 1)))
assert seen[1:] == [(49.5, 117.8), (62.2, 167.7), (42.2, 105.2), (14.2, 109.8)], "CHANGED"
assert max(
    compute_solar_potential(50.85, 4.35, DAY.replace(month=month, hour=hour)).azimuth
    for month in (3, 6, 9, 12) for hour in range(8, 16)
) <= 180, "CHANGED"
print("as seen")
PY
