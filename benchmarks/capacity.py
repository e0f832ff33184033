"""The capacity tariff: how well a quarter is foreseen, how true its peaks are, how quick it is."""

import statistics
import time
from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from api_server.config import load
from api_server.data import capacity
from api_server.data.cache import Cache
from api_server.data.capacity.quarters import FLOOR_W
from api_server.data.capacity.running import foresee, register_w
from api_server.data.database import Store
from benchmarks import Row
from benchmarks._load import Connection
from benchmarks._quarters import LEAD_S, QUARTER_S, Home, Quarter
from benchmarks._site import Site, site
from tests.support.history import insert
from tests.support.servers import Api, ServerFailed

NAME = "Capacity tariff"
MONTH = date(2026, 11, 1)
MONTHS = [date(2025 + number // 12, number % 12 + 1, 1) for number in range(0, 30, 3)]
SEEDS = (1, 2, 3)  # ten months each
MOMENTS_S = (60, 180, 450, 840)
POLLS_S = (1, 5, 10)
TOLERANCE_W = 8
EARLIEST_S, HOLD_S = 180, 30  # of an alert: not before, and for so long
LIMIT_MS = 5
REQUESTS = 100
DAYS = (1, 30)
CHECKED = 24  # quarters of the month that the database answers as well
# One meter that tells its own peak, and one that does not.
METERS = {"official": "the meter's own peak", "bare": "no peak of the meter"}
_SAMPLES = """
INSERT INTO p1_samples (
    device_id, ts, power_w, import_power_w, energy_import_kwh, monthly_power_peak_w,
    monthly_power_peak_ts
) SELECT meter, ts, 700, 700, round((extract(epoch FROM ts) * 7 / 36000)::numeric, 3),
    CASE meter WHEN 'official' THEN 2915 END,
    CASE meter WHEN 'official' THEN date_trunc('month', ts, 'Europe/Brussels') + '15 minutes' END
FROM generate_series(
    now() - interval '{older} days', now() - interval '{newer} days', interval '1 second'
) AS ts, unnest(ARRAY['official', 'bare']) AS meter ON CONFLICT DO NOTHING
"""


def run(rounds: int) -> list[Row]:
    """Foresee a month of quarters, compare the peaks of thirty months, and ask as a page does."""
    homes = [Home(seed) for seed in SEEDS]
    month = list(homes[0].quarters(MONTH))
    months = [list(home.quarters(first)) for home in homes for first in MONTHS]
    return [
        *_foreseen(month),
        _as_answered(month),
        *_announced(months),
        *_peaks(months),
        *_latencies(rounds),
    ]


def projection(quarter: Quarter, elapsed_s: int) -> dict[str, float]:
    """What capacity/now says after so many seconds, polled every second."""
    readings = [
        (quarter.start + timedelta(seconds=second), quarter.kwh(second))
        for second in range(-LEAD_S, elapsed_s + 1)
    ]
    power = quarter.watts(elapsed_s - 59, elapsed_s + 1)
    average_w = register_w(readings, quarter.start)
    return foresee(elapsed_s, average_w, sum(power) / len(power), None)


def _foreseen(month: list[Quarter]) -> Iterator[Row]:
    for elapsed_s in MOMENTS_S:
        ours, naive, own = [], [], []
        for quarter in month:
            told = projection(quarter, elapsed_s)
            ours.append(abs(told["projected_w"] - quarter.true_w))
            naive.append(abs(told["average_w"] - quarter.true_w))
            own.append(abs(told["average_w"] * elapsed_s / QUARTER_S - quarter.true_w))
        ratio = _p95(naive) / _p95(ours)
        # One minute's power says little of a quarter that has hardly begun.
        late = elapsed_s >= QUARTER_S / 2
        yield Row(
            f"error of projected_w at {elapsed_s} s, p95",
            "of the average so far",
            ratio, ratio, ratio, ">= 1 x" if late else "told", ratio >= 1 or not late,
            f"{len(month)} quarters: {_errors(ours)}; average so far {_errors(naive)}; "
            f"the meter's 1.4.0 {_errors(own)}",
        )  # fmt: skip


def _errors(errors: list[float]) -> str:
    return f"{statistics.median(errors):.0f} W, p95 {_p95(errors):.0f} W"


def _p95(values: Iterable[float]) -> float:
    return statistics.quantiles(values, n=100)[94]


def _as_answered(month: list[Quarter]) -> Row:
    """The database's answer for some quarters is what was computed above."""
    with site() as place:
        chosen = month[:: len(month) // CHECKED]
        for quarter in chosen:
            insert(place.url, "p1", list(_samples(quarter)))
        environ = {"DATABASE_URL": place.url, "REDIS_URL": place.redis.url, "DEVICE_TOKENS": ""}
        store, cache, settings = Store(place.url), Cache(place.redis.url, 5), load(environ)
        differing = 0
        for quarter in chosen:
            at = quarter.start + timedelta(seconds=QUARTER_S - 1)
            told = capacity.now(store, cache, settings, "meter", at)
            expected = projection(quarter, QUARTER_S - 1)
            names = ("elapsed_s", "average_w", "power_w", "projected_w")
            differing += any(told[name] != expected[name] for name in names)
    same = 1 - differing / len(chosen)
    return Row(
        "capacity/now from the database", "the same quarters in Python",
        same, same, same, "1 x", differing == 0, f"{len(chosen)} quarters at 1 s",
    )  # fmt: skip


def _samples(quarter: Quarter) -> Iterator[dict]:
    for second, watts in enumerate(quarter.watts(-LEAD_S, QUARTER_S), -LEAD_S):
        yield {
            "device_id": "meter",
            "ts": quarter.start + timedelta(seconds=second),
            "power_w": watts,
            "import_power_w": watts,
            "energy_import_kwh": quarter.kwh(second),
        }


def _announced(months: list[list[Quarter]]) -> Iterator[Row]:
    """How long before its end a quarter that became a new month peak was known to."""
    early_s, unannounced, false, quarters = [], 0, 0, 0
    for month in months:
        limit_w = float(FLOOR_W)
        for quarter in month:
            quarters += 1
            elapsed_s = _alert(quarter, limit_w)
            if quarter.true_w > limit_w:
                limit_w = quarter.true_w
                if elapsed_s is None:
                    unannounced += 1
                else:
                    early_s.append(QUARTER_S - elapsed_s)
            elif elapsed_s is not None:
                false += 1
    minutes = sorted(seconds / 60 for seconds in early_s)
    found = len(minutes) / (len(minutes) + unannounced)
    yield Row(
        "new month peaks announced before their end", "all of them",
        found, found, found, ">= 0.9 x", found >= 0.9,
        f"{len(minutes) + unannounced} in {len(months)} months at 1 s, announced "
        f"{statistics.median(minutes):.1f} minutes before the end (median; {minutes[0]:.1f} to "
        f"{minutes[-1]:.1f}); {false} of {quarters} quarters announced one and stayed below",
    )  # fmt: skip


def _alert(quarter: Quarter, limit_w: float) -> int | None:
    """When new_peak has held for as long as an alert wants; None if it never has."""
    watts = quarter.watts(-LEAD_S, QUARTER_S)
    if len(watts) < LEAD_S + QUARTER_S or max(watts) <= limit_w:
        return None
    start_kwh, held = quarter.kwh(0), 0
    window = sum(watts[EARLIEST_S : EARLIEST_S + LEAD_S])
    for elapsed_s in range(EARLIEST_S, QUARTER_S):
        window += watts[elapsed_s + LEAD_S] - watts[elapsed_s]
        so_far_ws = (quarter.kwh(elapsed_s) - start_kwh) * 3_600_000
        projected_w = (so_far_ws + window / LEAD_S * (QUARTER_S - elapsed_s)) / QUARTER_S
        held = held + 1 if projected_w > limit_w else 0
        if held > HOLD_S:
            return elapsed_s
    return None


def _peaks(months: list[list[Quarter]]) -> Iterator[Row]:
    """The month peaks as the register and as samples have them, beside the meter's own."""
    for step in POLLS_S:
        register, sampled = [], []
        for number, month in enumerate(months):
            phase = number % step
            official = round(max(quarter.true_w for quarter in month))
            highest = max(quarter.register_w(step, phase) for quarter in month)
            register.append(round(highest) - official)
            means = (statistics.fmean(one.watts(phase, QUARTER_S, step)) for one in month)
            sampled.append(round(max(means)) - official)
        worst = max(map(abs, register))
        ratio = TOLERANCE_W / max(worst, 1)
        yield Row(
            f"register peak at {step} s", f"the meter's own within {TOLERANCE_W} W",
            ratio, ratio, ratio, ">= 1 x" if step == 1 else "told", step > 1 or ratio >= 1,
            f"{len(months)} months: {min(register):+d} to {max(register):+d} W; the sampled peak "
            f"{min(sampled):+d} to {max(sampled):+d} W",
        )  # fmt: skip


def _latencies(rounds: int) -> Iterator[Row]:
    """How long capacity/now takes over HTTP as the history grows."""
    for edition in ("community", None):
        try:
            with site(edition) as place:
                yield from _grown(rounds, place, "TimescaleDB" if edition else "PostgreSQL alone")
        except ServerFailed:
            continue


def _grown(rounds: int, place: Site, database: str) -> Iterator[Row]:
    place.env["DEVICE_TOKENS"] = ",".join(f"{name}:{name}:p1" for name in METERS)
    with Api(place.folder / "api", place.env) as api:
        newer = 0
        for days in DAYS:
            # The newest are stored last: they must not be old when they are asked for.
            _fill(place, _SAMPLES.format(older=days, newer=newer))
            _fill(place, _SAMPLES.format(older=1, newer=0))
            newer = days
            for name, what in METERS.items():
                waits = _ask(api.url, name, rounds * REQUESTS)
                p95_ms, median_ms = 1000 * _p95(waits), 1000 * statistics.median(waits)
                yield Row(
                    f"capacity/now after {days} days at 1 s, {what}", f"{LIMIT_MS} ms",
                    LIMIT_MS / p95_ms, LIMIT_MS / 1000 / max(waits), LIMIT_MS / 1000 / min(waits),
                    ">= 1 x", p95_ms <= LIMIT_MS,
                    f"p95 {p95_ms:.1f} ms, median {median_ms:.1f} ms over HTTP; {database}",
                )  # fmt: skip


def _fill(place: Site, statement: str) -> None:
    name = place.url.rpartition("/")[2]
    place.postgres.execute(statement, name)
    place.postgres.execute("ANALYZE p1_samples", name)


def _ask(url: str, device_id: str, requests: int) -> list[float]:
    """The waits of requests on one connection."""
    connection, waits = Connection(url, device_id), []
    for _ in range(requests):
        start = time.perf_counter()
        connection.get(f"/v1/capacity/now?device_id={device_id}")
        waits.append(time.perf_counter() - start)
    connection.http.close()
    return waits
