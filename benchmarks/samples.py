"""GET /v1/samples of a year of an inverter against psql's \\copy of the same rows, and what a
year's export costs beside it: memory of the server, and ingest.

SAMPLES_ROWS in the environment makes a quick run of fewer.
"""

import http.client
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from benchmarks import Laps, Row
from benchmarks._load import Connection, body, meter_sample
from benchmarks._site import Site, site
from edge_agent.shared.samples import SUNGROW
from tests.support.servers import Api
from tests.support.servers.postgres import programs

ROWS = int(os.environ.get("SAMPLES_ROWS", "6300000"))
NAME = f"Samples: {ROWS / 1e6:.1f} million of them out"
LEAST, MORE_MB, INGEST = 0.8, 20, 0.9
LONGEST_ROUNDS = 3  # of a minute or more each
SPAN = "from=2020-01-01T00:00:00Z&to=2030-01-01T00:00:00Z"
BATCHES = 400

_FILL = """
INSERT INTO sungrow_samples (device_id, ts, pv_power_w, pv_daily_kwh, battery_power_w,
    battery_soc_pct, battery_temp_c, load_power_w, export_power_w, pv_total_kwh, import_total_kwh,
    export_total_kwh, charge_total_kwh, discharge_total_kwh, mppt1_voltage_v, mppt1_current_a,
    mppt2_voltage_v, mppt2_current_a, battery_soh_pct, inverter_temp_c, grid_frequency_hz,
    running_state)
SELECT 'roof', timestamptz '2025-01-01' + n * interval '5 s', 4415 - n %% 977, 14.3, 1620, 63.4,
    18.7, 583 + n %% 311, 2094, round(7758 + n / 7200.0, 1), 1825.4, round(2190 + n / 14400.0, 1),
    2823, 2731.8, 352.4, 7.3, 318.9, 5.8, 97, 41.2, 50.02, 0
FROM generate_series(1, {rows}) AS n
"""


def run(rounds: int) -> list[Row]:
    """Both formats and \\copy in turn, then memory and ingest beside an export."""
    with site() as place:
        place.env |= {"DEVICE_TOKENS": "roof:roof,meter:meter:p1"}
        database = place.url.rpartition("/")[2]
        place.postgres.execute(_FILL.format(rows=ROWS).replace("%%", "%"), database)
        place.postgres.execute("VACUUM ANALYZE sungrow_samples", database)
        with Api(place.folder / "api", place.env) as api:
            laps, sizes = _measure(place, api, min(rounds, LONGEST_ROUNDS))
            rows = [_row(laps, sizes, name) for name in ("csv", "ndjson")]
            return [*rows, _memory(api), _ingest(api, rounds)]


def _measure(place: Site, api: Api, rounds: int) -> tuple[Laps, dict[str, int]]:
    sizes: dict[str, int] = {}
    laps = Laps({"csv": [], "copy": [], "ndjson": []})
    variants: dict[str, Callable[[], int]] = {
        "csv": lambda: _export(api, "csv"),
        "copy": lambda: _copy(place),
        "ndjson": lambda: _export(api, "ndjson"),
    }
    for _ in range(rounds):
        for name, variant in variants.items():
            start = time.perf_counter()
            sizes[name] = variant()
            laps.seconds[name].append(time.perf_counter() - start)
    return laps, sizes


def _export(api: Api, format_: str) -> int:
    """The bytes of an export, which must be whole."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=120)
    path = f"/v1/samples?device_id=roof&{SPAN}&format={format_}"
    connection.request("GET", path, headers={"Authorization": "Bearer roof"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Row-Count"]) == (200, str(ROWS))
    size, buffer = 0, bytearray(1 << 20)
    while got := answer.readinto(buffer):
        size += got
    connection.close()
    return size


def _copy(place: Site) -> int:
    """The bytes that psql writes of the same rows, in the same order."""
    columns = ", ".join(SUNGROW.columns)
    query = f"SELECT {columns} FROM sungrow_samples WHERE device_id = 'roof' ORDER BY ts"
    command = [programs() / "psql", "-Xq", "-d", place.url]
    command += ["-c", f"\\copy ({query}) TO STDOUT WITH (FORMAT csv, HEADER)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as psql:
        size = sum(iter(lambda: len(psql.stdout.read(1 << 20)), 0))
    assert psql.returncode == 0
    return size


def _row(laps: Laps, sizes: dict[str, int], name: str) -> Row:
    ratio, low, high = laps.ratios(name, "copy")
    seconds, peer_s = laps.median(name), laps.median("copy")
    note = (
        f"{ROWS / seconds:.0f} rows/s, {sizes[name] / seconds / 1e6:.0f} MB/s; \\copy "
        f"{ROWS / peer_s:.0f} rows/s, {sizes['copy'] / peer_s / 1e6:.0f} MB/s"
    )
    told = name == "ndjson"
    target = "told" if told else f">= {LEAST} x rows/s"
    what = f"/v1/samples as {name.upper()}: rows a second"
    return Row(what, "psql \\copy", ratio, low, high, target, told or ratio >= LEAST, note)


@contextmanager
def _exporting(api: Api, again: bool) -> Iterator[threading.Thread]:
    """Export meanwhile, once or again and again."""
    stop, failed = threading.Event(), []

    def work() -> None:
        try:
            _export(api, "csv")
            while again and not stop.is_set():
                _export(api, "csv")
        except (OSError, AssertionError, http.client.HTTPException) as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


def _memory(api: Api) -> Row:
    """What all processes of the server take more at any moment of an export than before it."""
    before = _proportional_mb(api)
    grown = [0.0]
    with _exporting(api, again=False) as export:
        while export.is_alive():
            grown.append(_proportional_mb(api) - before)
            time.sleep(0.1)
    most = max(grown)
    note = f"{before:.0f} MB before; workers and the process that copies, shared pages by share"
    return Row(
        "/v1/samples: memory of the server", f"{MORE_MB} MB more", MORE_MB / most,
        MORE_MB / most, MORE_MB / most, ">= 1 x", most < MORE_MB, f"{most:.1f} MB more; {note}",
    )  # fmt: skip


def _proportional_mb(api: Api) -> float:
    """The memory of gunicorn, its workers and their children, each page by its share."""
    total_kb = 0
    for pid in _family(api.pid):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        total_kb += next(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:")
    return total_kb / 1024


def _family(pid: int) -> list[int]:
    """A process and all that come of it, whichever thread has started them."""
    started = [
        int(child)
        for tasks in Path(f"/proc/{pid}/task").glob("*/children")
        for child in tasks.read_text().split()
    ]
    return [pid, *(one for child in started for one in _family(child))]


def _ingest(api: Api, rounds: int) -> Row:
    """Batches a second of an agent that sends ten samples every 50 ms, alone and beside it."""
    first = count()
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(_send(api, next(first)))
        with _exporting(api, again=True):
            time.sleep(1)
            beside.append(_send(api, next(first)))
    ratios = [one / other for one, other in zip(beside, alone, strict=True)]
    ratio = statistics.median(ratios)
    rates = [statistics.median(each) for each in (beside, alone)]
    note = f"{rates[0]:.1f} batches of 10 a second, alone {rates[1]:.1f}"
    return Row(
        "ingest beside an export", "ingest alone", ratio, min(ratios), max(ratios),
        f">= {INGEST} x", ratio >= INGEST, note,
    )  # fmt: skip


def _send(api: Api, number: int) -> float:
    """Send as a live agent does, at its own pace; the batches that were taken a second."""
    connection = Connection(api.url, "meter")
    start = time.perf_counter()
    for batch in range(BATCHES):
        second = (number * BATCHES + batch) * 10
        connection.post(body([meter_sample("meter", second + n) for n in range(10)]))
        time.sleep(max(0.0, start + (batch + 1) * 0.025 - time.perf_counter()))
    connection.http.close()
    return BATCHES / (time.perf_counter() - start)
