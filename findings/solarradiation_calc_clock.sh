#!/usr/bin/env bash
# What: solarradiation-calc 0.1.2 with UTS, the clock's offset from UTC, takes no account of where in the zone a place
#   is, and adds the clock's hours where they are to be taken off. At 4.35 E (Brussels) the sun is highest at 11:01 with
#   UTS=1 and at 10:01 with UTS=2, where it is 12:44 and 13:44. At 13.4 E (Berlin) with UTS=1 it is 12:01 for 12:08; at
#   3.7 W (Madrid) with UTS=1 its hour angle at noon is -345 degrees.
# Why it matters: with Belgium's summer time a roof's morning and afternoon are nearly four hours off.
# Source: docstring of Solar ("class functions will calculate time based on UTS"); the sun's noon from longitude and
#   equation of time, as NOAA has it. Seen here: the longitude serves only to find the nearest zone, and the zone's
#   difference to UTS is added with the wrong sign.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=
# pyenv's commands run only the version named in this variable.
for PYENV_VERSION in "${PYENV_VERSION:-}" $(pyenv versions --bare 2>/dev/null | grep '^3\.1[0-9]'); do
    export PYENV_VERSION
    for candidate in python3.14 python3.13 python3.12 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            python=$candidate
            break 2
        fi
    done
done
[ -n "$python" ] || { echo "solarradiation-calc 0.1.2 needs Python 3.10 or newer"; exit 1; }
"$python" -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" solarradiation-calc==0.1.2
PYTHONPATH=$work "$python" -W ignore - <<'PY'
from importlib.metadata import version

from solarradiation import Solar


def noon(longitude, offset):
    """The clock time at which the hour angle is 0 on 21 June 2026, in hours."""
    place = Solar(latitude=50.85, longitude=longitude, UTS=offset)
    return 12 - place.omega(12, "2026-06-21") / 15


print("solarradiation-calc", version("solarradiation-calc"))
brussels = [round(noon(4.35, offset), 2) for offset in (1, 2)]
berlin = round(noon(13.4, 1), 2)
madrid = round(Solar(latitude=40.4, longitude=-3.7, UTS=1).omega(12, "2026-06-21"), 2)
print("sun's noon, Brussels, UTS 1 and 2:", *brussels, "- Berlin, UTS 1:", berlin)
print("hour angle at 12:00, Madrid, UTS 1:", madrid)
assert brussels == [11.02, 10.02] and berlin == 12.02 and madrid == -345.28, "CHANGED"
print("as seen")
PY
