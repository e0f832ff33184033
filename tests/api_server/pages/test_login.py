"""Who may see the pages, and what the door gives away: nothing."""

from http.cookies import SimpleCookie
from urllib.parse import quote

import pytest

from tests.support.client import INVERTER, Answer, Client
from tests.support.servers import Api

COOKIE = "__Host-sunspool"


@pytest.fixture
def browser(shared_api: Api) -> Client:
    return Client(shared_api.url, None)


def log_in(browser: Client, token: str = "reader-token", **headers: str) -> Answer:
    return browser.ask("POST", "/ui/login", f"token={quote(token)}".encode(), **headers)


def cookie_of(answer: Answer) -> str:
    return f"{COOKIE}={SimpleCookie(answer.headers['Set-Cookie'])[COOKIE].value}"


def test_without_login_every_page_leads_to_the_form(browser):
    answer = browser.get("/ui/history?frame=day&lang=nl")
    assert answer.status == 303
    target = answer.headers["Location"]
    assert target == "/ui/login?lang=nl&next=%2Fui%2Fhistory%3Fframe%3Dday%26lang%3Dnl"
    form = browser.get(target)
    assert form.status == 200
    assert "Leestoken" in form.text
    assert 'name="token"' in form.text


def test_a_read_token_opens_the_door(browser):
    answer = log_in(browser)
    assert (answer.status, answer.headers["Location"]) == (303, "/ui/")
    said = answer.headers["Set-Cookie"]
    assert "reader-token" not in said
    parts = {part.strip() for part in said.split(";")[1:]}
    assert {"HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age=7776000"} <= parts
    assert not any(part.startswith("Domain") for part in parts)


def test_it_leads_back_to_where_one_wanted_to_be(browser):
    body = b"token=reader-token"
    answer = browser.ask("POST", "/ui/login?next=%2Fui%2Fpeaks%3Flang%3Dnl", body)
    assert answer.headers["Location"] == "/ui/peaks?lang=nl"
    for elsewhere in ("https://evil.example/", "//evil.example", "/ui/\\evil", "/v1/ingest"):
        answer = browser.ask("POST", f"/ui/login?next={quote(elsewhere, '')}", body)
        assert answer.headers["Location"] == "/ui/"


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        ("wrong-token", 401, "not known here"),
        ("", 401, "Paste your read token first"),
        ("roof-token", 403, "a device's token"),
        ("é\udcff" * 3, 401, "not known here"),
    ],
)
def test_other_tokens_are_told_why(browser, token, status, words):
    body = f"token={quote(token, errors='surrogateescape')}".encode()
    answer = browser.ask("POST", "/ui/login", body)
    assert answer.status == status
    assert words in answer.text.replace("&#39;", "'")
    assert "Set-Cookie" not in answer.headers
    assert not token or token not in answer.text


@pytest.mark.parametrize(
    ("body", "status"), [(b"token=" + b"x" * 5000, 413), (b"a=1&" * 100, 400), (b"\xff\0", 401)]
)
def test_a_form_is_bounded(browser, body, status):
    assert browser.ask("POST", "/ui/login", body).status == status


def test_a_form_of_unknown_length_is_not_taken(browser):
    assert browser.ask("POST", "/ui/login", iter([b"token=reader-token"])).status == 411


def test_another_site_logs_nobody_in_or_out(browser):
    assert log_in(browser, Sec_Fetch_Site="cross-site").status == 403
    assert browser.ask("POST", "/ui/logout", b"", Sec_Fetch_Site="same-site").status == 403
    assert log_in(browser, Sec_Fetch_Site="same-origin").status == 303


def test_a_link_from_elsewhere_comes_again_with_its_cookie(browser):
    """A browser leaves a strict cookie at home when it follows another site's link."""
    answer = browser.get("/ui/", Sec_Fetch_Site="cross-site")
    assert answer.status == 200
    assert '<meta http-equiv="refresh" content="0">' in answer.text
    assert browser.get("/ui/", Sec_Fetch_Site="same-origin").status == 303


def test_logging_out_forgets_the_cookie(browser):
    answer = browser.ask("POST", "/ui/logout", b"")
    assert (answer.status, answer.headers["Location"]) == (303, "/ui/login")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


def test_the_cookie_reads_pages_and_nothing_else(browser):
    cookie = cookie_of(log_in(browser))
    assert browser.get("/ui/login", Cookie=cookie).status == 303
    assert browser.get("/v1/realtime?device_id=roof", Cookie=cookie).status == 401
    assert browser.ask("POST", "/v1/ingest", b'{"samples":[]}', Cookie=cookie).status == 401
    assert browser.get("/ui/login", Cookie=cookie[:-3] + "AAA").status == 200


def test_a_browser_is_sent_to_the_pages_and_curl_is_not(browser):
    for accepts in ("text/html,application/xhtml+xml,*/*;q=0.8", "Text/HTML;charset=utf-8"):
        answer = browser.get("/", Accept=accepts)
        assert (answer.status, answer.headers["Location"], answer.text) == (303, "/ui/", "")
    for accepts in ("*/*", "application/json", "text/html;q=0"):
        assert browser.get("/", Accept=accepts).json["service"] == "sunspool"
    assert browser.get("/ui").headers["Location"] == "/ui/"


def test_everything_carries_the_headers_of_a_page(browser):
    paths = ("/ui/", "/ui/login", "/ui/static/style.css", "/ui/static/page.js", "/ui/static/no")
    for path in paths:
        headers = browser.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';"), path
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" not in browser.get("/").headers


def test_what_is_not_there_is_a_page(browser):
    for accepted, words in (("en", "There is nothing here"), ("nl", "Hier is niets")):
        answer = browser.get("/ui/static/nothing", Accept_Language=accepted)
        assert answer.status == 404
        assert answer.headers.get_content_type() == "text/html"
        assert words in answer.text
    assert browser.ask("PUT", "/ui/login", b"").status == 405
    assert browser.get("/v1/nothing").status == 401


class TestFates:
    """What a login outlives, and what it does not."""

    @pytest.mark.slow
    def test_it_outlives_a_restart_and_ends_with_its_token(self, settings, server_folder):
        with Api(server_folder, settings, workers=1) as api:
            browser = Client(api.url, None)
            cookie = cookie_of(log_in(browser))
            api.restart()
            assert browser.get("/ui/login", Cookie=cookie).status == 303
            api.env["READ_TOKENS"] = "new-token:roof+meter"
            api.restart()
            assert browser.get("/ui/login", Cookie=cookie).status == 200
            assert Client(api.url, "roof-token").post(INVERTER).status == 200

    def test_without_a_database_the_form_is_there_and_the_rest_says_so(self, settings):
        settings["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
        from api_server import create_app

        client = create_app(settings).test_client()
        assert client.get("/ui/login").status_code == 200
        answer = client.post("/ui/login", data="token=reader-token")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert "try again in a few seconds" in answer.text

    @pytest.mark.slow
    def test_guessing_is_limited_by_address(self, settings):
        settings["MAX_REQUESTS_PER_MINUTE"] = "100000"
        from api_server import create_app

        client = create_app(settings).test_client()
        statuses = [client.post("/ui/login", data="token=guess").status_code for _ in range(301)]
        # A new minute may begin meanwhile.
        assert set(statuses) <= {401, 429}
        assert statuses.count(401) >= 300
        assert client.post("/ui/login", data="token=reader-token").status_code == 303
