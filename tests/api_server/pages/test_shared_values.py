"""What an open page costs the database, counted there, and that its values are of this moment."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any

import pytest
import redis as client

from api_server import create_app
from tests.support.home import Home
from tests.support.page import Page
from tests.support.servers import Postgres, Redis, wait_until

pytestmark = pytest.mark.slow

HTTPS = "https://localhost"
TOKENS = {"meter": "m", "roof": "r", "shed": "s"}
POWERS = {
    "meter": {"power_w": 700, "import_power_w": 700},
    "roof": {"pv_power_w": 1200.0, "battery_power_w": -300.0, "battery_soc_pct": 64.0},
    "shed": {"pv_power_w": 300.0, "battery_power_w": 50.0, "battery_soc_pct": 32.0},
}
NO_BATTERY = {"battery_power_w": None, "battery_soc_pct": None}
REST = {
    "meter": {"monthly_power_peak_w": 4100},
    "roof": dict.fromkeys(("load_power_w", "export_power_w")),
    "shed": dict.fromkeys(("load_power_w", "export_power_w")),
}


class Viewed:
    """A house, who looks at it, and what PostgreSQL writes down of each statement it runs."""

    def __init__(self, postgres: Postgres, redis_url: str):
        self.home, self.postgres, self.redis_url = Home(postgres, redis_url), postgres, redis_url
        self.name = self.home.url.rpartition("/")[2]
        postgres.execute(f"ALTER DATABASE \"{self.name}\" SET log_statement = 'all'")
        self.browser = self.log_in()

    def log_in(self, **settings: str) -> Any:
        app = create_app({**self.home.env, **settings}) if settings else self.home.app
        browser = app.test_client()
        answer = browser.post("/ui/login", data={"token": "all"}, base_url=HTTPS)
        assert answer.status_code == 303
        return browser

    def see(self, part: str, browser: Any = None) -> Page:
        answer = (browser or self.browser).get(f"/ui/{part}", base_url=HTTPS)
        assert answer.status_code == 200
        return Page(answer.text)

    def count(self, part: str, browser: Any = None) -> int:
        """How many statements the database runs for a part of the page."""
        before = self._logged()
        self.see(part, browser)
        marker = f"done with {before}"
        self.postgres.execute(f"DO $$ BEGIN RAISE LOG '{marker}'; END $$")
        wait_until(lambda: marker in self.postgres.log(), 20, "the log")
        return self._logged() - before

    def _logged(self) -> int:
        return self.postgres.log().count("LOG:  statement: ")

    def send(self, device_id: str, seconds: float = 1, **more: Any) -> None:
        """A sample of so long ago, through the API."""
        ts = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
        sample = {**POWERS[device_id], **REST[device_id], **more, "device_id": device_id, "ts": ts}
        headers = {"Authorization": f"Bearer {TOKENS[device_id]}"}
        answer = self.home.app.test_client().post(
            "/v1/ingest", json={"samples": [sample]}, headers=headers
        )
        assert answer.json["inserted"] == 1

    def forget(self) -> None:
        """Empty Redis of all that is kept of this house."""
        server = client.Redis.from_url(self.redis_url)
        names = [*server.keys(f"{self.name}:*"), *(f"realtime:{one}" for one in TOKENS)]
        server.delete(*names)
        server.close()


@pytest.fixture(scope="module")
def shared(postgres: Postgres, redis: Redis) -> Iterator[Viewed]:
    viewed = Viewed(postgres, redis.url)
    yield viewed
    viewed.forget()  # what other tests would find: the names of its devices are theirs too
    viewed.home.close()


@pytest.fixture
def viewed(shared: Viewed) -> Viewed:
    """A house with one new sample of each device, of which nothing is kept."""
    shared.postgres.execute("TRUNCATE sungrow_samples, p1_samples", shared.name)
    for device_id in TOKENS:
        shared.send(device_id)
    shared.forget()
    return shared


def test_the_living_part_costs_three_statements_and_the_next_viewer_none(viewed: Viewed):
    assert viewed.count("live") == 3
    assert viewed.count("live") == 0
    assert viewed.count("live", viewed.log_in()) == 0


def test_so_it_does_for_an_inverter_of_which_no_battery_is_known(viewed: Viewed):
    """Whether it has one is kept for longer."""
    viewed.send("shed", **NO_BATTERY)
    viewed.see("live")
    viewed.send("meter")
    viewed.send("roof")
    viewed.send("shed", **NO_BATTERY)
    assert viewed.count("live") == 3
    assert viewed.see("live").number("battery_power_w").value == "-300.0"
    viewed.send("shed", **NO_BATTERY, charge_total_kwh=3.0)
    assert viewed.see("live").number("battery_power_w").value == ""


def test_today_is_read_once_for_all_viewers(viewed: Viewed):
    viewed.see("live")
    assert viewed.count("today") > 0
    assert viewed.count("today") == 0
    assert viewed.count("", viewed.log_in()) == 0  # the whole page


@pytest.mark.parametrize("part", ["history?frame=all", "peaks"])
def test_so_are_a_period_that_runs_and_the_peaks(viewed: Viewed, part):
    assert viewed.count(part) > 0
    assert viewed.count(part, viewed.log_in()) == 0


def test_another_period_is_not_the_one_that_is_kept(viewed: Viewed):
    assert viewed.see("history?frame=year").numbers
    assert not viewed.see("history?frame=year&date=2021").numbers
    assert viewed.see("history?frame=year").numbers


def test_month_peaks_that_an_agent_tells_show_at_once(viewed: Viewed):
    month = f"{datetime.now(UTC).replace(day=1) - timedelta(days=2):%Y-%m}"
    assert viewed.see("peaks").number("peak_w", bucket=month).value == ""
    told = {"samples": [], "agent": {"version": "1", "peaks": [{"month": month, "w": 4928}]}}
    headers = {"Authorization": f"Bearer {TOKENS['meter']}"}
    viewed.home.app.test_client().post("/v1/ingest", json=told, headers=headers)
    assert viewed.see("peaks").number("peak_w", bucket=month).value == "4928"


def test_a_late_sample_shows_in_the_gaps_that_were_kept(viewed: Viewed):
    without = viewed.log_in(REDIS_URL="redis://127.0.0.1:1")
    for seconds in (1200, 600):
        viewed.send("roof", seconds)
        counts = [
            viewed.see("health", one).number("sample_count", "roof") for one in (None, without)
        ]
        assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("device_id", "sent", "part", "field", "value"),
    [
        ("meter", {"power_w": 810, "import_power_w": 810}, "live", "grid_power_w", "810"),
        ("roof", {"pv_power_w": 1300.5}, "live", "pv_power_w", "1600.5"),
        ("shed", {"pv_power_w": 400.5}, "live", "pv_power_w", "1600.5"),
        ("meter", {"energy_import_kwh": 100.1}, "today", "grid_import_kwh", "0.1"),
        ("roof", {"pv_total_kwh": 10.1}, "today", "pv_kwh", "0.1"),
        ("shed", {"pv_total_kwh": 10.1}, "today", "pv_kwh", "0.1"),
        *(
            ("roof", {"pv_total_kwh": 10.1}, f"history?frame={frame}", "pv_kwh", "0.1")
            for frame in ("month", "year", "all")
        ),
        ("meter", {"monthly_power_peak_w": 4200}, "peaks", "official_peak_w", "4200"),
    ],
)
def test_what_any_device_sends_shows_at_once(viewed: Viewed, device_id, sent, part, field, value):
    viewed.send("meter", 0.5, energy_import_kwh=100.0)
    viewed.send("roof", 0.5, pv_total_kwh=10.0)
    viewed.send("shed", 0.5, pv_total_kwh=10.0)
    assert viewed.see(part).number(field).value != value
    viewed.send(device_id, 0, **sent)
    assert viewed.see(part).number(field).value == value


def test_ages_go_on_while_values_are_kept(viewed: Viewed):
    first = viewed.see("live").number("age_s", "roof")
    sleep(0.01)
    assert viewed.count("live") == 0
    assert float(viewed.see("live").number("age_s", "roof").value) > float(first.value)


def test_without_redis_the_pages_say_the_same(viewed: Viewed):
    browser = viewed.log_in(REDIS_URL="redis://127.0.0.1:1")
    for part in ("live", "today"):
        with_redis, without = viewed.see(part).numbers, viewed.see(part, browser).numbers
        known = [[one for one in page if one.field != "age_s"] for page in (with_redis, without)]
        assert known[0] == known[1]
        assert any(one.value for one in known[0])
