"""The pages in a real browser: nothing to complain about, alive, and right."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.api_server.pages import expected
from tests.api_server.pages.conftest import COOKIE, METER, ROOF, Reader
from tests.api_server.pages.expected import PAGES
from tests.support.browser import Browser, browse, fetch_axe
from tests.support.client import Client
from tests.support.servers import Api, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def _browser(house: Api) -> Iterator[Browser]:
    with browse(house.url) as browser:
        browser.open("/ui/history?frame=day")
        browser.find("#token").send_keys("reader-token")
        browser.find("main button").click()
        browser.find(".tabs")
        yield browser


@pytest.fixture
def browser(_browser: Browser) -> Browser:
    """Logged in, light and wide, with nothing said yet."""
    _browser.set_scheme("light")
    _browser.set_size(1280)
    _browser.complaints()
    _browser.requests()
    return _browser


def test_a_login_leads_to_where_one_wanted_to_be_and_stays(browser: Browser):
    browser.open("/ui/login")
    assert browser.driver.current_url == f"{browser.url}/ui/"
    cookie = browser.driver.get_cookie(COOKIE)
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    assert browser.run("return document.cookie") == ""


@pytest.mark.parametrize("path", PAGES)
def test_nothing_to_complain_about(browser: Browser, path):
    """In both languages and schemes: no error, no stranger asked, no barrier, all in 360 px."""
    axe = fetch_axe()
    for scheme, code in (("light", "en"), ("dark", "nl")):
        browser.set_scheme(scheme)
        browser.set_size(1280)
        browser.open(f"{path}?lang={code}")
        assert browser.run("return document.documentElement.lang") == code
        assert browser.axe(axe) == []
        browser.set_size(360)
        assert browser.run("return document.documentElement.scrollWidth") == 360
    assert browser.complaints() == []
    assert browser.strangers() == []


def test_the_form_and_an_error_have_no_barrier_either(browser: Browser):
    axe = fetch_axe()
    cookie = browser.driver.get_cookie(COOKIE)
    browser.driver.delete_all_cookies()
    try:
        browser.open("/ui/")
        assert browser.run("return document.activeElement.id") == "token"
        assert browser.axe(axe) == []
        browser.find("#token").send_keys("wrong-token")
        browser.find("main button").click()
        assert "not known here" in browser.find("[role=alert]").text
        assert browser.axe(axe) == []
    finally:
        browser.driver.add_cookie(cookie)
    browser.open("/ui/nothing")
    assert "There is nothing here" in browser.find("h1").text
    assert browser.axe(axe) == []


def test_a_link_from_another_site_finds_the_login(browser: Browser):
    browser.driver.get(f'data:text/html,<a id="there" href="{browser.url}/ui/peaks">there</a>')
    browser.find("#there").click()
    browser.find(".tabs")
    assert browser.driver.current_url == f"{browser.url}/ui/peaks"


@pytest.mark.parametrize("path", expected.VIEWS)
def test_every_number_is_the_apis(browser: Browser, reader: Reader, path):
    def show() -> str:
        browser.open(path)
        return browser.run("return document.documentElement.outerHTML")

    assert expected.compared(reader, path, show).numbers


class TestLife:
    """What renews itself."""

    def value(self, browser: Browser, field: str) -> str:
        return browser.run(
            "return document.querySelector(`[data-field=${arguments[0]}]`).dataset.value", field
        )

    def test_a_new_sample_shows_without_a_new_page(self, browser: Browser, house: Api, ca):
        browser.open("/ui/")
        assert browser.run("return document.querySelector('#live').dataset.every") == "5"
        browser.run("window.same = true")
        power = 7000 + datetime.now(UTC).microsecond % 1000

        def is_shown() -> bool:
            # Again and again: the house has a newer sample every 10 s.
            ts = datetime.now(UTC).isoformat()
            sample = {"device_id": METER, "ts": ts, "power_w": power, "import_power_w": power}
            assert Client(house.url, "meter-token", str(ca.file)).post(sample).status == 200
            time.sleep(0.5)
            return self.value(browser, "grid_power_w") == json.dumps(power)

        wait_until(is_shown, 20, "the sample to show")
        assert browser.run("return window.same")

    def test_a_failure_says_since_when_it_is_old(self, browser: Browser):
        browser.open("/ui/?lang=nl")
        assert not browser.find("#old").is_displayed()
        offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        browser.send("Network.enable", {})
        browser.send("Network.emulateNetworkConditions", offline)
        wait_until(lambda: browser.find("#old").is_displayed(), 20, "the notice")
        assert browser.find("#old").text.startswith("Geen antwoord van de server sinds ")
        assert self.value(browser, "pv_power_w")
        browser.send("Network.emulateNetworkConditions", {**offline, "offline": False})
        wait_until(lambda: not browser.find("#old").is_displayed(), 20, "the notice to go")
        browser.complaints()  # the browser's own about being offline

    def test_a_page_that_nobody_sees_asks_for_nothing(self, browser: Browser):
        browser.open("/ui/")
        hide = (
            "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true})"
        )
        browser.run(hide, True)
        browser.requests()
        browser.run("window.ticks = 0; setInterval(() => window.ticks++, 1000)")
        wait_until(lambda: browser.run("return window.ticks") > 10, 20, "a second")
        assert browser.requests() == []
        browser.run(hide, False)
        wait_until(lambda: any("/ui/live" in one for one in browser.requests()), 20, "a look")

    def test_whoever_is_logged_out_meanwhile_sees_the_form(self, browser: Browser):
        browser.open("/ui/")
        cookie = browser.driver.get_cookie(COOKIE)
        browser.driver.delete_all_cookies()
        try:
            wait_until(lambda: browser.driver.find_elements("id", "token"), 20, "the form")
            assert not browser.driver.find_elements("css selector", "[data-field]")
        finally:
            browser.driver.add_cookie(cookie)
        browser.complaints()  # the browser's own about the 401


def test_without_javascript_everything_else_works(browser: Browser):
    browser.send("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        for path in PAGES:
            browser.open(path)
            assert len(browser.driver.find_elements("css selector", "[data-field]")) > 3
        browser.open("/ui/history?frame=month")
        browser.find("a[rel=prev]").click()
        assert "frame=month" in browser.driver.current_url
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_keyboard_reaches_the_content_first(browser: Browser):
    browser.open("/ui/health")
    body = browser.find("body")
    body.send_keys("\ue004")  # the tab key
    assert browser.run("return document.activeElement.className") == "skip"
    assert browser.find(".skip").rect["x"] >= 0
    browser.find(".skip").send_keys("\ue007")
    assert browser.run("return document.activeElement.id") == "content"
    assert ROOF in browser.find("main").text
