"""Whether ingest and realtime slow down with more devices, and with more chunks of TimescaleDB."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from benchmarks import Row, interleave
from benchmarks._load import START, Connection, body, inverter_sample
from benchmarks._site import Site, site
from tests.support.servers import Api, ServerFailed

NAME = "Growth: 1, 10 and 100 devices, 1, 10 and 100 chunks"
SIZES = (1, 10, 100)
BATCH, BATCHES, REQUESTS = 20, 100, 1000
CHUNK_S = 7 * 86_400


def run(rounds: int) -> list[Row]:
    """The same number of batches each time; a ratio of 1 means that growth costs nothing."""
    try:
        with site("community") as place:
            return _measure(rounds, place, "TimescaleDB")
    except ServerFailed:
        with site() as place:
            return _measure(rounds, place, "PostgreSQL alone")


def _measure(rounds: int, place: Site, database: str) -> list[Row]:
    devices = [f"inverter-{number}" for number in range(max(SIZES))]
    place.env["DEVICE_TOKENS"] = ",".join(f"secret-of-{name}:{name}" for name in devices)
    place.env["CACHE_TTL_S"] = "3600"
    with Api(place.folder / "api", place.env) as api:
        connections = {name: Connection(api.url, f"secret-of-{name}") for name in devices}
        # Of the last day, as from devices that are alive.
        now_s = int((datetime.now(UTC) - START).total_seconds())
        seconds = count(now_s - 80_000, BATCH)
        variants = {}
        for size in SIZES:
            variants[f"{size} devices"] = _posts(connections, devices[:size], 1, seconds)
        for size in SIZES:
            variants[f"{size} chunks"] = _posts(connections, devices[:1], size, seconds)
        for size in SIZES:
            variants[f"latest of {size}"] = _asks(connections, devices[:size])
        laps = interleave(rounds, variants)
        for connection in connections.values():
            connection.http.close()
    subjects = (
        ("ingest", "{} devices", BATCHES),
        ("ingest", "{} chunks", BATCHES),
        ("realtime", "latest of {}", REQUESTS),
    )
    rows = []
    for what, name, requests in subjects:
        for size in SIZES[1:]:
            many, one = name.format(size), name.format(1)
            ratio, low, high = laps.ratios(many, one)
            note = f"{1000 * laps.median(many) / requests:.1f} ms each; {database}"
            rows.append(
                Row(f"{what}: {many}", one, ratio, low, high, ">= 0.5 x", ratio >= 0.5, note)
            )
    return rows


def _posts(
    connections: dict[str, Connection], devices: list[str], chunks: int, seconds: count
) -> Callable[[], None]:
    """Post batches that were never there, to one device after the other, in one chunk or many."""

    def post() -> None:
        for number in range(BATCHES):
            device = devices[number % len(devices)]
            first = next(seconds) - number % chunks * CHUNK_S
            samples = [inverter_sample(device, second) for second in range(first, first + BATCH)]
            connections[device].post(body(samples))

    return post


def _asks(connections: dict[str, Connection], devices: list[str]) -> Callable[[], None]:
    def ask() -> None:
        for number in range(REQUESTS):  # the first of each device misses the cache
            device = devices[number % len(devices)]
            connections[device].get(f"/v1/realtime?device_id={device}")

    return ask
