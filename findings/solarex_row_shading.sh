#!/usr/bin/env bash
# What: solarex 0.1.1 (sites for solar plants), compute_gcr_shading_loss ("0 = no shading, 1 = fully shaded") of rows
#   at 35 degrees: at 50.85 degrees north it is 0.13 for a ground coverage of 0.4 and 0.3 for each from 0.5 to 1.0,
#   where no gap is left; at 50.85 degrees south it is 0 up to 0.9 and 0.04 at 1.0. At 67 degrees north it is 1.
# Why it matters: rows that stand wall to wall look as good as rows with half the ground free, and in the south as good
#   as no shade at all.
# Source: docstring (winter solstice, worst case); the rest seen here: the loss is capped and then weighted by 0.3, and
#   for the south the sun of its summer is taken.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" solarex==0.1.1 numpy==2.4.6 scipy==1.17.1 requests==2.32.5
PYTHONPATH=$work python3 -W ignore - <<'PY'
from importlib.metadata import version

from solarex.core.shading import compute_gcr_shading_loss

COVERAGES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
print("solarex", version("solarex"))
seen = {}
for latitude in (50.85, -50.85):
    seen[latitude] = [round(compute_gcr_shading_loss(latitude, 35, coverage), 2) for coverage in COVERAGES]
    print(f"latitude {latitude}, 35 degrees, coverage {COVERAGES}: {seen[latitude]}")
print("latitude 67, coverage 0.3:", compute_gcr_shading_loss(67, 35, 0.3))
assert seen[50.85] == [0, 0.13, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3], "CHANGED"
assert seen[-50.85] == [0, 0, 0, 0, 0, 0, 0, 0.04], "CHANGED"
assert compute_gcr_shading_loss(67, 35, 0.3) == 1, "CHANGED"
print("as seen")
PY
