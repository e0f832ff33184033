"""What a home asks of its own history, over HTTP, after five years on PostgreSQL alone.

What is older than 13 months has a sample every 240 s, what is younger one every 60 s, and the last
two days are whole: the inverter every 5 s, the meter every second. 98 more devices have a report
and a sample each. Ingest is measured by itself, with and without the report of an agent.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from benchmarks import Row, _cost, _house, _stacks, interleave
from benchmarks._load import Connection, meter_sample, request, seconds_now, send_all
from benchmarks._site import Site, site
from tests.support.servers import Api

NAME = f"A home after {_house.MONTHS} months, on PostgreSQL alone"
REQUESTS = 40  # of each path and round
MORE = 98  # devices
NOW_S = 17 * 60  # of samples that capacity/now may read
BATCH, BATCHES, LAPS = 12, 50, 25  # of a round: what one costs differs from lap to lap
REPORTED = 0.97  # of the samples a second without a report
REPORT = {
    "version": "2.0.0",
    "poll_interval_s": 1,
    "uptime_s": 86_400,
    "spool_count": 12,
    "oldest_ts": None,
    "set_aside_count": 0,
    "thinned": 0,
    "dropped": 0,
    "lost": 0,
    "clock_warning": False,
    "last_error": None,
}
_MORE = """
INSERT INTO p1_samples (device_id, ts, power_w, import_power_w)
SELECT 'meter-' || number, now() - interval '1 minute', 100, 100
FROM generate_series(1, {count}) AS number;
INSERT INTO agents SELECT 'meter-' || number, now(), '{report}', '{{}}'
FROM generate_series(1, {count}) AS number
"""
_READ = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'p1_samples_pkey'"


def run(rounds: int) -> list[Row]:
    """Every answer of a home, in turns."""
    with site() as place:
        devices = ["roof", "meter", *(f"meter-{number}" for number in range(1, MORE + 1))]
        kinds = ["", *[":p1"] * (MORE + 1)]
        place.env |= {
            "DEVICE_TOKENS": ",".join(
                f"{one}:{one}{kind}" for one, kind in zip(devices, kinds, strict=True)
            ),
            "READ_TOKENS": f"reader:{'+'.join(devices)}",
            "SITES": "home:meter+roof",
            "GRID_AREA": "west",
        }
        _house.fill(place)
        more = _MORE.format(count=MORE, report=json.dumps(REPORT))
        place.postgres.execute(more, place.name)
        with Api(place.folder / "api", place.env) as api:
            roots = api.pid, place.postgres.pid, place.redis.pid
            laps = _measure(rounds, place, api.url, lambda: sum(map(_cost.tree_s, roots)))
        read = _read_by_now(place)
    return [*(_row(what, *lap, read) for what, lap in laps.items()), _with_a_report(rounds)]


def _asked() -> dict[str, tuple[str, float | None]]:
    """Each path, and its limit in ms if it has one."""
    now = datetime.now(UTC)
    month, yesterday = now.replace(day=1), now - timedelta(days=1)
    past = month - timedelta(days=1)
    of_meter, of_roof = "device_id=meter", "device_id=roof"
    return {
        **{
            f"balance, {frame}": (f"/v1/balance?site=home&frame={frame}", 25)
            for frame in ("day", "month", "year", "all")
        },
        "balance/now": ("/v1/balance/now?site=home", 25),
        f"devices, {MORE + 2} of them": ("/v1/devices", 10),
        "completeness of a meter's day, 86400 samples": (
            f"/v1/completeness?{of_meter}&date={yesterday:%Y-%m-%d}",
            80,
        ),
        "strings": (f"/v1/strings?{of_roof}", None),
        "battery": (f"/v1/battery?{of_roof}", None),
        "capacity/now": (f"/v1/capacity/now?{of_meter}", 5),
        "capacity/month, the running one": (f"/v1/capacity/month/{month:%Y-%m}?{of_meter}", 40),
        "capacity/month, one that is over": (f"/v1/capacity/month/{past:%Y-%m}?{of_meter}", 40),
        "capacity/year": (f"/v1/capacity/year?{of_meter}", None),
        "cost, year": (f"/v1/cost?{of_meter}&frame=year", None),
    }


def _measure(
    rounds: int, place: Site, url: str, cpu_s: Callable[[], float]
) -> dict[str, tuple[list[float], float]]:
    """The waits of all requests by what was asked, and the servers' CPU of one, after a round to
    warm up."""
    reader = Connection(url, "reader")
    waits: dict[str, list[float]] = {what: [] for what in _asked()}
    used = dict.fromkeys(waits, 0.0)
    for number in range(rounds + 1):
        for what, (path, _) in _asked().items():
            _house.go_on(place)
            before = cpu_s()
            for _ in range(REQUESTS):
                start = time.perf_counter()
                reader.get(path)
                waits[what].append(time.perf_counter() - start)
            if number:
                used[what] += cpu_s() - before
            else:
                waits[what].clear()
        _house.keep(place)
    reader.http.close()
    return {what: (waited, used[what] / len(waited)) for what, waited in waits.items()}


def _read_by_now(place: Site) -> int:
    """How many samples one more capacity/now reads."""
    with Api(place.folder / "api", place.env) as api:
        reader = Connection(api.url, "reader")
        counts = []
        for _ in range(2):  # the first one may look at the month
            _house.go_on(place)
            before = _entries(place)
            reader.get("/v1/capacity/now?device_id=meter")
            counts.append(_entries(place) - before)
        reader.http.close()
    return counts[-1]


def _entries(place: Site) -> int:
    """Entries of the meters' index that were read so far; a backend tells them with some delay."""
    time.sleep(3)
    return place.postgres.query(_READ, database=place.name)[0][0]


def _row(what: str, waited: Sequence[float], cpu_s: float, read: int) -> Row:
    p95_ms = 1000 * statistics.quantiles(waited, n=20)[-1]
    limit_ms = next(limit for name, (_, limit) in _asked().items() if name == what)
    note = f"p95 {p95_ms:.1f} ms, median {1000 * statistics.median(waited):.1f} ms over HTTP"
    note += f"; CPU of all servers {1000 * cpu_s:.1f} ms"
    met, target, against = True, "told", "one request"
    ratio, low, high = p95_ms, 1000 * min(waited), 1000 * max(waited)
    if limit_ms is not None:
        met, target, against = p95_ms <= limit_ms, ">= 1 x", f"p95 of {limit_ms} ms"
        ratio, low, high = (limit_ms / each for each in (ratio, high, low))
    if what == "capacity/now":
        met, note = met and read <= NOW_S, f"{note}; {read} samples read, at most {NOW_S}"
    return Row(what, against, ratio, low, high, target, met, note)


def _with_a_report(rounds: int) -> Row:
    """The servers' CPU of small batches with an agent's report, against the same without."""
    token, used = "meter:meter:p1", {"with": [], "without": []}
    with _stacks.ours(token, limited=False) as (stack, _):
        first = seconds_now() - (rounds * LAPS + 1) * 2 * BATCHES * BATCH

        def send(what: str) -> None:
            nonlocal first
            lane = [_batch(first + number * BATCH, what == "with") for number in range(BATCHES)]
            first += BATCHES * BATCH
            before = sum(stack.cpu_s().values())
            send_all(stack.url, [lane])
            used[what].append(sum(stack.cpu_s().values()) - before)

        both = {"with": lambda: send("with"), "without": lambda: send("without")}
        interleave(rounds * LAPS, both)
    pairs = zip(used["with"][1:], used["without"][1:], strict=True)
    laps = [without / reported for reported, without in pairs]
    ratios = sorted(statistics.median(laps[number::rounds]) for number in range(rounds))
    ratio = statistics.median(laps)
    each_ms = {what: 1000 * statistics.median(s[1:]) / BATCHES for what, s in used.items()}
    return Row(
        f"ingest of {BATCH} samples with a report",
        "without one",
        ratio,
        ratios[0],
        ratios[-1],
        f">= {REPORTED} x",
        ratio >= REPORTED,
        f"CPU of all servers {each_ms['with']:.2f} ms a batch, without {each_ms['without']:.2f} ms",
    )


def _batch(first: int, reported: bool) -> bytes:
    body = {"samples": [meter_sample("meter", first + second) for second in range(BATCH)]}
    more = {"agent": REPORT} if reported else {}
    return request("/v1/ingest", "meter", json.dumps(body | more).encode())
