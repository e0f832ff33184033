"""What Prometheus would scrape, over several workers, deaths and outages."""

import json
import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import psycopg2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.shared.samples import format_time
from tests.support.client import INVERTER, METER, Client
from tests.support.servers import Api, Postgres, wait_until
from tests.support.servers.process import free_port

pytestmark = pytest.mark.slow

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(api: Api) -> Values:
    """Every sample of one scrape, by its name and labels."""
    answer = Client(api.url, None).get("/metrics")
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(answer.text)
        for one in family.samples
    }


def value(values: Values, name: str, **labels: str) -> float | None:
    """One value of a scrape."""
    return values.get((f"sunspool_{name}", tuple(sorted(labels.items()))))


@pytest.fixture
def api(settings: dict[str, str], tmp_path: Path):
    """An API of two workers."""
    with Api(tmp_path, settings) as api:
        yield api


def test_what_devices_say(api: Api, settings: dict[str, str]) -> None:
    roof, meter = Client(api.url), Client(api.url, "meter-token")
    now = datetime.now(UTC)
    recent = {**INVERTER, "ts": format_time(now - timedelta(seconds=20)), "battery_soc_pct": None}
    assert roof.post(recent, {**INVERTER, "device_id": "roof"}).status == 200
    assert roof.post(recent).json["duplicates"] == 1
    assert roof.post({**INVERTER, "pv_power_w": None}).status == 422
    assert meter.post(METER).status == 200
    report = b'{"samples": [], "agent": {"spool_count": 17}}'
    assert meter.ask("POST", "/v1/ingest", report).status == 200
    with psycopg2.connect(settings["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO alerts (device_id, rule, since_ts, opened_ts, closed_ts) VALUES"
            " ('roof', 'fault', now(), now(), NULL), ('roof', 'silence', now(), now(), now()),"
            " ('meter', 'peak', now(), NULL, NULL), ('nobody', 'fault', now(), now(), NULL)"
        )
    connection.close()
    values = scrape(api)
    opened = {labels for name, labels in values if name == "sunspool_alert_open"}
    assert opened == {(("device", "roof"), ("rule", "fault"))}
    assert value(values, "alert_open", device="roof", rule="fault") == 1
    assert value(values, "samples_total", device="roof", result="inserted") == 2
    assert value(values, "samples_total", device="roof", result="duplicate") == 1
    assert value(values, "samples_total", device="roof", result="rejected") == 1
    assert value(values, "power_watts", device="roof", kind="pv") == 4415
    assert value(values, "power_watts", device="roof", kind="battery") == 1620
    assert value(values, "battery_charge_ratio", device="roof") is None
    assert 20 <= value(values, "sample_age_seconds", device="roof") < 60
    # An old sample has an age, but its power is not that of now.
    assert value(values, "sample_age_seconds", device="meter") > 3600
    assert value(values, "power_watts", device="meter", kind="import") is None
    assert value(values, "sample_age_seconds", device="other") is None
    assert value(values, "agent_spool_samples", device="meter") == 17
    assert value(values, "database_up") == value(values, "redis_up") == 1


def requests_of(values: Values, route: str) -> dict[str, float]:
    """Counts of requests of a route, by status."""
    return {
        dict(labels)["status"]: count
        for (name, labels), count in values.items()
        if name == "sunspool_http_requests_total" and dict(labels)["route"] == route
    }


def test_all_workers_are_counted_together_and_no_death_loses_a_count(api: Api) -> None:
    client = Client(api.url)
    for _ in range(40):
        assert client.get("/v1/devices").status == 200
    for victim in api.worker_pids():
        os.kill(victim, signal.SIGKILL)
        _wait_for_workers(api, victim)
    for _ in range(20):
        assert client.get("/v1/devices").status == 200
    client.get("/v1/capacity/month/2026-06?device_id=roof")
    client.get("/v1/nothing-of-the-kind?token=secret")
    client.get("/another-unknown-path")
    values = scrape(api)
    assert requests_of(values, "/v1/devices") == {"200": 60}
    assert requests_of(values, "/v1/capacity/month/<month>") == {"404": 1}
    assert requests_of(values, "other")["404"] == 2
    took = value(values, "http_request_duration_seconds_count", route="/v1/devices")
    assert took == 60
    assert not any("secret" in str(labels) for _, labels in values)


def _wait_for_workers(api: Api, victim: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pids = api.worker_pids()
        if victim not in pids and len(pids) == 2 and api.ready():
            return
        time.sleep(0.05)
    raise AssertionError("no new worker came")


def test_the_files_stay_few_and_go_with_the_server(
    settings: dict[str, str], tmp_path: Path
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    with Api(tmp_path / "api", {**settings, "RUNTIME_DIRECTORY": str(runtime)}) as api:
        Client(api.url).get("/v1/devices")
        for _ in range(3):
            victim = api.worker_pids()[0]
            os.kill(victim, signal.SIGKILL)
            _wait_for_workers(api, victim)
            Client(api.url).get("/v1/devices")
        assert requests_of(scrape(api), "/v1/devices")["200"] == 4
        assert len(list((runtime / "metrics").iterdir())) <= 4
    assert list(runtime.iterdir()) == []


def test_a_frozen_database_makes_no_scrape_slow(
    settings: dict[str, str], postgres: Postgres, tmp_path: Path
) -> None:
    with Api(tmp_path, settings, workers=1) as api:
        assert Client(api.url).post(INVERTER).status == 200
        before = scrape(api)
        assert value(before, "database_up") == 1
        postgres.pause()
        try:
            time.sleep(5.1)  # what was asked lately is not asked again
            began = time.monotonic()
            frozen = scrape(api)
            assert time.monotonic() - began < 2
        finally:
            postgres.resume()
        assert value(frozen, "sample_age_seconds", device="roof") > 3600
        deadline = time.monotonic() + 30
        while value(scrape(api), "database_up") != 1:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_promtool_has_nothing_to_say(api: Api) -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not here: apt-get install prometheus")
    Client(api.url).post(INVERTER)
    text = Client(api.url, None).get("/metrics").text
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_prometheus_scrapes_it(api: Api, tmp_path: Path) -> None:
    """The real one, which understands every line and asks again and again."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not here: apt-get install prometheus")
    now = datetime.now(UTC)
    assert Client(api.url).post({**INVERTER, "ts": format_time(now)}).status == 200
    target = {"job_name": "sunspool", "static_configs": [{"targets": [f"127.0.0.1:{api.port}"]}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # which is YAML too
    port = free_port()
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=tmp_path, stderr=log
        )
    try:
        wait_until(lambda: _asked(port, "scrape_samples_scraped"), 30, "the first scrape")
        [up] = _asked(port, "up")
        assert up["value"][1] == "1"
        [pv] = _asked(port, 'sunspool_power_watts{device="roof",kind="pv"}')
        assert float(pv["value"][1]) == 4415
        [stored] = _asked(port, 'sunspool_samples_total{result="inserted"}')
        assert (stored["metric"]["device"], stored["value"][1]) == ("roof", "1")
    finally:
        process.terminate()
        process.wait(timeout=20)


def _asked(port: int, query: str) -> list[dict[str, Any]]:
    """What Prometheus knows, once it answers."""
    url = f"http://127.0.0.1:{port}/api/v1/query?query={quote(query)}"
    try:
        with urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]["result"]
    except (URLError, ConnectionError):
        return []
