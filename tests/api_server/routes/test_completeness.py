"""How complete a local day is: gaps by the letter, at its edges, on days of 23 and 25 hours."""

import random
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest
from psycopg2.extras import execute_values

from api_server import create_app
from edge_agent.shared.samples import format_time
from tests.support.client import TOKENS

pytestmark = pytest.mark.slow

ZONE = ZoneInfo("Europe/Brussels")
DAY = date(2026, 6, 10)
NOTHING = {
    "sample_count": 0,
    "expected_count": 0,
    "covered_s": 0,
    "missing_s": 0,
    "gaps": [],
}


class Server:
    """An API in this process on a database that is filled by its rows."""

    def __init__(self, settings: dict[str, str]):
        self.url = settings["DATABASE_URL"]
        self.app = create_app({**settings, "REDIS_URL": "redis://127.0.0.1:1"})

    def fill(self, *times: datetime, kind: str = "sungrow") -> None:
        """Store a sample at each of these times."""
        names, values = {
            "sungrow": ("device_id, ts, pv_power_w", "('roof', %s, 1)"),
            "p1": ("device_id, ts, power_w, import_power_w", "('meter', %s, 1, 1)"),
        }[kind]
        with psycopg2.connect(self.url) as conn, conn.cursor() as cursor:
            query = f"INSERT INTO {kind}_samples ({names}) VALUES %s"
            execute_values(cursor, query, [(one,) for one in times], values, page_size=10_000)
        conn.close()

    def report(self, **report: Any) -> None:
        """Let the agent of the inverter report."""
        body = {"samples": [], "agent": report}
        headers = {"Authorization": "Bearer roof-token"}
        assert self.app.test_client().post("/v1/ingest", json=body, headers=headers).json

    def ask(self, day: date | str | None, token: str = "roof", status: int = 200) -> dict[str, Any]:
        """The answer for a day."""
        query = f"device_id={token}" + (f"&date={day}" if day else "")
        answer = self.app.test_client().get(
            f"/v1/completeness?{query}", headers={"Authorization": f"Bearer {token}-token"}
        )
        assert answer.status_code == status, answer.json
        return answer.json

    def numbers(self, day: date | None, token: str = "roof") -> dict[str, Any]:
        """What is counted of a day."""
        return {name: value for name, value in self.ask(day, token).items() if name in NOTHING}


@pytest.fixture
def server(settings: dict[str, str]) -> Server:
    """On an empty database."""
    return Server({**settings, "DEVICE_TOKENS": TOKENS})


def midnight(day: date) -> datetime:
    """When a local day begins."""
    return datetime.combine(day, time(), ZONE).astimezone(UTC)


def every(step_s: float, start: datetime, end: datetime) -> list[datetime]:
    """Times from start, inclusive, to end, exclusive."""
    return [
        start + timedelta(seconds=number * step_s)
        for number in range(int(-(-(end - start).total_seconds() // step_s)))
    ]


def local(start: datetime) -> str:
    """As the answer prints it."""
    return start.astimezone(ZONE).isoformat()


@pytest.fixture
def since_spring(server: Server) -> Server:
    """A device whose first sample came long before the day."""
    server.fill(midnight(DAY) - timedelta(days=90))
    return server


def test_a_day_without_a_gap(since_spring):
    since_spring.fill(*every(5, midnight(DAY), midnight(DAY + timedelta(days=1))))
    assert since_spring.ask(DAY) == {
        "device_id": "roof",
        "date": "2026-06-10",
        "timezone": "Europe/Brussels",
        "interval_s": 5,
        "sample_count": 17_280,
        "expected_count": 17_280,
        "covered_s": 86_400,
        "missing_s": 0,
        "gaps": [],
        "agent": None,
    }


@pytest.mark.parametrize(
    ("seconds", "missing"), [(15, None), (15.000001, 10.000001), (16, 11), (3600, 3595)]
)
def test_a_gap_is_more_than_three_intervals(since_spring, seconds, missing):
    start, end = midnight(DAY), midnight(DAY + timedelta(days=1))
    hole = start + timedelta(hours=9)
    after = hole + timedelta(seconds=seconds)
    since_spring.fill(*every(5, start, hole), hole, *every(5, after, end))
    told = since_spring.ask(DAY)
    gap = {"from": local(hole), "to": local(after), "missing_s": missing}
    assert told["gaps"] == ([gap] if missing else [])
    assert told["missing_s"] == (missing or 0)
    assert told["covered_s"] == pytest.approx(86_400 - (missing or 0), abs=1e-6)


def test_the_edges_of_the_day_are_neighbours(since_spring):
    start, end = midnight(DAY), midnight(DAY + timedelta(days=1))
    first, last = start + timedelta(seconds=16), end - timedelta(hours=2)
    since_spring.fill(*every(5, first, last), last)
    told = since_spring.ask(DAY)
    assert told["gaps"] == [
        {"from": local(start), "to": local(first), "missing_s": 11},
        {"from": local(last), "to": local(end), "missing_s": 7195},
    ]
    assert told["covered_s"] == 86_400 - 11 - 7195


def test_a_day_without_a_sample_is_one_gap_after_the_first_ever_and_nothing_before(server):
    server.fill(midnight(DAY) + timedelta(hours=15), midnight(DAY + timedelta(days=9)))
    empty = DAY + timedelta(days=3)
    told = server.ask(empty)
    assert told["gaps"] == [
        {
            "from": "2026-06-13T00:00:00+02:00",
            "to": "2026-06-14T00:00:00+02:00",
            "missing_s": 86_395,
        }
    ]
    assert (told["expected_count"], told["sample_count"], told["covered_s"]) == (17_280, 0, 5)
    assert server.numbers(DAY - timedelta(days=1)) == NOTHING
    assert server.numbers(datetime.now(ZONE).date() + timedelta(days=1)) == NOTHING
    assert server.numbers(DAY, "meter") == NOTHING
    assert server.numbers(date(1, 1, 1)) == server.numbers(date(9999, 12, 31)) == NOTHING


def test_the_day_of_the_first_sample_ever_begins_with_it(server):
    end = midnight(DAY + timedelta(days=1))
    server.fill(*every(5, end - timedelta(hours=2, seconds=3), end))
    assert server.numbers(DAY) == {
        "sample_count": 1441,
        "expected_count": 1440,
        "covered_s": 7203,
        "missing_s": 0,
        "gaps": [],
    }


@pytest.mark.parametrize(
    ("day", "hours", "night"),
    [
        (date(2026, 3, 29), 23, ("03:00:00+02:00", "04:00:00+02:00")),
        (date(2025, 10, 26), 25, ("02:00:00+02:00", "02:00:00+01:00")),
    ],
)
def test_days_on_which_the_clock_changes(server, day, hours, night):
    """An hour without samples around the change is an hour, whatever the clock shows."""
    start, end = midnight(day), midnight(day + timedelta(days=1))
    begin = start + timedelta(hours=2)
    after = begin + timedelta(hours=1)
    server.fill(start - timedelta(days=1), *every(5, start, begin), begin, *every(5, after, end))
    told = server.ask(day)
    assert told["gaps"] == [
        {"from": f"{day}T{night[0]}", "to": f"{day}T{night[1]}", "missing_s": 3595}
    ]
    assert told["expected_count"] == hours * 720
    assert told["covered_s"] == hours * 3600 - 3595


def test_today_ends_now(server):
    now = datetime.now(UTC)
    start = midnight(now.astimezone(ZONE).date())
    quiet = now - timedelta(seconds=40)
    server.fill(start - timedelta(days=1), *every(5, start, quiet), quiet)
    server.fill(now + timedelta(minutes=4))  # ahead of the clock: not yet
    told = server.ask(None)
    assert told["date"] == f"{now.astimezone(ZONE):%Y-%m-%d}"
    length = (now - start).total_seconds()
    assert length <= told["covered_s"] + told["missing_s"] < length + 10
    assert told["expected_count"] in (int(length // 5), int(length // 5) + 1)
    [gap] = [gap for gap in told["gaps"] if gap["from"] == local(quiet)]
    assert 35 <= gap["missing_s"] < 45
    assert datetime.fromisoformat(gap["to"]) < now + timedelta(seconds=10)


@pytest.mark.parametrize(
    ("interval_s", "expected", "gaps"), [(20, 4320, 0), (7.5, 11_520, 0), (6.5, 13_292, 4320)]
)
def test_the_interval_is_the_reported_one_and_else_the_kinds(
    since_spring, interval_s, expected, gaps
):
    since_spring.fill(*every(20, midnight(DAY), midnight(DAY + timedelta(days=1))))
    assert len(since_spring.ask(DAY)["gaps"]) == 4320
    since_spring.report(poll_interval_s=interval_s, set_aside_count=3, thinned=7)
    told = since_spring.ask(DAY)
    assert (told["interval_s"], told["expected_count"]) == (interval_s, expected)
    assert len(told["gaps"]) == gaps
    assert (told["agent"]["set_aside_count"], told["agent"]["thinned"]) == (3, 7)
    assert since_spring.ask(DAY, "meter")["interval_s"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_random_days_against_a_plain_reckoning(server, seed):
    chance = random.Random(seed)
    day = (DAY, date(2026, 3, 29), date(2025, 10, 26), DAY)[seed]
    start, end = midnight(day), midnight(day + timedelta(days=1))
    times, at = [start - timedelta(seconds=chance.random() * 9)], start
    while (at := at + timedelta(seconds=chance.choice([0.5, 1, 1, 3, 3.000001, 600, 4000]))) < end:
        times.append(at)
    server.fill(*times, kind="p1")
    edges = [start, *times[1:], end]
    gaps = [
        (one, other, (other - one).total_seconds() - 1)
        for one, other in pairwise(edges)
        if (other - one).total_seconds() > 3
    ]
    told = server.ask(day, "meter")
    assert [(gap["from"], gap["to"]) for gap in told["gaps"]] == [
        (local(one), local(other)) for one, other, _ in gaps
    ]
    assert told["missing_s"] == pytest.approx(sum(gap[2] for gap in gaps), abs=1e-4)
    assert told["sample_count"] == len(times) - 1


@pytest.mark.parametrize(
    "text", ["2026-02-30", "2026-06", "2026", "today", "%20", "2026-6-1", "2026-06-10T00:00Z", ""]
)
def test_a_day_that_is_none_is_refused(server, text):
    assert server.ask(f"{text}&x", status=422)["detail"].startswith("The date must exist")


def test_who_may_not_read_is_refused_before_the_date_is_looked_at(server):
    headers = {"Authorization": "Bearer roof-token"}
    for query, status in (("device_id=meter&date=x", 403), ("date=x", 422)):
        answer = server.app.test_client().get(f"/v1/completeness?{query}", headers=headers)
        assert answer.status_code == status


def test_the_server_was_away_and_nothing_is_missing(since_spring):
    """What the agent kept meanwhile comes later and fills the gap."""
    start, end = midnight(DAY), midnight(DAY + timedelta(days=1))
    times = every(5, start, end)
    since_spring.fill(*times[:5000], *times[12_000:])
    assert since_spring.ask(DAY)["missing_s"] == 7000 * 5
    body = [
        {
            "device_id": "roof",
            "ts": format_time(one),
            "pv_power_w": 1,
            "battery_power_w": None,
            "battery_soc_pct": None,
            "load_power_w": None,
            "export_power_w": None,
        }
        for one in times[5000:12_000]
    ]
    for begin in range(0, len(body), 1000):
        answer = since_spring.app.test_client().post(
            "/v1/ingest",
            json={"samples": body[begin : begin + 1000]},
            headers={"Authorization": "Bearer roof-token"},
        )
        assert answer.json["inserted"] == 1000
    assert since_spring.ask(DAY)["missing_s"] == 0
