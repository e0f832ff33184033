"""Who may ask, what the latest sample looks like, and how errors look."""

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.shared.samples import P1, SUNGROW, format_time
from tests.support.client import INVERTER, METER, Client

ROUTES = [
    "/v1/realtime?device_id=roof",
    "/v1/series?device_id=roof&frame=day",
    "/v1/capacity/month/2026-06?device_id=meter",
    "/v1/capacity/now?device_id=meter",
    "/v1/capacity/year?device_id=meter",
    "/v1/cost?device_id=meter&frame=month",
    "/v1/daily-energy?device_id=meter",
]


@pytest.mark.parametrize("path", [*ROUTES, "/v1/ingest", "/v1/nothing"])
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic roof-token", "Bearer wrong", "Bearer \xe9\xff"]
)
def test_without_a_valid_token_there_is_nothing(shared_api, path, header):
    headers = {} if header is None else {"Authorization": header}
    answer = Client(shared_api.url, token=None).get(path, **headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert isinstance(answer.json["detail"], str)
    assert "wrong" not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_taken_in_any_case_and_each_token_of_a_device_works(shared_api, scheme):
    for token in ("roof-token", "spare-token"):
        client = Client(shared_api.url, token=None)
        answer = client.post(INVERTER, Authorization=f"{scheme} {token}")
        assert answer.status == 200


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("device", ["other", "unknown", "ROOF", "roof%00", "' OR 1=1 --", "%ff"])
def test_no_other_device_is_shown_nor_its_existence(shared_api, path, device):
    reader = Client(shared_api.url, "reader-token")
    answer = reader.get(
        path.split("device_id=")[0].rstrip("?&")
        + "?frame=day&device_id="
        + device.replace(" ", "+")
    )
    assert answer.status == 403
    assert answer.json == reader.get("/v1/realtime?device_id=nobody").json


@pytest.mark.parametrize("path", ROUTES)
def test_a_read_without_a_device_is_refused(roof, path):
    answer = roof.get(path.split("?")[0])
    assert answer.status == 422
    assert isinstance(answer.json["detail"], str)


def test_the_newest_sample_has_every_field_and_an_age(shared_api, roof):
    now = datetime.now(UTC).replace(microsecond=0)
    newest = {**INVERTER, "ts": format_time(now), "pv_total_kwh": 7758.12345678}
    older = {**INVERTER, "ts": format_time(now - timedelta(minutes=1)), "pv_power_w": 1.0}
    assert roof.post(older, newest).status == 200
    first, cached = (roof.get("/v1/realtime?device_id=roof").json for _ in range(2))
    assert 0 <= first.pop("age_s") <= cached.pop("age_s") < 30
    assert first == cached
    assert tuple(first) == SUNGROW.columns
    assert first["ts"] == format_time(now)
    assert first["pv_total_kwh"] == 7758.123457
    assert first["battery_temp_c"] is None
    reader = Client(shared_api.url, "reader-token").get("/v1/realtime?device_id=roof")
    assert reader.json["ts"] == format_time(now)


def test_a_newer_sample_is_seen_at_once_and_a_late_one_never(shared_api):
    meter = Client(shared_api.url, "meter-token")
    now = datetime.now(UTC)

    def power(seconds_ago: float, watts: int) -> int:
        ts = format_time(now - timedelta(seconds=seconds_ago))
        meter.post({**METER, "ts": ts, "power_w": watts, "import_power_w": watts})
        return meter.get("/v1/realtime?device_id=meter").json["power_w"]

    assert power(30, 100) == 100
    assert power(20, 200) == 200
    assert power(3600, 300) == 200
    assert power(10.25, 400) == 400
    answer = meter.get("/v1/realtime?device_id=meter").json
    assert set(answer) == {*P1.columns, "age_s"}
    assert datetime.fromisoformat(answer["ts"]) == now - timedelta(seconds=10.25)


def test_a_device_that_sent_nothing_is_not_found(shared_api):
    assert Client(shared_api.url, "other-token").get("/v1/realtime?device_id=other").status == 404


def test_meters_have_routes_that_inverters_have_not(roof):
    for path in ("capacity/month/2026-06", "capacity/now", "capacity/year", "daily-energy", "cost"):
        assert roof.get(f"/v1/{path}?device_id=roof&frame=month").status == 404


@pytest.mark.parametrize(
    "month", ["2026", "2026-00", "2026-13", "2026-6", "0000-01", "x", "2026-06-01"]
)
def test_a_month_that_does_not_exist_is_refused(shared_api, month):
    answer = Client(shared_api.url, "meter-token").get(
        f"/v1/capacity/month/{month}?device_id=meter"
    )
    assert answer.status == 400
    assert isinstance(answer.json["detail"], str)


@pytest.mark.parametrize(
    "path",
    [
        "capacity/year?until=2026-13",
        "capacity/year?until=2026",
        "capacity/year?until=0001-05",
        "capacity/year?until=",
        "cost?",
        "cost?frame=day",
        "cost?frame=week&date=2026-01-01",
        "cost?frame=month&date=2026",
        "cost?frame=month&date=2026-00",
        "cost?frame=year&date=2026-01",
        "cost?frame=year&date=",
    ],
)
def test_a_period_that_peaks_and_costs_do_not_have_is_refused(shared_api, path):
    answer = Client(shared_api.url, "meter-token").get(f"/v1/{path}&device_id=meter")
    assert answer.status == 400
    assert isinstance(answer.json["detail"], str)


def test_the_running_quarter_and_its_cost_are_told_as_they_are(shared_api):
    """Over HTTP; a quarter that ends meanwhile is asked again."""
    meter = Client(shared_api.url, "meter-token")
    for _ in range(2):
        now = datetime.now(UTC)
        meter.post({**METER, "ts": format_time(now), "power_w": 3100, "import_power_w": 3100})
        answer = meter.get("/v1/capacity/now?device_id=meter")
        if answer.status == 200:
            break
    assert answer.json["ts"] == format_time(now)
    assert 0 < answer.json["power_w"] <= 3100
    assert set(answer.json) == {
        "device_id", "ts", "quarter_start", "quarter_end", "elapsed_s", "average_w", "power_w",
        "projected_w", "month_peak_w", "month_peak_source", "limit_w", "headroom_w", "new_peak",
    }  # fmt: skip
    year = meter.get("/v1/capacity/year?device_id=meter&until=2035-03").json
    assert [one["month"] for one in year["months"]][::11] == ["2034-04", "2035-03"]
    (month,) = meter.get("/v1/cost?device_id=meter&frame=month").json["months"]
    assert month["missing"]
    assert (month["grid_eur"], month["total_eur"], month["complete"]) == (None, None, False)


@pytest.mark.parametrize("month", ["0001-01", "2019-12", "2035-01", "9999-12"])
def test_a_month_without_samples_has_no_peaks(shared_api, month):
    answer = Client(shared_api.url, "meter-token").get(
        f"/v1/capacity/month/{month}?device_id=meter"
    )
    assert answer.json == {
        "month": month,
        "device_id": "meter",
        "peaks": [],
        "monthly_peak_w": None,
        "monthly_peak_ts": None,
        "monthly_peak_coverage": None,
        "official_peak_w": None,
        "official_peak_ts": None,
        "register_peak_w": None,
        "register_peak_ts": None,
        "billed_peak_w": None,
        "billed_peak_source": None,
    }


def test_methods_and_paths_that_do_not_exist_say_so_in_json(roof):
    wrong = roof.get("/v1/ingest")
    assert wrong.status == 405
    assert "POST" in wrong.headers["Allow"]
    assert roof.ask("DELETE", "/v1/realtime?device_id=roof").status == 405
    for path in ("/v1/nothing", "/nothing", "/v1/", "/v1/realtime/"):
        answer = roof.get(path)
        assert answer.status == 404, path
        assert set(answer.json) == {"detail"}


def test_other_methods_need_the_token_too_and_are_never_answered_by_a_page(roof, shared_api):
    path = "/v1/realtime?device_id=roof"
    roof.post({**INVERTER, "ts": format_time(datetime.now(UTC))})
    assert (roof.ask("HEAD", path).status, roof.ask("HEAD", path).text) == (200, "")
    options = roof.ask("OPTIONS", path)
    assert options.status == 200
    assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert options.headers["Content-Type"] == "application/json"
    for method in ("HEAD", "OPTIONS", "DELETE"):
        assert Client(shared_api.url, token=None).ask(method, path).status == 401


def test_the_service_names_itself_without_a_token(shared_api):
    anyone = Client(shared_api.url, token=None)
    root, health = anyone.get("/"), anyone.get("/health")
    assert root.json["status"] == "ok"
    assert root.json["service"] == health.json["service"] == "sunspool"
    assert health.status == 200
    assert [health.json[part] for part in ("status", "db", "redis", "schema")] == ["ok"] * 4


def test_only_configured_origins_may_read_from_a_browser(roof, shared_api):
    path = "/v1/realtime?device_id=roof"
    asked = {"Access_Control_Request_Method": "GET"}
    anyone = Client(shared_api.url, token=None)
    allowed = anyone.ask("OPTIONS", path, Origin="https://app.example", **asked)
    assert allowed.status in (200, 204)
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert allowed.headers["Access-Control-Allow-Methods"] == "GET"
    for origin in ("https://evil.example", "https://app.example.evil", "null"):
        refused = anyone.ask("OPTIONS", path, Origin=origin, **asked)
        assert refused.headers["Access-Control-Allow-Origin"] is None
        assert roof.get(path, Origin=origin).headers["Access-Control-Allow-Origin"] is None
    posted = roof.post(Origin="https://app.example")
    assert (posted.status, posted.headers["Access-Control-Allow-Origin"]) == (200, None)
    read = roof.get(path, Origin="https://app.example")
    assert read.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert read.headers["Vary"] == "Origin"
