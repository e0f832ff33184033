"""The latest sample: from the cache against a bare view, and from the database by its SQL alone."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import redis

from api_server.data.database import Store
from api_server.data.samples import newest
from benchmarks import Row, interleave
from benchmarks._load import Connection, body, inverter_sample
from benchmarks._site import Site, site
from edge_agent.shared.samples import SUNGROW, format_time
from tests.support.servers import Api, ServerFailed

NAME = "Realtime"
CONNECTIONS, REQUESTS = 4, 150
PATH = "/v1/realtime?device_id=inverter"
LIMIT_S = 0.001
LOOKUPS = 200
TWO_YEARS = """
INSERT INTO sungrow_samples (device_id, ts, pv_power_w, load_power_w, pv_total_kwh)
SELECT 'inverter', ts, 1000, 300, extract(epoch FROM ts) / 3600000
FROM generate_series(now() - interval '2 years', now(), interval '1 minute') AS ts
"""


class BareApi(Api):
    """The same gunicorn with the same settings, around the bare view."""

    name = "bare"

    def command(self) -> list[str]:
        """As the API's, with another app."""
        return [*super().command()[:-1], "benchmarks._bare:create_app()"]


def run(rounds: int) -> list[Row]:
    """Requests of four connections, and look-ups of one."""
    with site() as place:
        return [*_cached(rounds, place), _missed(rounds)]


def _cached(rounds: int, place: Site) -> list[Row]:
    place.env |= {"DEVICE_TOKENS": "secret:inverter", "CACHE_TTL_S": "3600"}
    sample = {**inverter_sample("inverter", 0), "ts": format_time(datetime.now(UTC))}
    with (
        Api(place.folder / "api", place.env) as api,
        BareApi(place.folder / "bare", place.env) as bare,
        redis.Redis.from_url(place.redis.url) as server,
    ):
        connection = Connection(api.url, "secret")
        connection.post(body([sample]))
        server.set("bare", connection.get(PATH))
        waits: list[float] = []
        variants = {
            "cached": lambda: waits.extend(_ask(api.url)),
            "bare": lambda: _ask(bare.url),
        }
        laps = interleave(rounds, variants)
    ratio, low, high = laps.ratios("cached", "bare")
    rate = CONNECTIONS * REQUESTS / laps.median("cached")
    p99 = statistics.quantiles(waits, n=100)[98]
    against = "a bare Flask view with one Redis GET"
    note = f"{rate:.0f} requests/s, load and servers on one machine"
    slowest = Row(
        "realtime, cached: p99", "100 ms", 0.1 / p99, 0.1 / max(waits), 0.1 / min(waits),
        ">= 1 x", p99 < 0.1, f"p99 {1000 * p99:.1f} ms",
    )  # fmt: skip
    return [
        Row("realtime, cached", against, ratio, low, high, ">= 0.9 x", ratio >= 0.9, note),
        slowest,
    ]


def _ask(url: str) -> list[float]:
    """How long each request took."""

    def one(_number: int) -> list[float]:
        connection, waits = Connection(url, "secret"), []
        for _ in range(REQUESTS):
            start = time.perf_counter()
            connection.get(PATH)
            waits.append(time.perf_counter() - start)
        connection.http.close()
        return waits

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        return [wait for waits in threads.map(one, range(CONNECTIONS)) for wait in waits]


def _missed(rounds: int) -> Row:
    """The newest of two years in weekly chunks; without them where TimescaleDB is missing."""
    try:
        return _look_up(rounds, "community")
    except ServerFailed:
        return _look_up(rounds, None)


def _look_up(rounds: int, timescaledb: str | None) -> Row:
    with site(timescaledb) as place:
        place.postgres.execute(TWO_YEARS, place.url.rpartition("/")[2])
        store = Store(place.url)
        seconds = []
        for _ in range(rounds * LOOKUPS):
            start = time.perf_counter()
            assert newest(store, SUNGROW, "inverter", datetime.now(UTC))
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    kind = "TimescaleDB, 105 chunks" if timescaledb else "PostgreSQL alone"
    return Row(
        "realtime, cache missed, after two years", "1 ms", LIMIT_S / median,
        LIMIT_S / max(seconds), LIMIT_S / min(seconds), ">= 1 x", median <= LIMIT_S,
        f"{1000 * median:.2f} ms with its round trip; {kind}",
    )  # fmt: skip
