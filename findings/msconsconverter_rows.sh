#!/usr/bin/env bash
# What: msconsconverter 2.0.0 (meter readings of MSCONS to CSV) writes each value but the first three times: with the
#   times of the value before, with the new beginning and the old end (no time at all), and right. The last comes
#   three times more. A day of 96 quarter-hours of 0.25 kWh, 24 kWh, is a table of 289 rows and 72.25 kWh.
# Why it matters: a day's energy is three times what it was, and the quarter's peak cannot be found; rows look alike.
# Source: EDIFACT MSCONS (a QTY segment with its two DTM is one value); the rest seen here: once the first end of a
#   period has been read, a row is kept for every segment that follows.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install -qq --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --no-compile --target "$work" --no-deps msconsconverter==2.0.0
PYTHONPATH=$work python3 -W ignore - <<'PY'
import csv
import logging
import pathlib
import tempfile
from datetime import datetime, timedelta
from importlib.metadata import version

from msconsconverter.msconsconverter import MSCONSConverter

FORMAT = "%Y%m%d%H%M?+02"
START = datetime(2026, 7, 21)
HEADER = "LOC_MSCONS LOC_PLZ LOC_EEGKEY".split()
for end in ("S", "E"):
    HEADER += ["DATE_PERIOD_" + ("START" if end == "S" else "END")]
    HEADER += [f"{part}_P{end}" for part in ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "UTC")]
HEADER += ["VALUE"]

segments = ["UNA:+.? ", "UNB+UNOC:3+AT0001+AT0002+260722:0600+1", "UNH+1+MSCONS:D:04B:UN:2.2", "UNS+D"]
segments += ["LOC+172+AT0010000000000001000000000012345", "LIN+1"]
for quarter in range(96):
    first, last = (START + timedelta(minutes=15 * number) for number in (quarter, quarter + 1))
    segments += ["QTY+220:0.25", f"DTM+163:{first:{FORMAT}}:303", f"DTM+164:{last:{FORMAT}}:303"]
segments += ["UNT+295+1", "UNZ+1+1", ""]

with tempfile.TemporaryDirectory() as folder:
    message = pathlib.Path(folder) / "day.edi"
    message.write_text("'".join(segments))
    MSCONSConverter(target_dir=folder, logger=logging.getLogger("mscons")).convert_to_csv(str(message), HEADER)
    with next(pathlib.Path(folder).glob("*.csv")).open() as table:
        rows = list(csv.DictReader(table))
total = sum(float(row["VALUE"]) for row in rows)
print("msconsconverter", version("msconsconverter"))
print("96 values, 24 kWh:", len(rows), "rows,", total, "kWh")
for row in rows[1:4]:
    print(row["DATE_PERIOD_START"], row["DATE_PERIOD_END"], row["VALUE"])
assert (len(rows), total) == (289, 72.25), "CHANGED"
print("as seen")
PY
