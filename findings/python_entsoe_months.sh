#!/usr/bin/env bash
# What: python-entsoe 0.6.3 reads the resolution P1M of an ENTSO-E document, a month, as PT1M, a minute. Three monthly
#   values from January come out at 23:00, 23:01 and 23:02 UTC of 31 December. In a document of curve type A03 it
#   fills the quarter of a year in minutes: 129,540 rows for three months. PT15M, PT60M and P7D are right.
# Why it matters: monthly values (reserves under contract, auctioned capacity) land on New Year's Eve and their
#   mean over a day looks plausible; the table is no error, only long.
# Source: ISO 8601, which tells months from minutes by the T; the rest seen here (one pattern for both in _xml.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" python-entsoe==0.6.3
PYTHONPATH=$work python3 -W ignore - <<'PY'
from importlib.metadata import version

from entsoe._xml import parse_timeseries

POINT = "<Point><position>{}</position><quantity>{}</quantity></Point>"
DOCUMENT = """<?xml version="1.0" encoding="utf-8"?>
<GL_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"><TimeSeries><mRID>1</mRID>
<quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name><curveType>{}</curveType>
<Period><timeInterval><start>2025-12-31T23:00Z</start><end>{}</end></timeInterval><resolution>{}</resolution>
{}</Period></TimeSeries></GL_MarketDocument>"""


def table(resolution, end, curve="A01", positions=(1, 2, 3)):
    """What the package makes of a document whose values are ten times the position."""
    points = "".join(POINT.format(position, 10 * position) for position in positions)
    return parse_timeseries(DOCUMENT.format(curve, end, resolution, points))


print("python-entsoe", version("python-entsoe"))
seen = []
for resolution, end in (("PT15M", "2025-12-31T23:45Z"), ("P7D", "2026-01-21T23:00Z"), ("P1M", "2026-03-31T22:00Z")):
    times = [f"{time:%m-%dT%H:%M}" for time in table(resolution, end)["timestamp"]]
    print(f"{resolution}:", *times)
    seen.append(times[-1])
filled = table("P1M", "2026-03-31T22:00Z", "A03", (1, 3))
print("P1M in curve type A03:", len(filled), "rows, the last at", f"{filled['timestamp'].iloc[-1]:%m-%dT%H:%M}")
assert seen == ["12-31T23:30", "01-14T23:00", "12-31T23:02"] and len(filled) == 129540, "CHANGED"
print("as seen")
PY
