"""Five years of one house in a database: an inverter and a meter, thinner the older they are."""

import os
import subprocess
import sys
from itertools import pairwise

from benchmarks._site import Site
from tests.support.servers import ROOT

MONTHS = 60
# Since so long ago there is a sample each so many seconds, of the inverter and of the meter.
STEPS = (("60 months", 240, 240), ("13 months", 60, 60), ("2 days", 5, 1), ("0 days", 0, 0))

_INVERTER = """
INSERT INTO sungrow_samples (device_id, ts, pv_power_w, battery_power_w, battery_soc_pct,
    load_power_w, export_power_w, pv_total_kwh, import_total_kwh, export_total_kwh,
    charge_total_kwh, discharge_total_kwh, mppt1_voltage_v, mppt1_current_a, mppt2_voltage_v,
    mppt2_current_a, battery_soh_pct, battery_capacity_kwh)
SELECT 'roof', ts, pv, 500 * cos(h), 50 + 40 * sin(h), 400, pv - 400, round((2 * h)::numeric, 1),
    round((h / 3)::numeric, 1), round((h / 2)::numeric, 1), round((h / 5)::numeric, 1),
    round((h / 6)::numeric, 1), 350, pv * 0.6 / 350, 300, pv * 0.4 / 300, 97, 9.6
FROM (SELECT *, 2000 + 2000 * sin(h * 0.2618) AS pv FROM ({times}) AS times) AS powers
"""
_METER = """
INSERT INTO p1_samples (device_id, ts, power_w, import_power_w, energy_import_kwh,
    energy_export_kwh, energy_import_t1_kwh, energy_import_t2_kwh, energy_export_t1_kwh,
    energy_export_t2_kwh)
SELECT 'meter', ts, 1500 + 1500 * sin(h), 1500 + 1500 * sin(h),
    round((1.5 * h - 1.5 * cos(h))::numeric, 3), round((h / 3)::numeric, 3),
    round((0.5 * h - 0.5 * cos(h))::numeric, 3), round((h - cos(h))::numeric, 3),
    round((h / 9)::numeric, 3), round((h / 4.5)::numeric, 3)
FROM ({times}) AS times
"""
_TIMES = """
SELECT ts, extract(epoch FROM ts - timestamptz '2020-01-01')::double precision / 3600 AS h
FROM generate_series({first}, {last}, {step_s} * interval '1 second') AS ts
"""
_AFTER = "(SELECT max(ts) FROM {kind}_samples WHERE device_id = '{device}') + interval '{step_s} s'"


def fill(place: Site) -> None:
    """Store the samples and keep what is made of them."""
    for (older, *steps_s), (newer, *_) in pairwise(STEPS):
        for statement, step_s in zip((_INVERTER, _METER), steps_s, strict=True):
            first = f"now() - interval '{older}'"
            last = f"now() - interval '{newer}' - interval '1 second'"
            times = _TIMES.format(first=first, last=last, step_s=step_s)
            place.postgres.execute(statement.format(times=times), place.name)
    keep(place)
    place.postgres.execute("VACUUM ANALYZE", place.name)


def go_on(place: Site) -> None:
    """Store what has come since."""
    steps_s = STEPS[-2][1:]
    for kind, device, statement, step_s in zip(
        ("sungrow", "p1"), ("roof", "meter"), (_INVERTER, _METER), steps_s, strict=True
    ):
        first = _AFTER.format(kind=kind, device=device, step_s=step_s)
        times = _TIMES.format(first=first, last="now()", step_s=step_s)
        place.postgres.execute(statement.format(times=times), place.name)


def keep(place: Site) -> None:
    """What an installed server does every ten minutes."""
    command = [sys.executable, "-m", "api_server.rollups"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **place.env}, check=True)
