"""Alerts of a fleet: what a look at a thousand devices costs."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from api_server.alerts.__main__ import make_look
from api_server.alerts.look import Look
from api_server.config import load
from api_server.data.database import Store
from api_server.data.periods import quarter_start
from benchmarks import Row
from benchmarks._cost import resident_mb
from benchmarks._processes import alerts_process
from benchmarks._site import Site, site
from tests.simulators.message_sink import MessageSink
from tests.support.servers import ROOT, ServerFailed
from tests.support.servers.process import environment

NAME = "Alerts of a thousand devices"
METERS = [f"meter-{number:03}" for number in range(500)]
INVERTERS = [f"inverter-{number:03}" for number in range(500)]
LIMIT_MS, LIMIT_MB = 200, 60
LOOKS = 10  # in a round
SETTLES_S = 40  # until the process has looked often enough to have taken its memory
# A quarter of an hour at the intervals of agents, and two days at one in five minutes.
_METERS = """
INSERT INTO p1_samples (
    device_id, ts, power_w, import_power_w, energy_import_kwh, monthly_power_peak_w,
    monthly_power_peak_ts
)
SELECT device_id, ts, watts, watts, round(
    (1000 + extract(epoch FROM ts - now() + interval '3 days') * watts / 3.6e6)::numeric, 3
), 3100, date_trunc('month', now(), 'Europe/Brussels') + interval '15 minutes'
FROM unnest(%s::text[]) WITH ORDINALITY AS meter (device_id, number),
    LATERAL (SELECT CASE WHEN number %% 50 = 0 THEN 3000 ELSE 700 END AS watts) AS power,
    LATERAL (
        SELECT generate_series(now() - interval '2 days', now(), interval '5 minutes')
        UNION SELECT generate_series(now() - interval '25 minutes', now(), interval '1 second')
    ) AS moment (ts)
ON CONFLICT DO NOTHING
"""
_INVERTERS = """
INSERT INTO sungrow_samples (
    device_id, ts, pv_power_w, alarms, running_state, mppt1_voltage_v, mppt1_current_a,
    mppt2_voltage_v, mppt2_current_a, battery_soh_pct
)
SELECT device_id, ts, 2000, '', 64, 300, 4, 300, 3, 97 FROM unnest(%s::text[]) AS device_id, (
    SELECT generate_series(now() - interval '35 days', now(), interval '{every} minutes')
    UNION SELECT generate_series(now() - interval '25 minutes', now(), interval '5 seconds')
) AS moment (ts)
ON CONFLICT DO NOTHING
"""
_REFRESH = """
CALL refresh_continuous_aggregate('sungrow_{level}', NULL, now() - interval '{lag} hours')
"""
LEVELS = (("quarter_hourly", 1), ("hourly", 1), ("daily", 24), ("monthly", 24))


def run(rounds: int) -> list[Row]:
    """Look at a thousand devices on each database."""
    return list(_looks(rounds))


def _looks(rounds: int) -> Iterator[Row]:
    for edition in ("community", None):
        try:
            with site(edition) as place:
                database = "TimescaleDB" if edition else "PostgreSQL alone"
                yield from _fleet(rounds, place, database)
        except ServerFailed:
            continue


def _fleet(rounds: int, place: Site, database: str) -> Iterator[Row]:
    names = [f"{name}:{name}:p1" for name in METERS] + [f"{name}:{name}" for name in INVERTERS]
    place.env |= {"DEVICE_TOKENS": ",".join(names), "ALERT_INTERVAL_S": "1"}
    _fill(place)
    settings = load(place.env)
    store, at = Store(settings.database_url), _late_in_a_quarter()
    look = make_look(settings, store, [])
    _costs_ms(store, look, 1, at)  # which connects, and plans
    costs = _costs_ms(store, look, LOOKS * rounds, at)
    yield _row(costs, database)
    with MessageSink() as sink:
        place.env["ALERT_URLS"] = sink.url()
        with alerts_process(place) as pid:
            time.sleep(SETTLES_S)
            used_mb = resident_mb(pid)
    ratio = used_mb / LIMIT_MB
    yield Row(
        "memory of the process", f"{LIMIT_MB} MB", ratio, ratio, ratio, "<= 1 x",
        used_mb <= LIMIT_MB, f"{used_mb:.1f} MiB after {SETTLES_S} looks; {database}",
    )  # fmt: skip


def _fill(place: Site) -> None:
    name = place.url.rpartition("/")[2]
    place.postgres.query(_METERS, (METERS,), name)
    for every, ids in ((5, INVERTERS[:10]), (360, INVERTERS[10:])):
        place.postgres.query(_INVERTERS.format(every=every), (ids,), name)
    if place.postgres.timescaledb:
        for level, lag in LEVELS:
            place.postgres.execute(_REFRESH.format(level=level, lag=lag), name)
    else:
        command = [sys.executable, "-m", "api_server.rollups"]
        subprocess.run(command, cwd=ROOT, env=environment(place.env), check=True)
    place.postgres.execute("ANALYZE", name)


def _late_in_a_quarter() -> datetime:
    """A moment that lies ten minutes into its quarter, with samples around it."""
    now = datetime.now(UTC)
    at = quarter_start(now) + timedelta(minutes=10)
    return at if at <= now else at - timedelta(minutes=15)


def _costs_ms(store: Store, look: Look, looks: int, now: datetime) -> list[tuple[float, float]]:
    """Of each look: processor time of the database's process, and time from begin to end."""
    backend = store.run(_backend)
    costs = []
    for number in range(looks):
        spent_s, began = _spent_s(backend), time.perf_counter()
        look.run(now + timedelta(seconds=number), judge_silence=True)
        costs.append((_spent_s(backend) - spent_s, time.perf_counter() - began))
    return [(1000 * database_s, 1000 * whole_s) for database_s, whole_s in costs]


def _backend(cursor: Any) -> int:
    cursor.execute("SELECT pg_backend_pid()")
    return cursor.fetchone()[0]


def _spent_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _row(costs: list[tuple[float, float]], database: str) -> Row:
    ratios = sorted(database_ms / LIMIT_MS for database_ms, _ in costs)
    ratio = statistics.median(ratios)
    whole_ms = statistics.median(whole_ms for _, whole_ms in costs)
    return Row(
        "a look at 1,000 devices", f"{LIMIT_MS} ms",
        ratio, ratios[0], ratios[-1], "<= 1 x", ratio <= 1,
        f"{ratio * LIMIT_MS:.0f} ms of processor time in the database, {whole_ms:.0f} ms in all; "
        "500 inverters, of which one's yesterday is judged in each look, and 500 meters, of which "
        f"10 are near their limit; {database}",
    )  # fmt: skip
