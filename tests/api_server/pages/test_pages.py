"""The pages say what the API says, dashes for what is not known, and never fall over."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from api_server import create_app
from tests.api_server.pages import expected
from tests.api_server.pages.conftest import METER, ROOF, Reader
from tests.api_server.pages.expected import PAGES, ZONE, said
from tests.support import history
from tests.support.client import Client
from tests.support.page import Page
from tests.support.servers import Api

pytestmark = pytest.mark.slow

DASH = "\u2013"
MAX_BYTES = 100_000


class TestEqual:
    """Every number on every page is the API's of the same moment."""

    @pytest.mark.parametrize("path", expected.VIEWS)
    def test_every_page(self, reader: Reader, path):
        expected.compared(reader, path, lambda: reader.page(path).text)

    def test_what_is_shown_now(self, reader: Reader):
        numbers = Page(reader.page("/ui/").text).numbers
        running = reader.get(f"/v1/capacity/now?device_id={METER}").status == 200
        shown = {one.field for one in numbers if not one.in_table}
        assert {"pv_power_w", "battery_power_w", "home_power_w", "grid_power_w"} <= shown
        assert {"battery_soc_pct", "age_s"} <= shown
        assert ({"projected_w", "limit_w"} <= shown) == running  # else it just began
        assert len([one for one in numbers if one.in_table]) == 8

    def test_the_highest_quarters_are_shown(self, reader: Reader):
        page = Page(reader.page("/ui/peaks").text)
        month = datetime.now(ZONE).strftime("%Y-%m")
        peaks = reader.get(f"/v1/capacity/month/{month}?device_id={METER}").json["peaks"]
        highest = sorted((peak["avg_power_w"] for peak in peaks), reverse=True)[:20]
        told = [int(one.value) for one in page.numbers if one.field == "avg_power_w"]
        assert told == highest

    def test_an_agent_says_how_it_is(self, reader: Reader, house: Api, ca):
        report = {"version": "1.0.0", "poll_interval_s": 5, "spool_count": 3, "lost": 0}
        sent = json.dumps({"samples": [], "agent": report}).encode()
        assert (
            Client(house.url, "roof-token", str(ca.file)).ask("POST", "/v1/ingest", sent).status
            == 200
        )
        page = expected.compared(reader, "/ui/health", lambda: reader.page("/ui/health").text)
        assert {one.device for one in page.numbers} == {ROOF, METER}
        assert page.number("spool_count").text == "3"
        assert page.number("lost").text == "0"

    def test_the_csv(self, reader: Reader):
        page = Page(reader.page("/ui/history?frame=month").text)
        link = next(one for one in page.links if "/ui/history.csv" in one)
        answer = reader.page(link)
        series = reader.get("/v1/balance?site=home&frame=month").json["series"]
        header, *rows = answer.text.split("\r\n")[:-1]
        assert header.split(",") == list(series[0])
        assert [row.split(",")[1] for row in rows] == [said(one["pv_kwh"]) for one in series]
        assert answer.headers["Content-Disposition"].startswith("attachment")


class TestFrame:
    """What every page has."""

    @pytest.mark.parametrize("path", PAGES)
    def test_both_languages_and_little_weight(self, reader: Reader, path):
        english, dutch = (reader.page(path, Accept_Language=code) for code in ("en", "nl-BE"))
        assert english.status == dutch.status == 200
        assert '<html lang="en">' in english.text
        assert '<html lang="nl">' in dutch.text
        assert Page(dutch.text).text != Page(english.text).text
        static = [reader.get(f"/ui/static/{name}") for name in ("style.css", "page.js", "icon.svg")]
        assert sum(len(one.text.encode()) for one in [dutch, *static]) < MAX_BYTES

    @pytest.mark.parametrize("path", PAGES)
    def test_nothing_comes_from_elsewhere(self, reader: Reader, path):
        text = reader.page(path).text
        assert "http:" not in text.replace("http://www.w3.org", "")
        assert "https:" not in text
        assert "<style" not in text
        assert "<script src=" in text or "<script" not in text

    def test_choices_stay_from_page_to_page(self, reader: Reader):
        page = Page(reader.page("/ui/?lang=nl&site=home").text)
        tabs = [link for link in page.links if link.startswith("/ui/peaks")]
        assert tabs == ["/ui/peaks?site=home&lang=nl"]

    @pytest.mark.parametrize("path", [*PAGES, "/ui/peaks?device_id=barn-meter", "/ui/?site=barn"])
    def test_of_two_houses_each_can_be_chosen(self, house: Api, path):
        barn = {
            "DEVICE_TOKENS": f"{house.env['DEVICE_TOKENS']},t:barn-roof,u:barn-meter:p1",
            "READ_TOKENS": f"both:{ROOF}+{METER}+barn-roof+barn-meter",
            "SITES": f"home:{ROOF}+{METER},barn:barn-roof+barn-meter",
        }
        browser = create_app({**house.env, **barn}).test_client()
        browser.post("/ui/login", data={"token": "both"}, base_url="https://localhost")
        answer = browser.get(path, base_url="https://localhost")
        assert answer.status_code == 200
        links = Page(answer.text).links
        for one in ("barn-meter", METER) if "peaks" in path else ("barn", "home"):
            assert "health" in path or any(link.endswith(f"={one}") for link in links)

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/ui/?site=other", 403),
            ("/ui/history?site=other", 403),
            ("/ui/history?frame=week", 422),
            ("/ui/history?frame=day&date=2026-02-30", 422),
            ("/ui/history?frame=all&date=2026", 422),
            ("/ui/peaks?date=2026-13", 422),
            (f"/ui/peaks?device_id={ROOF}", 404),
            ("/ui/peaks?device_id=other", 403),
            ("/ui/nothing", 404),
            ("/ui/history?lang=%00&frame=\x7f&date=%ff", 422),
        ],
    )
    def test_what_does_not_exist_is_a_page(self, reader: Reader, path, status):
        answer = reader.page(path.replace("\x7f", "%7f"))
        assert answer.status == status
        assert answer.headers.get_content_type() == "text/html"
        assert Page(answer.text).text

    @pytest.mark.parametrize("date", ["1970", "2019", "2300", "9999", "0001"])
    def test_far_times_are_empty_pages(self, reader: Reader, date):
        assert reader.page(f"/ui/history?frame=year&date={date}").status == 200
        assert reader.page(f"/ui/peaks?date={date}-01").status in (200, 404)


class TestSteps:
    """Back and forth, and into a bar."""

    def test_a_month_leads_to_its_neighbours_and_its_days(self, reader: Reader):
        page = Page(reader.page("/ui/history?frame=month&date=2026-03").text)
        assert "/ui/history?frame=month&date=2026-02" in page.links
        assert "/ui/history?frame=month&date=2026-04" in page.links
        assert "/ui/history?frame=year&date=2026" in page.links

    def test_nothing_leads_beyond_today(self, reader: Reader):
        today = datetime.now(ZONE).date()
        page = Page(reader.page("/ui/history").text)
        assert f"/ui/history?frame=day&date={today - timedelta(days=1)}" in page.links
        assert not any(str(today + timedelta(days=1)) in link for link in page.links)

    def test_a_bar_leads_inside(self, reader: Reader):
        page = Page(reader.page("/ui/history?frame=month").text)
        today = datetime.now(ZONE).date()
        assert f"/ui/history?frame=day&date={today}" in page.links


class TestUnknown:
    """Houses that do not tell everything."""

    @pytest.fixture
    def quiet(self, settings, server_folder):
        """An API without a sample; its devices are nobody else's."""
        settings["DEVICE_TOKENS"] = "roof-token:quiet-roof,meter-token:quiet-meter:p1"
        settings["READ_TOKENS"] = "reader-token:quiet-roof+quiet-meter"
        with Api(server_folder, settings, workers=1) as api:
            yield api

    def test_a_house_that_has_sent_nothing(self, quiet: Api):
        reader = Reader(quiet)
        for path in PAGES:
            page = Page(reader.page(path).text)
            # Of a device without samples completeness knows zeros, and the costs no more.
            for one in page.numbers:
                assert (one.text == DASH) == (one.value == ""), (path, one)
        assert "No device of this house has sent anything yet." in reader.page("/ui/").text

    def test_a_silent_device_is_said_in_words_and_its_values_are_dashes(self, quiet: Api):
        now = datetime.now(UTC)
        meter = {
            "device_id": "quiet-meter",
            "ts": (now - timedelta(minutes=12)).isoformat(),
            "power_w": 500,
            "import_power_w": 500,
        }
        roof = {
            "device_id": "quiet-roof",
            "ts": now.isoformat(),
            "pv_power_w": 1000,
            **dict.fromkeys(
                ("battery_power_w", "battery_soc_pct", "load_power_w", "export_power_w")
            ),
        }
        Client(quiet.url, "meter-token").post(meter)
        Client(quiet.url, "roof-token").post(roof)
        page = Page(Reader(quiet).page("/ui/").text)
        assert "quiet-meter has been silent for 12 min" in page.text
        assert page.number("grid_power_w").text == DASH
        assert page.number("home_power_w").text == DASH
        assert page.number("pv_power_w").value == "1000.0"
        assert page.number("battery_soc_pct").text == DASH

    def test_open_alerts_are_shown_and_closed_ones_are_not(self, quiet: Api, postgres):
        postgres.query(
            "INSERT INTO alerts (device_id, rule, since_ts, opened_ts, closed_ts, text) VALUES"
            " ('quiet-roof', 'silence', now(), '2026-06-01T10:00Z', NULL, 'roof <is> silent'),"
            " ('quiet-meter', 'silence', now(), now(), now(), 'the meter was silent'),"
            " ('other', 'silence', now(), now(), NULL, 'not ours')"
            " RETURNING 1",
            database=quiet.env["DATABASE_URL"].rpartition("/")[2],
        )
        shown = Reader(quiet).page("/ui/health").text
        assert "roof &lt;is&gt; silent" in shown
        assert "since Mon 1 Jun 12:00" in shown
        assert "the meter was silent" not in shown
        assert "not ours" not in shown

    def test_a_token_that_reads_no_whole_house(self, settings, server_folder):
        settings["READ_TOKENS"] = "reader-token:roof"
        with Api(server_folder, settings, workers=1) as api:
            reader = Reader(api)
            for path in ("/ui/", "/ui/history", "/ui/peaks"):
                answer = reader.page(path)
                assert answer.status == 200
                assert "No house can be shown" in answer.text
            assert "roof" in reader.page("/ui/health").text

    def test_without_a_database_it_is_a_page_that_says_so(self, quiet: Api, postgres):
        reader = Reader(quiet)
        name = quiet.env["DATABASE_URL"].rpartition("/")[2]
        postgres.query(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        postgres.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            answer = reader.page("/ui/")
        finally:
            postgres.query(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert "try again in a few seconds" in answer.text
        assert reader.page("/ui/").status == 200


@pytest.mark.parametrize(
    ("day", "hours", "twice"), [("2026-03-29", 23, []), ("2025-10-26", 25, ["02:00"])]
)
def test_days_of_23_and_25_hours_look_right(settings, server_folder, day, hours, twice):
    settings["DEVICE_TOKENS"] = f"roof-token:roof{hours},meter-token:meter{hours}:p1"
    settings["READ_TOKENS"] = f"reader-token:roof{hours}+meter{hours}"
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZONE).astimezone(UTC)
    times = [midnight + timedelta(minutes=10 * n) for n in range(-1, 6 * hours + 1)]
    meter = [
        {
            "device_id": f"meter{hours}",
            "ts": at,
            "power_w": 600,
            "import_power_w": 600,
            "energy_import_kwh": 100 + number / 10,
            "energy_export_kwh": 0,
        }
        for number, at in enumerate(times)
    ]
    history.insert(settings["DATABASE_URL"], "p1", meter)
    with Api(server_folder, settings, workers=1) as api:
        page = Page(Reader(api).page(f"/ui/history?frame=day&date={day}").text)
        imported = [one for one in page.numbers if one.field == "grid_import_kwh"]
        assert len(imported) == hours
        assert sum(float(one.value) for one in imported) == pytest.approx(0.6 * hours, abs=0.001)
        assert ("02:00 first time" in page.text) == ("02:00" in twice)
        assert ("02:00 second time" in page.text) == ("02:00" in twice)
