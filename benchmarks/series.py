"""Reading history on PostgreSQL alone and the Apache edition, Community beside them.

Samples are dense in the newest month, the only one that is read as samples; before it they are
thinned, because what is kept of a quarter is as large however many samples it is made of.
"""

import http.client
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2

from api_server.data import refresh
from api_server.data.capacity import kept
from benchmarks import Row, _cost, interleave
from benchmarks._site import site
from edge_agent.shared.samples import KINDS
from tests.support.servers import ROOT, Api

NAME = "Reading history on every database"
STEP_S, THINNED_S = 5, 300
DATABASES = {"PostgreSQL": None, "Apache": "apache", "Community": "community"}
COMPARED = "Community"
MONTHS = 60
REQUESTS = 20  # per frame, database and round
P95_MS = {"day": 25, "month": 25, "year": 25, "all": 25, "capacity": 40, "balance": 25}
CPU_LIMIT, TIME_LIMIT = 3, 1.5

_INVERTER = """
INSERT INTO sungrow_samples (
    device_id, ts, pv_power_w, battery_power_w, battery_soc_pct, load_power_w, export_power_w,
    pv_total_kwh, import_total_kwh, export_total_kwh, charge_total_kwh, discharge_total_kwh
) SELECT 'roof', ts, pv, 500 * cos(h), 50, 400, pv - 400,
    round(h::numeric, 1), round((h / 3)::numeric, 1), round((h / 2)::numeric, 1),
    round((h / 5)::numeric, 1), round((h / 6)::numeric, 1)
FROM (
    SELECT ts, h, 2000 + 2000 * sin(h) AS pv FROM (
        SELECT ts, extract(epoch FROM ts - timestamptz '2020-01-01')::double precision / 3600 AS h
        FROM generate_series(
            now() - %(first)s * interval '1 month', now() - %(last)s * interval '1 month',
            make_interval(secs => %(step)s)
        ) AS ts
    ) AS hours
) AS powers ON CONFLICT DO NOTHING
"""
_METER = """
INSERT INTO p1_samples (device_id, ts, power_w, import_power_w, energy_import_kwh,
    energy_export_kwh)
SELECT 'meter', ts, (extract(epoch FROM ts)::bigint * 7919 %% 6000),
    (extract(epoch FROM ts)::bigint * 7919 %% 6000), round(extract(epoch FROM ts) / 1800, 3),
    round(extract(epoch FROM ts) / 3000, 3)
FROM generate_series(
    date_trunc('month', now()) - interval '1 month 1 day', now(), make_interval(secs => %(step)s)
) AS ts
"""
_REFRESH = """
CALL refresh_continuous_aggregate(
    %s, NULL, now() - %s, options => '{"buckets_per_batch": 1000}'
)
"""


@dataclass(frozen=True)
class Place:
    """An API on a database that is filled, and what both have cost so far."""

    api: Api
    get: Callable[[str], bytes]
    cpu_s: Callable[[], float]


@dataclass(frozen=True)
class Lap:
    """The requests of one path on one database."""

    median_s: float
    p95_s: float
    cpu_s: float  # a request


def run(rounds: int) -> list[Row]:
    """Every frame at five years on the three databases."""
    rows = []
    with ExitStack() as stack:
        places = {
            name: stack.enter_context(filled(edition, MONTHS))
            for name, edition in DATABASES.items()
        }
        for what, path in paths().items():
            rows += _compare(rounds, what, path, places)
    return rows


def paths() -> dict[str, str]:
    month = time.strftime("%Y-%m", time.gmtime(time.time() - 86_400 * (time.gmtime().tm_mday + 1)))
    frames = ("day", "month", "year", "all")
    return {
        **{frame: f"/v1/series?device_id=roof&frame={frame}" for frame in frames},
        "capacity": f"/v1/capacity/month/{month}?device_id=meter",
        "balance": "/v1/balance?site=home&frame=year",
    }


@contextmanager
def filled(
    edition: str | None, months: int, code: Path = ROOT, step_s: int = THINNED_S
) -> Iterator[Place]:
    """A place with so many months: the newest dense, before it a sample every `step_s`."""
    with site(edition, code) as place:
        tokens = {"DEVICE_TOKENS": "roof:roof,meter:meter:p1", "READ_TOKENS": "reader:roof+meter"}
        place.env |= tokens
        with closing(psycopg2.connect(place.url)) as connection:
            connection.autocommit = True
            _fill(connection.cursor(), months, step_s, edition)
            if code == ROOT:
                refresh.refresh(connection)
                kept.keep(connection, ZoneInfo("Europe/Brussels"))
            connection.cursor().execute("VACUUM ANALYZE")
        api = Api(place.folder / "api", place.env)
        api.code = code
        with api:
            roots = api.pid, place.postgres.pid
            yield Place(api, _getter(api), lambda: sum(map(_cost.tree_s, roots)))


def _fill(cursor: Any, months: int, step_s: int, edition: str | None) -> None:
    """Store generated samples, and refresh what is made of them, finer first."""
    for first, last, step in ((months, 1, step_s), (1, 0, STEP_S)):
        cursor.execute(_INVERTER, {"first": first, "last": last, "step": step})
    cursor.execute(_METER, {"step": STEP_S})
    cursor.execute("ANALYZE")
    if edition != "community":
        return
    for level, lag in (("quarter_hourly", 1), ("hourly", 1), ("daily", 24), ("monthly", 24)):
        for kind in KINDS:
            cursor.execute(_REFRESH, (f"{kind}_{level}", timedelta(hours=lag)))


def _compare(rounds: int, what: str, path: str, places: dict[str, Place]) -> Iterator[Row]:
    laps = _measure(rounds, path, places)
    beside = laps[COMPARED]
    for name, lap in laps.items():
        ratio = lap.median_s / beside.median_s
        cpu = lap.cpu_s / beside.cpu_s
        p95_ms, limit = lap.p95_s * 1000, P95_MS[what]
        met, target = p95_ms <= limit, f"p95 <= {limit} ms"
        if what in ("year", "all") and name != COMPARED:
            met, target = met and ratio <= TIME_LIMIT, f"{target}, <= {TIME_LIMIT} x"
        if what == "year" and name != COMPARED:
            met, target = met and cpu <= CPU_LIMIT, f"{target}, CPU <= {CPU_LIMIT} x"
        yield Row(
            what=f"{what}, {name}, {MONTHS} months",
            against=COMPARED,
            ratio=ratio,
            low=ratio,
            high=ratio,
            target=target,
            met=met,
            note=f"p95 {p95_ms:.1f} ms over HTTP, median {lap.median_s * 1000:.1f} ms; CPU of all"
            f" servers {lap.cpu_s * 1000:.1f} ms, {cpu:.2f} x",
        )


def _measure(rounds: int, path: str, places: dict[str, Place]) -> dict[str, Lap]:
    """Requests of one path, the places in turn."""
    times: dict[str, list[float]] = {name: [] for name in places}
    used: dict[str, float] = dict.fromkeys(places, 0.0)

    def ask(name: str) -> None:
        place, before = places[name], places[name].cpu_s()
        for _ in range(REQUESTS):
            start = time.perf_counter()
            place.get(path)
            times[name].append(time.perf_counter() - start)
        used[name] += place.cpu_s() - before

    interleave(rounds, {name: lambda name=name: ask(name) for name in places})
    return {
        name: Lap(
            statistics.median(times[name][REQUESTS:]),  # the first are to warm up
            statistics.quantiles(times[name][REQUESTS:], n=20)[-1],
            used[name] / len(times[name]),
        )
        for name in places
    }


def _getter(api: Api) -> Callable[[str], bytes]:
    """Requests on a connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)

    def get(path: str) -> bytes:
        connection.request("GET", path, headers={"Authorization": "Bearer reader"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (answer.status, body[:200])
        return body

    return get
