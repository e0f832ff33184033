"""What a channel makes of what a service answers."""

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from api_server.alerts.sending import Channel
from edge_agent.shared.environment import InvalidSettings
from tests.simulators.message_sink import MessageSink
from tests.support.servers import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def sink() -> Iterator[MessageSink]:
    """A service of the test's own."""
    with MessageSink() as sink:
        yield sink


def test_a_message_arrives_whole(sink):
    assert Channel(1, sink.url("secret-topic")).send("A title", "It is 5 °C.\nSo.") is None
    (got,) = sink.received
    assert (got.method, got.path) == ("POST", "/secret-topic")
    assert (got.body["title"], got.body["message"]) == ("A title", "It is 5 °C.\nSo.")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(sink, status):
    sink.answers.append((status, {"Location": "https://new.example.org/topic?key=secret"}))
    cause = Channel(1, sink.url()).send("title", "text")
    assert cause == f"it answers {status}: it has moved to https://new.example.org"
    assert [one.method for one in sink.received] == ["POST"]


def test_a_redirect_is_not_followed_either_where_the_url_asks_for_it(sink):
    sink.answers.append((301, {"Location": "/else"}))
    cause = Channel(1, sink.url() + "?redirect=yes").send("title", "text")
    assert cause == "it answers 301: it has moved to another path"
    assert len(sink.received) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_status_of_success_means_that_it_was_taken(sink, status):
    sink.answers.append((status, {}))
    assert Channel(1, sink.url()).send("title", "text") is None


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_every_other_status_is_a_failure(sink, status):
    sink.answers.append((status, {}))
    assert Channel(1, sink.url()).send("title", "text") == f"it answers {status}"


def test_a_service_that_is_away_is_a_failure(sink):
    channel = Channel(1, "json://127.0.0.1:9/")
    assert channel.send("title", "text") == "it did not take the message"


def test_what_is_no_url_is_refused_by_its_place_only():
    with pytest.raises(InvalidSettings) as refused:
        Channel(2, "nonsense-with-a-secret")
    assert refused.value.problems == ["ALERT_URLS: entry 2 is no URL that Apprise knows"]


def test_no_log_and_no_name_holds_a_secret(sink, caplog):
    caplog.set_level(logging.DEBUG)
    sink.answers.append((500, {}))
    url = f"json://user:the-password@127.0.0.1:{sink.port}/the-hook?+X-Key=the-key"
    channel = Channel(1, url)
    channel.send("title", "text")
    assert "the-password" not in channel.name + caplog.text
    assert "the-key" not in channel.name + caplog.text
    assert "the-hook" not in channel.name
    assert channel.name.startswith("1: json://user:****@127.0.0.1")


def test_what_is_too_long_for_a_service_goes_in_parts(sink):
    channel = Channel(1, sink.url())
    text = " ".join(f"house{number}" for number in range(6000))
    assert len(text) > channel._plugin.body_maxlen
    assert channel.send("title", text) is None
    assert " ".join(message.strip() for message in sink.messages) == text


LOADED = """
import sys
from api_server.alerts.sending import Channel
print(Channel(1, sys.argv[1]).name)
print(sum(name.startswith("apprise.plugins.") for name in sys.modules))
print("flask" in sys.modules)
"""


@pytest.mark.parametrize(
    ("url", "name", "most"),
    [
        ("json://127.0.0.1/", "1: json://127.0.0.1/", 10),
        ("https://discord.com/api/webhooks/4174216298/JHMHI8qBe7bk2Zw", "1: discord://", 1000),
    ],
)
def test_only_the_services_that_are_named_are_loaded(url, name, most):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, url], cwd=ROOT, capture_output=True, text=True, check=True
    )
    told, loaded, flask = done.stdout.splitlines()
    assert told.startswith(name)
    assert int(loaded) <= most
    assert flask == "False"
