"""Reading history: every frame as it grows from a month to five years, and a month of quarters.

SERIES_STEP_S=60 in the environment makes a quick run of thinner data.
"""

import http.client
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2

from benchmarks import Laps, Row, interleave
from benchmarks._site import Site, site
from tests.support.servers import Api

NAME = "Reading history on TimescaleDB Community"
STEP_S = float(os.environ.get("SERIES_STEP_S", "5"))
MONTHS = (1, 12, 60)
FRAMES = {"day": "hour", "month": "day", "year": "month", "all": "month"}
REQUESTS = 20  # per frame and round
P95_MS = 25

_INVERTER = """
INSERT INTO sungrow_samples (
    device_id, ts, pv_power_w, battery_power_w, battery_soc_pct, load_power_w, export_power_w,
    pv_total_kwh, import_total_kwh, export_total_kwh, charge_total_kwh
) SELECT 'roof', ts, pv, 500 * cos(h), 50, 400, pv - 400,
    round(h::numeric, 1), round((h / 3)::numeric, 1), round((h / 2)::numeric, 1),
    round((h / 5)::numeric, 1)
FROM (
    SELECT ts, h, 2000 + 2000 * sin(h) AS pv FROM (
        SELECT ts, extract(epoch FROM ts - timestamptz '2020-01-01')::double precision / 3600 AS h
        FROM generate_series(
            now() - %(from)s * interval '1 month', now() - %(to)s * interval '1 month',
            make_interval(secs => %(step)s)
        ) AS ts
    ) AS hours
) AS powers
"""
_METER = """
INSERT INTO p1_samples (device_id, ts, power_w, import_power_w, energy_import_kwh)
SELECT 'meter', ts, (extract(epoch FROM ts)::bigint * 7919 %% 6000),
    (extract(epoch FROM ts)::bigint * 7919 %% 6000), extract(epoch FROM ts) / 1800
FROM generate_series(
    date_trunc('month', now()) - interval '1 month 1 day', now(), make_interval(secs => %(step)s)
) AS ts
"""
_RAW = """
SELECT date_trunc('{width}', ts, 'Europe/Brussels'), count(*), avg(pv_power_w), max(pv_power_w),
    avg(battery_power_w), avg(battery_soc_pct), avg(load_power_w), avg(export_power_w),
    max(pv_total_kwh) - min(pv_total_kwh)
FROM sungrow_samples WHERE device_id = 'roof' {bound} GROUP BY 1 ORDER BY 1
"""
_RAW_QUARTERS = """
SELECT date_bin('15 minutes', ts, '2020-01-01Z'), avg(import_power_w),
    count(DISTINCT date_trunc('minute', ts))
FROM p1_samples WHERE device_id = 'meter'
    AND ts >= date_trunc('month', now(), 'Europe/Brussels') - interval '1 month'
    AND ts < date_trunc('month', now(), 'Europe/Brussels') GROUP BY 1 ORDER BY 1
"""


def run(rounds: int) -> list[Row]:
    """Measure every frame as the history grows, then a month of quarters."""
    with site("community") as place:
        place.env["DEVICE_TOKENS"] = "roof:roof,meter:meter:p1"
        with Api(place.folder / "api", place.env) as api:
            return [*_frames(place, api, rounds), _capacity(place, api, rounds)]


def _frames(place: Site, api: Api, rounds: int) -> Iterator[Row]:
    firsts: dict[str, float] = {}
    before = 0
    for months in MONTHS:
        _fill(place, _INVERTER, {"from": months, "to": before, "step": STEP_S})
        before = months
        for frame, width in FRAMES.items():
            get = _getter(api, "roof", f"/v1/series?device_id=roof&frame={frame}")
            times: list[float] = []
            laps = interleave(rounds, {"api": _many(get, times), "raw": _raw(place, frame, width)})
            median, p95 = statistics.median(times), _percentile(times, 95)
            firsts.setdefault(frame, median)
            yield _row(frame, months, laps, p95)
            if months != MONTHS[0] and frame != "all":
                yield _growth(frame, months, median / firsts[frame])


def _row(frame: str, months: int, laps: Laps, p95: float) -> Row:
    ratio, low, high = (value * REQUESTS for value in laps.ratios("api", "raw"))
    return Row(
        what=f"series {frame}, {months} months of {STEP_S:g} s data",
        against="raw GROUP BY",
        ratio=ratio,
        low=low,
        high=high,
        target=f"p95 <= {P95_MS} ms",
        met=p95 * 1000 <= P95_MS,
        note=f"p95 {p95 * 1000:.1f} ms over HTTP",
    )


def _growth(frame: str, months: int, ratio: float) -> Row:
    return Row(
        what=f"time of {frame} at {months} months",
        against="at 1 month",
        ratio=ratio,
        low=ratio,
        high=ratio,
        target="<= 2 x",
        met=ratio <= 2,
    )


def _capacity(place: Site, api: Api, rounds: int) -> Row:
    _fill(place, _METER, {"step": STEP_S / 5})
    month = _ask(place, "SELECT to_char(now() - interval '1 month', 'YYYY-MM')")[0][0]
    get = _getter(api, "meter", f"/v1/capacity/month/{month}?device_id=meter")
    variants = {"api": get, "raw": lambda: _ask(place, _RAW_QUARTERS)}
    ratio, low, high = interleave(rounds, variants).ratios("api", "raw")
    return Row(
        what=f"capacity month at {STEP_S / 5:g} s samples",
        against="raw GROUP BY",
        ratio=ratio,
        low=low,
        high=high,
        target=">= 20 x",
        met=ratio >= 20,
    )


def _fill(place: Site, statement: str, values: dict[str, float]) -> None:
    """Store generated samples and run the policies once, children first."""
    with closing(psycopg2.connect(place.url)) as conn:
        conn.autocommit = True
        with conn.cursor() as cursor:
            cursor.execute(statement, values)
            cursor.execute(
                "SELECT job_id FROM timescaledb_information.jobs"
                " WHERE proc_name = 'policy_refresh_continuous_aggregate' ORDER BY 1"
            )
            for job in cursor.fetchall():
                cursor.execute("CALL run_job(%s)", job)
            cursor.execute("ANALYZE sungrow_samples")
            cursor.execute("ANALYZE p1_samples")


def _raw(place: Site, frame: str, width: str) -> Callable[[], object]:
    bound = f"AND ts >= date_trunc('{frame}', now(), 'Europe/Brussels')" if frame != "all" else ""
    statement = _RAW.format(width=width, bound=bound)
    return lambda: _ask(place, statement)


def _ask(place: Site, statement: str) -> list[tuple]:
    with closing(psycopg2.connect(place.url)) as conn, conn.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def _getter(api: Api, token: str, path: str) -> Callable[[], None]:
    """A request on a connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)

    def get() -> None:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body

    return get


def _many(get: Callable[[], None], times: list[float]) -> Callable[[], None]:
    """REQUESTS of them, noting how long each took."""

    def repeat() -> None:
        for _ in range(REQUESTS):
            start = time.perf_counter()
            get()
            times.append(time.perf_counter() - start)

    return repeat


def _percentile(times: list[float], share: int) -> float:
    return statistics.quantiles(times, n=100)[share - 1]
