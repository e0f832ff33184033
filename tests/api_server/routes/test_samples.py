"""The samples themselves: what is in them, how they are streamed, what happens when it breaks."""

import csv
import gzip
import http.client
import io
import json
import os
import re
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from api_server.data.export import Export
from edge_agent.shared.samples import KINDS, P1, format_time
from tests.support.client import METER, Client
from tests.support.servers import Api

pytestmark = pytest.mark.slow

ROWS = 5 * 17_280
START = datetime(2026, 6, 1, 12, tzinfo=UTC)
SPAN = "from=2026-06-01T12:00:00Z&to=2026-06-01T13:00:00Z"


@pytest.fixture
def meter(shared_api: Api) -> Client:
    """The meter's client."""
    return Client(shared_api.url, "meter-token")


def read(answer) -> list[dict[str, str]]:
    """The rows of a CSV answer; every line ends with CRLF."""
    assert answer.text.endswith("\r\n")
    assert answer.text.count("\n") == answer.text.count("\r\n")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_a_sample_comes_out_as_realtime_prints_it(roof: Client) -> None:
    """All columns, in their order; null is empty, `alarms` of none is an empty text."""
    sample = {
        "device_id": "roof",
        "ts": "2026-06-01T12:00:00.25Z",
        "pv_power_w": 4415.5,
        "battery_power_w": None,
        "battery_soc_pct": 63.4,
        "load_power_w": None,
        "export_power_w": -12,
        "pv_total_kwh": 7758.1234567,
        "pv_daily_kwh": 0.1234567,
        "battery_capacity_kwh": 64.1,
        "alarms": "",
    }
    whole = {**sample, "ts": "2026-06-01T12:00:05Z", "alarms": "13049.30 13065.14"}
    assert roof.post(whole, sample).json["inserted"] == 2
    answer = roof.get(f"/v1/samples?device_id=roof&{SPAN}")
    assert (answer.status, answer.headers["Row-Count"]) == (200, "2")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "roof_20260601T120000Z_20260601T130000Z.csv" in answer.headers["Content-Disposition"]
    first, second = read(answer)
    assert list(first) == list(KINDS["sungrow"].columns)
    assert (first["ts"], second["ts"]) == ("2026-06-01T12:00:00.250000Z", "2026-06-01T12:00:05Z")
    assert [first[n] for n in ("battery_power_w", "load_power_w", "alarms")] == ["", "", ""]
    assert [float(first[n]) for n in ("pv_power_w", "export_power_w")] == [4415.5, -12.0]
    assert (first["pv_total_kwh"], second["alarms"]) == ("7758.123457", "13049.30 13065.14")
    assert (first["pv_daily_kwh"], first["battery_capacity_kwh"]) == ("0.123457", "64.1")
    lines = roof.get(f"/v1/samples?device_id=roof&{SPAN}&format=ndjson").text.splitlines()
    told = [json.loads(line) for line in lines]
    assert told[1] == {key: value for key, value in told[1].items() if key in first}
    assert (told[0]["load_power_w"], told[0]["alarms"], told[0]["sample_count"]) == (None, "", 1)
    assert (told[0]["ts"], told[0]["pv_total_kwh"]) == (first["ts"], 7758.123457)
    assert (told[0]["pv_daily_kwh"], told[0]["battery_capacity_kwh"]) == (0.123457, 64.1)


def test_from_is_in_and_to_is_not(meter: Client) -> None:
    times = ["2026-06-01T12:00:00Z", "2026-06-01T12:30:00Z", "2026-06-01T13:00:00Z"]
    assert meter.post(*({**METER, "ts": ts} for ts in times)).status == 200
    assert [row["ts"] for row in read(meter.get(f"/v1/samples?device_id=meter&{SPAN}"))] == times[
        :2
    ]
    day = read(meter.get("/v1/samples?device_id=meter&from=2026-06-01&to=2026-06-02"))
    assert [row["ts"] for row in day] == times
    local = "from=2026-06-01T15:00:00%2B02:00&to=2026-06-02"
    assert len(read(meter.get(f"/v1/samples?device_id=meter&{local}"))) == 1


def test_the_oldest_comes_first_also_within_a_second(meter: Client) -> None:
    """As text, a time with a fraction would come before one without."""
    times = ["2026-05-01T12:00:05Z", "2026-05-01T12:00:05.250000Z", "2026-05-01T12:00:06Z"]
    assert meter.post(*({**METER, "ts": ts} for ts in reversed(times))).status == 200
    span = "from=2026-05-01&to=2026-05-02"
    for format_ in ("csv", "ndjson"):
        text = meter.get(f"/v1/samples?device_id=meter&{span}&format={format_}").text
        assert re.findall(r"2026-05-01T[^,\"]+", text) == times


def test_nothing_is_a_header_only(meter: Client) -> None:
    answer = meter.get("/v1/samples?device_id=meter&from=2021-01-01&to=2021-01-01")
    assert (answer.status, answer.headers["Row-Count"]) == (200, "0")
    assert answer.text == ",".join(KINDS["p1"].columns) + "\r\n"
    answer = meter.get("/v1/samples?device_id=meter&from=2021-01-01&to=2021-01-02&format=ndjson")
    assert (answer.status, answer.text) == (200, "")


class Late(Export):
    """Reads when the program is done: the count and the first rows come in one piece."""

    def _read(self, seconds: float) -> bytes:
        time.sleep(0.7)
        return super()._read(seconds)


@pytest.mark.parametrize("format_", ["csv", "ndjson"])
def test_rows_that_come_with_their_count_are_told(
    meter: Client, shared_api: Api, format_: str
) -> None:
    assert meter.post({**METER, "ts": "2026-05-03T12:00:05Z"}).status == 200
    start = datetime(2026, 5, 3, tzinfo=UTC)
    export = Late(
        shared_api.env["DATABASE_URL"], P1, "meter", start, start + timedelta(days=1), format_
    )
    told = b"".join(export.pieces()).decode()
    assert export.count == 1
    asked = "device_id=meter&from=2026-05-03&to=2026-05-04"
    assert told == meter.get(f"/v1/samples?{asked}&format={format_}").text
    assert "2026-05-03T12:00:05Z" in told


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("from=2026-06-01&to=2026-06-02&format=xlsx", 422),
        ("from=2026-06-01", 422),
        ("to=2026-06-01", 422),
        ("from=2026-06-02&to=2026-06-01", 422),
        ("from=2026-06-01T12:00:00&to=2026-06-02", 422),
        ("from=2026-02-30&to=2026-06-02", 422),
        ("from=2026-W23-1&to=2026-06-10", 422),
        ("from=1900-01-01&to=2026-06-02", 200),
        ("from=2026-06-01&to=9999-12-31", 200),
        ("from=yesterday&to=2026-06-02", 422),
    ],
)
def test_what_is_no_span_is_refused(roof: Client, asked: str, status: int) -> None:
    answer = roof.get(f"/v1/samples?device_id=roof&{asked}")
    assert answer.status == status, answer.text
    if status == 422:
        assert isinstance(answer.json["detail"], str)


def test_another_device_is_refused_first(roof: Client) -> None:
    assert roof.get("/v1/samples?device_id=meter&from=x").status == 403
    assert roof.get("/v1/samples?from=x").status == 422


def test_it_is_compressed_for_who_takes_that(roof: Client, shared_api: Api) -> None:
    plain = roof.get(f"/v1/samples?device_id=roof&{SPAN}").text
    connection = http.client.HTTPConnection("127.0.0.1", shared_api.port, timeout=15)
    headers = {"Authorization": "Bearer roof-token", "Accept-Encoding": "br, gzip"}
    connection.request("GET", f"/v1/samples?device_id=roof&{SPAN}", headers=headers)
    answer = connection.getresponse()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.read()).decode() == plain
    connection.close()


@pytest.fixture
def long(settings: dict[str, str], tmp_path) -> "Api":
    """An API with a month of samples, one every 5 s."""
    with psycopg2.connect(settings["DATABASE_URL"]) as connection:
        connection.cursor().execute(
            "INSERT INTO sungrow_samples (device_id, ts, pv_power_w, load_power_w)"
            " SELECT 'roof', %s - n * interval '5 s', 4415, 583 FROM generate_series(1, %s) AS n",
            (START, ROWS),
        )
    with Api(tmp_path, settings) as api:
        yield api


SAMPLE = {
    "device_id": "roof",
    "pv_power_w": 4415.0,
    "battery_power_w": 1620.0,
    "battery_soc_pct": 63.4,
    "load_power_w": 583.0,
    "export_power_w": 2094.0,
}
LONG = "/v1/samples?device_id=roof&from=2026-05-01&to=2026-06-02"


def begin(api: Api) -> socket.socket:
    """Ask for all, and read nothing."""
    connection = socket.create_connection(("127.0.0.1", api.port), timeout=30)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = f"GET {LONG} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer roof-token\r\n\r\n"
    connection.sendall(head.encode())
    connection.recv(1, socket.MSG_PEEK)
    return connection


def test_two_at_a_time_and_a_third_waits_for_its_turn(long: Api) -> None:
    client = Client(long.url)
    readers = [begin(long), begin(long)]
    third = client.get(LONG)
    assert (third.status, third.headers["Retry-After"]) == (503, "5")
    assert client.post({**SAMPLE, "ts": format_time(START)}).status == 200
    readers.pop().close()
    deadline = time.monotonic() + 20
    while (answer := client.get(LONG)).status == 503 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert answer.status == 200
    rows = read(answer)
    assert len(rows) == int(answer.headers["Row-Count"]) == ROWS + 1
    assert {(len(row), row["device_id"], row["ts"][10], row["ts"][-1]) for row in rows} == {
        (len(KINDS["sungrow"].columns), "roof", "T", "Z")
    }
    readers.pop().close()


def test_a_break_is_seen(long: Api, settings: dict[str, str]) -> None:
    """The database ends the copy midway: the transfer has no proper end."""
    connection = begin(long)
    with psycopg2.connect(settings["DATABASE_URL"]) as database:
        cursor = database.cursor()
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'sunspool-export' AND usename = current_user"
        )
        assert cursor.fetchone()[0] == 1
    received = b""
    while piece := connection.recv(1 << 16):
        received += piece
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert not received.endswith(b"0\r\n\r\n")
    connection.close()
    assert Client(long.url).get("/v1/realtime?device_id=roof").status == 200


def test_memory_stays_flat_and_nothing_stays_behind(long: Api) -> None:
    client = Client(long.url)
    assert client.get(LONG).status == 200
    before = memory_mb(long)
    for _ in range(3):
        assert len(client.get(LONG).text) > 2_500_000
    assert memory_mb(long) - before < 20
    children = [pid for worker in long.worker_pids() for pid in children_of(worker)]
    assert children == []


def memory_mb(api: Api) -> float:
    """Resident memory of the workers together."""
    statms = [Path(f"/proc/{pid}/statm") for pid in api.worker_pids()]
    pages = [int(statm.read_text().split()[1]) for statm in statms]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def children_of(pid: int) -> list[str]:
    """Processes that a worker has started and that still run."""
    tasks = os.listdir(f"/proc/{pid}/task")
    return [
        child
        for task in tasks
        for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
    ]
