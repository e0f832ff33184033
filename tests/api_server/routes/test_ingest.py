"""What the API takes in, what it refuses, and what is in the database afterwards."""

import gzip
import json
import socket
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from edge_agent.shared.samples import format_time
from tests.support.client import INVERTER, METER, Client
from tests.support.servers import Api


def at(second: int, **changes) -> dict:
    """A sample of the inverter at its own second."""
    time = datetime(2026, 6, 2, tzinfo=UTC) + timedelta(seconds=second)
    return {**INVERTER, "ts": format_time(time), **changes}


def stored(api: Api, query: str) -> list[tuple]:
    """Rows of the database behind the API."""
    with closing(psycopg2.connect(api.env["DATABASE_URL"])) as connection:
        cursor = connection.cursor()
        cursor.execute(query)
        return cursor.fetchall()


def test_samples_are_stored_once_however_often_they_come(roof, shared_api):
    batch = [at(second) for second in range(10)]
    assert roof.post(*batch).json == {"inserted": 10, "received": 10, "duplicates": 0}
    assert roof.post(*batch).json == {"inserted": 0, "received": 10, "duplicates": 10}
    assert roof.post(*batch, at(10), at(10)).json == {
        "inserted": 1,
        "received": 12,
        "duplicates": 11,
    }
    query = (
        "SELECT count(*), min(pv_power_w) FROM sungrow_samples WHERE ts < '2026-06-02T00:00:11Z'"
    )
    assert stored(shared_api, query + " AND ts >= '2026-06-02T00:00:00Z'") == [(11, 4415.0)]


def test_the_first_values_of_a_key_are_kept(roof, shared_api):
    assert roof.post(at(100)).json["inserted"] == 1
    assert roof.post(at(100, pv_power_w=1.0)).json["duplicates"] == 1
    query = "SELECT pv_power_w FROM sungrow_samples WHERE ts = '2026-06-02T00:01:40Z'"
    assert stored(shared_api, query) == [(4415.0,)]


def test_what_is_stored_is_what_was_sent(roof, shared_api):
    sent = at(
        200.5,
        battery_power_w=None,
        pv_total_kwh=7758.1234567,
        sample_count=12,
        running_state=64,
        unknown_field="ignored",
    )
    assert roof.post(sent).status == 200
    query = (
        "SELECT ts, battery_power_w, pv_total_kwh, sample_count, running_state, mppt1_voltage_v"
        " FROM sungrow_samples WHERE ts = '2026-06-02T00:03:20.5Z'"
    )
    ((ts, *values),) = stored(shared_api, query)
    assert ts == datetime(2026, 6, 2, 0, 3, 20, 500_000, tzinfo=UTC)
    assert values == [None, 7758.1234567, 12, 64, None]


@pytest.mark.parametrize(("second", "tiny"), [(0, 5e-324), (1, -1e-46), (2, 9e-38), (3, -0.0)])
def test_a_number_too_small_for_the_table_is_nothing(roof, shared_api, second, tiny):
    sent = at(300 + second, battery_power_w=tiny, load_power_w=1e-5)
    assert roof.post(sent).json == {"inserted": 1, "received": 1, "duplicates": 0}
    query = (
        f"SELECT battery_power_w::text, load_power_w FROM sungrow_samples WHERE ts = '{sent['ts']}'"
    )
    assert stored(shared_api, query) == [("0", 1e-5)]


def test_a_meter_is_stored_in_its_own_table(shared_api):
    meter = Client(shared_api.url, "meter-token")
    peak = {"monthly_power_peak_w": 3560, "monthly_power_peak_ts": "2026-06-01T19:30:00+02:00"}
    assert meter.post({**METER, **peak}).json["inserted"] == 1
    query = "SELECT power_w, monthly_power_peak_ts FROM p1_samples"
    assert stored(shared_api, query) == [(-543, datetime(2026, 6, 1, 17, 30, tzinfo=UTC))]


def test_one_bad_sample_stores_none_and_every_bad_one_is_named(roof, shared_api):
    before = stored(shared_api, "SELECT count(*) FROM sungrow_samples")
    answer = roof.post(at(300), at(301, pv_power_w=-1), at(302), at(303, ts="yesterday"), 7)
    assert answer.status == 422
    assert all({"loc", "msg", "type"} == entry.keys() for entry in answer.json["detail"])
    assert [entry["loc"][1] for entry in answer.json["detail"]] == [1, 3, 4]
    answer = roof.post(at(300), at(301, pv_power_w=-1), at(302), at(303, ts="yesterday"))
    assert [entry["loc"] for entry in answer.json["detail"]] == [
        ["samples", 1, "pv_power_w"],
        ["samples", 3, "ts"],
    ]
    assert "yesterday" not in answer.text
    assert stored(shared_api, "SELECT count(*) FROM sungrow_samples") == before


def test_a_mismatch_is_named_beside_what_else_is_wrong(shared_api):
    answer = Client(shared_api.url, "meter-token").post(
        {**METER, "tariff": 9}, {**METER, "power_w": 10, "import_power_w": 99}, METER
    )
    assert [entry["loc"] for entry in answer.json["detail"]] == [
        ["samples", 0, "tariff"],
        ["samples", 1, "import_power_w"],
    ]


def test_an_empty_list_is_fine(roof):
    assert roof.post().json == {"inserted": 0, "received": 0, "duplicates": 0}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"samples": {}}',
        b'{"samples": null}',
        b'{"sample": []}',
        b"\xff\xfe",
        b'{"samples": [NaN]}',
        b'{"samples": ' + b"[" * 100_000,
        b'{"samples": [' + b"9" * 5000 + b"]}",
    ],
)
def test_what_is_not_json_of_the_right_form_is_refused_as_a_whole(roof, body):
    answer = roof.ask("POST", "/v1/ingest", body)
    assert answer.status == 422
    assert [entry["loc"] for entry in answer.json["detail"]] == [["body"]]


def test_another_devices_samples_are_refused_before_their_values(roof, shared_api):
    assert roof.post(at(400), at(401, device_id="other")).status == 403
    assert roof.post({"device_id": "other"}).status == 403
    assert Client(shared_api.url, "reader-token").post(at(400)).status == 403
    query = "SELECT count(*) FROM sungrow_samples WHERE ts >= '2026-06-02T00:06:40Z' AND"
    assert stored(shared_api, query + " ts < '2026-06-02T00:06:42Z'") == [(0,)]


@pytest.mark.parametrize("missing", [{}, {"device_id": None}, {"device_id": 7}])
def test_a_sample_without_a_proper_device_is_invalid_not_forbidden(roof, missing):
    sample = {name: value for name, value in at(410).items() if name != "device_id"} | missing
    answer = roof.post(sample)
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["samples", 0, "device_id"]


def test_a_sample_of_the_other_kind_says_what_to_write(roof, shared_api):
    answer = roof.post({**METER, "device_id": "roof"})
    assert answer.status == 422
    assert "this token is for kind sungrow" in answer.text
    assert "token:device:p1 in DEVICE_TOKENS" in answer.text
    answer = Client(shared_api.url, "meter-token").post({**INVERTER, "device_id": "meter"})
    assert answer.status == 422
    assert "this token is for kind p1" in answer.text


def test_gzip_is_taken_and_limited_after_inflation(roof):
    body = json.dumps({"samples": [at(500)]}).encode()
    packed = gzip.compress(body)
    assert roof.ask("POST", "/v1/ingest", packed, Content_Encoding="gzip").json["inserted"] == 1
    bomb = gzip.compress(b" " * 50_000_000)
    assert roof.ask("POST", "/v1/ingest", bomb, Content_Encoding="gzip").status == 413
    for broken in (packed[:-9], b"plain", packed[:20] + b"\0" + packed[21:]):
        answer = roof.ask("POST", "/v1/ingest", broken, Content_Encoding="gzip")
        assert answer.status == 422
        assert answer.json["detail"][0]["loc"] == ["body"]
    assert roof.ask("POST", "/v1/ingest", body, Content_Encoding="br").status == 415


def test_sizes_are_limited_by_count_and_by_bytes(roof):
    assert roof.post(*[at(0)] * 1000).status == 200
    assert roof.post(*[at(0)] * 1001).status == 413
    assert roof.ask("POST", "/v1/ingest", b" " * 1_048_577).status == 413
    assert roof.ask("POST", "/v1/ingest", b" " * 1_048_576).status == 422


def raw(api: Api, request: bytes) -> bytes:
    """The first bytes that come back for the bytes of a request."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(4096)


def test_a_chunked_body_is_refused_and_the_token_comes_first(shared_api):
    chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    head = b"POST /v1/ingest HTTP/1.1\r\nHost: x\r\n"
    login = b"Authorization: Bearer roof-token\r\n"
    assert raw(shared_api, head + login + chunked).startswith(b"HTTP/1.1 411 ")
    assert raw(shared_api, head + chunked).startswith(b"HTTP/1.1 401 ")
    announced = b"Content-Length: 99999999\r\n\r\n"
    assert raw(shared_api, head + announced).startswith(b"HTTP/1.1 401 ")
    # An early answer still reads what the client is sending.
    sent = b"Content-Length: 1048577\r\n\r\n" + b"x" * 1_048_577
    assert raw(shared_api, head + login + sent).startswith(b"HTTP/1.1 413 ")


def test_overlapping_batches_at_the_same_time_lose_and_double_nothing(shared_api):
    batches = [[at(1000 + (7 * n + i) % 60) for i in range(40)] for n in range(8)]
    inserted = []

    def send(batch: list[dict]) -> None:
        inserted.append(Client(shared_api.url).post(*batch).json["inserted"])

    threads = [threading.Thread(target=send, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {sample["ts"] for batch in batches for sample in batch}
    query = "SELECT count(*) FROM sungrow_samples WHERE ts >= '2026-06-02T00:16:40Z'"
    assert stored(shared_api, query) == [(len(expected),)]
    assert sum(inserted) == len(expected)


def test_a_whole_batch_again_changes_nothing(roof, shared_api):
    batch = [at(2000 + second, pv_total_kwh=None) for second in range(60)]
    assert roof.post(*batch).json["inserted"] == 60
    assert roof.post(*reversed(batch)).json == {"inserted": 0, "received": 60, "duplicates": 60}
    changed = [*batch[:-1], {**batch[-1], "pv_total_kwh": 0.1}]
    assert roof.post(*changed).json == {"inserted": 0, "received": 60, "duplicates": 60}
    # As many rows in the same stretch of time, but one of them is another one.
    other = [*batch[:30], at(2030.5), *batch[31:]]
    assert roof.post(*other).json == {"inserted": 1, "received": 60, "duplicates": 59}
    query = "SELECT count(*) FROM sungrow_samples WHERE ts BETWEEN %r AND %r"
    assert stored(shared_api, query % (batch[0]["ts"], batch[-1]["ts"])) == [(61,)]
