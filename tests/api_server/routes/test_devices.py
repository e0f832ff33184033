"""What the server knows of devices: newest samples, sites, and the reports of their agents."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
import redis as redis_client
from flask import Flask

from api_server import create_app
from edge_agent.shared.samples import format_time, parse_time
from tests.support.client import INVERTER, METER

pytestmark = pytest.mark.slow

TOKENS = "a:roof,b:shed,c:meter:p1,d:a-home-1"
READERS = "all:roof+shed+meter+a-home-1,part:roof+meter"
REPORT = {
    "version": "1.1.0",
    "poll_interval_s": 10,
    "uptime_s": 86.5,
    "spool_count": 12,
    "oldest_ts": "2026-11-20T10:00:00Z",
    "set_aside_count": 1,
    "thinned": 2,
    "dropped": 3,
    "lost": 4,
    "clock_warning": "the clock is wrong",
    "last_error": "no route to host",
}
UNKNOWN = dict.fromkeys(REPORT)


class Server:
    """An API in this process, and what its database holds."""

    def __init__(self, environ: dict[str, str]):
        self.environ = environ
        self.app: Flask = create_app(environ)

    def post(self, token: str, samples: list[dict], **body: Any) -> dict[str, int]:
        """The counts of an ingest, which must succeed."""
        answer = self.app.test_client().post(
            "/v1/ingest",
            json={"samples": samples, **body},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 200, answer.json
        return answer.json

    def devices(self, token: str = "all") -> dict[str, Any]:
        """The answer about devices, each by its id."""
        answer = self.app.test_client().get(
            "/v1/devices", headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 200
        return answer.json

    def agent(self, device_id: str) -> dict[str, Any] | None:
        """The report of a device as it is answered, without when it came."""
        [device] = [one for one in self.devices()["devices"] if one["device_id"] == device_id]
        agent = device["agent"]
        if agent:
            age = datetime.now(UTC) - parse_time(agent.pop("reported_ts"))
            assert timedelta(0) <= age < timedelta(seconds=20)
        return agent

    def query(self, sql: str) -> list[tuple]:
        """Rows of its database."""
        with psycopg2.connect(self.environ["DATABASE_URL"]) as conn, conn.cursor() as cursor:
            cursor.execute(sql)
            rows = cursor.fetchall() if cursor.description else []
        conn.close()
        return rows

    def forget_the_last_minute(self) -> None:
        """Let the process, the table and Redis know only what was reported an hour ago."""
        self.query("UPDATE agents SET reported_ts = reported_ts - interval '1 hour'")
        self.app = create_app(self.environ)


@pytest.fixture
def server(settings: dict[str, str]) -> Server:
    """An API with four devices, three of them in a site."""
    with redis_client.Redis.from_url(settings["REDIS_URL"]) as direct:
        direct.flushall()
    return Server(
        {
            **settings,
            "DEVICE_TOKENS": TOKENS,
            "READ_TOKENS": READERS,
            "SITES": "villa:roof+meter+shed",
        }
    )


def at(seconds: float, base: dict = INVERTER, **fields: Any) -> dict:
    """A sample so many seconds from now."""
    return {**base, "ts": format_time(datetime.now(UTC) + timedelta(seconds=seconds)), **fields}


def test_every_device_that_may_be_read_is_listed(server):
    sample = at(-90)
    server.post("a", [at(-3600), sample])
    server.post("c", [at(-5, METER)])
    answer = server.devices()
    roof = answer["devices"][2]
    assert [device["device_id"] for device in answer["devices"]] == [
        "a-home-1",
        "meter",
        "roof",
        "shed",
    ]
    assert 90 <= roof.pop("age_s") < 100
    assert roof == {
        "device_id": "roof",
        "kind": "sungrow",
        "site": "villa",
        "newest_ts": sample["ts"],
        "agent": None,
    }
    assert (answer["devices"][1]["kind"], answer["devices"][1]["site"]) == ("p1", "villa")
    assert answer["devices"][0] == {
        "device_id": "a-home-1",
        "kind": "sungrow",
        "site": None,
        "newest_ts": None,
        "age_s": None,
        "agent": None,
    }
    assert answer["sites"] == [{"site": "villa", "meter": "meter", "inverters": ["roof", "shed"]}]


@pytest.mark.parametrize(
    ("token", "device_ids"), [("part", ["meter", "roof"]), ("a", ["roof"]), ("d", ["a-home-1"])]
)
def test_nobody_sees_what_he_may_not_read(server, token, device_ids):
    server.post("b", [{**at(-5), "device_id": "shed"}])
    answer = server.devices(token)
    assert [device["device_id"] for device in answer["devices"]] == device_ids
    assert answer["sites"] == []
    assert "shed" not in json.dumps(answer)


@pytest.mark.parametrize("days", [0.5, 3, 45, 400])
def test_the_newest_sample_is_found_however_old_it_is(server, days):
    server.post("a", [at(-days * 86_400 - 60), newest := at(-days * 86_400)])
    assert server.devices("a")["devices"][0]["newest_ts"] == newest["ts"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [((240, 0), 0), ((240, 30, -7), -7), ((299, -90), -90), ((240, 30), 240)]
)
def test_a_sample_ahead_of_the_clock_is_never_younger_than_now(server, seconds, shown):
    """The newest that is not ahead of the clock is shown; else the newest, of this moment."""
    server.post("c", [at(one, METER, power_w=-abs(one)) for one in seconds])
    headers = {"Authorization": "Bearer c"}
    for _ in ("from the database", "from Redis"):
        answer = server.app.test_client().get("/v1/realtime?device_id=meter", headers=headers).json
        assert answer["power_w"] == -abs(shown)
        assert max(-shown, 0) <= answer["age_s"] < max(-shown, 0) + 10
    device = server.devices("c")["devices"][0]
    assert device["newest_ts"] == answer["ts"]
    assert max(-shown, 0) <= device["age_s"] < max(-shown, 0) + 10


def test_the_last_report_is_told_as_it_came(server):
    server.post("a", [at(-5)], agent=REPORT)
    assert server.agent("roof") == {**REPORT, "peaks": None}
    server.post("a", [], agent={"spool_count": 0, "unheard_of": 1})
    assert server.agent("roof") == {**UNKNOWN, "spool_count": 0, "peaks": None}
    server.post("a", [at(-1)])
    assert server.agent("roof") == {**UNKNOWN, "spool_count": 0, "peaks": None}
    assert server.agent("shed") is None


@pytest.mark.parametrize(
    "agent",
    [
        None,
        "all is well",
        7,
        [],
        [REPORT],
        {},
        {"peaks": 1},
        {"peaks": [None, 1, {}, {"month": 1, "w": 1}, {"month": "2026-13", "w": 1}]},
        {"version": 1, "clock_warning": [], "last_error": {}, "oldest_ts": "yesterday"},
        {"poll_interval_s": 0, "uptime_s": -1, "spool_count": "many", "thinned": True},
        {"poll_interval_s": 1e-9, "uptime_s": 10**400, "dropped": {}, "lost": [1]},
        {"poll_interval_s": 1e300, "oldest_ts": "0001-01-01T00:00:00+23:59"},
        {"oldest_ts": "9999-12-31T23:59:59Z"},
    ],
)
def test_a_wrong_report_costs_no_sample_and_is_unknown(server, agent):
    assert server.post("a", [at(-5)], agent=agent)["inserted"] == 1
    told = server.agent("roof")
    assert told in (None, {**UNKNOWN, "peaks": None})
    assert (told is not None) == isinstance(agent, dict)


def test_of_a_report_that_is_partly_wrong_the_rest_is_kept(server):
    wrong = {**REPORT, "spool_count": -1, "version": None, "last_error": "a\0b\ud800c\n" * 500}
    server.post("a", [at(-5)], agent=wrong)
    told = server.agent("roof")
    assert told.pop("last_error") == ("a b c " * 100)[:500]
    assert told.items() >= {
        **REPORT,
        "spool_count": None,
        "version": None,
        "peaks": None,
    }.items() - {("last_error", REPORT["last_error"])}
    server.forget_the_last_minute()
    server.post("a", [], agent=wrong)
    assert server.query("SELECT report->>'lost' FROM agents") == [("4",)]


def test_reports_cost_one_write_a_minute(server):
    """Also of two processes, and however much changes; what is told is the last one anyway."""
    other = Server(server.environ)
    for number in range(20):
        for process in (server, other):
            process.post("a", [], agent={**REPORT, "spool_count": number})
    [(_, ctid, count)] = server.query("SELECT device_id, ctid, report->'spool_count' FROM agents")
    assert (ctid, count) == ("(0,1)", 0)  # the first version of the row
    assert server.agent("roof")["spool_count"] == 19
    server.forget_the_last_minute()
    server.post("a", [], agent={**REPORT, "spool_count": 20})
    assert server.query("SELECT report->'spool_count' FROM agents") == [(20,)]


def month(ago: int) -> str:
    """The name of the month so many before this one."""
    now = datetime.now(UTC)
    number = now.year * 12 + now.month - 1 - ago
    return f"{number // 12}-{number % 12 + 1:02}"


def test_peaks_are_merged_by_month_at_once_and_kept_for_24_months(server):
    def peak(ago: int, watts: float) -> dict[str, Any]:
        return {"month": month(ago), "w": watts, "ts": f"{month(ago)}-09T10:15:00Z"}

    old = [peak(ago, 1000 + ago) for ago in range(1, 14)]
    server.post("c", [], agent={"peaks": old})
    assert server.agent("meter")["peaks"] == old[::-1]
    server.post("c", [], agent=REPORT)
    assert server.agent("meter") == {**REPORT, "peaks": old[::-1]}
    new = [peak(0, 4928), peak(1, 5000), peak(23, 23), peak(24, 24), peak(-2, 2), peak(3, -1)]
    server.post("c", [], agent={"peaks": new, "spool_count": 1})
    merged = [peak(23, 23), *old[:0:-1], peak(1, 5000), peak(0, 4928)]
    assert server.agent("meter") == {**UNKNOWN, "spool_count": 1, "peaks": merged}
    server.forget_the_last_minute()
    server.post("c", [], agent={"peaks": [{"month": month(0), "w": 5001, "ts": "soon"}]})
    assert server.agent("meter")["peaks"][-1] == {"month": month(0), "w": 5001, "ts": None}
    far = {"month": month(0), "w": 5002, "ts": "9999-12-31T23:59:59Z"}
    server.post("c", [], agent={"peaks": [far]})
    assert server.agent("meter")["peaks"][-1] == {**far, "ts": None}
    assert len(server.agent("meter")["peaks"]) == 15


def test_without_redis_the_last_report_is_told_by_every_process(server):
    alone, other = (Server({**server.environ, "REDIS_URL": "redis://127.0.0.1:1"}) for _ in "12")
    peaks = [{"month": month(1), "w": 3000, "ts": None}]
    alone.post("a", [], agent={**REPORT, "peaks": peaks})
    other.post("a", [], agent=REPORT)
    alone.post("a", [], agent={**REPORT, "spool_count": 99})
    assert other.agent("roof") == {**REPORT, "spool_count": 99, "peaks": peaks}


def test_peaks_are_the_last_that_were_told_to_any_process(server):
    """A report without them changes nothing, whatever its process was told before."""
    alone, other = (Server({**server.environ, "REDIS_URL": "redis://127.0.0.1:1"}) for _ in "12")
    old, new = ([{"month": month(1), "w": watts, "ts": None}] for watts in (3000, 4000))
    alone.post("a", [], agent={"peaks": old})
    other.post("a", [], agent={"peaks": new})
    alone.post("a", [], agent={"spool_count": 1})
    assert server.agent("roof")["peaks"] == new
    with closing(psycopg2.connect(server.environ["DATABASE_URL"])) as blocker:
        blocker.cursor().execute("LOCK TABLE agents")
        alone.post("a", [], agent={"peaks": old})
    alone.post("a", [], agent={"spool_count": 2})  # also what could not be written at once
    assert server.agent("roof")["peaks"] == old


def test_a_table_that_can_not_be_written_costs_no_sample(server):
    blocker = psycopg2.connect(server.environ["DATABASE_URL"])
    try:
        blocker.cursor().execute("LOCK TABLE agents")
        start = datetime.now(UTC)
        assert server.post("a", [at(-5)], agent=REPORT)["inserted"] == 1
        assert server.post("a", [at(-4)], agent=REPORT)["inserted"] == 1
        assert datetime.now(UTC) - start < timedelta(seconds=4)
    finally:
        blocker.close()
    assert server.query("SELECT count(*) FROM sungrow_samples") == [(2,)]
    assert server.agent("roof") == {**REPORT, "peaks": None}


def test_a_sample_older_than_is_kept_stores_none(server):
    keeping = Server({**server.environ, "KEEP_SAMPLES_DAYS": "40"})
    answer = keeping.app.test_client().post(
        "/v1/ingest",
        json={"samples": [at(-5), at(-41 * 86_400)]},
        headers={"Authorization": "Bearer a"},
    )
    assert answer.status_code == 422
    [detail] = answer.json["detail"]
    assert detail["loc"] == ["samples", 1, "ts"]
    assert "older samples are not kept" in detail["msg"]
    assert server.query("SELECT count(*) FROM sungrow_samples") == [(0,)]
    keeping.post("a", [at(-5), at(-39 * 86_400)])
    server.post("a", [at(-41 * 86_400)])
    assert server.query("SELECT count(*) FROM sungrow_samples") == [(3,)]
