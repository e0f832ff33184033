"""The process: what it opens and closes, what it sends, and what it does when things die."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from edge_agent.shared.samples import format_time
from tests.api_server.alerts.running import Process, command, look
from tests.simulators.message_sink import MessageSink
from tests.support.client import Client
from tests.support.servers import Api, open_folder
from tests.support.servers.process import wait_until

pytestmark = pytest.mark.slow

ZONE = ZoneInfo("Europe/Brussels")


def test_a_silence_is_told_once_and_once_that_it_is_over(env, house, sink):
    house.meter(61)
    look(env)
    look(env)
    assert house.alerts() == [("silence", "meter", True)]
    (message,) = sink.messages
    assert message.startswith("meter has sent nothing since ")
    assert "more than 1 minutes" in message
    house.meter(60.5, 0)
    look(env)
    look(env)
    assert house.alerts() == [("silence", "meter", False)]
    assert sink.messages[1:] == ["meter sends again."]


def test_what_never_sent_is_not_silent_and_without_a_channel_nothing_is_sent(env, house, sink):
    house.meter(500)
    look({**env, "ALERT_URLS": ""})
    assert house.alerts() == [("silence", "meter", True)]
    look(env)
    assert sink.messages == []


def test_a_fault_is_named_in_words_of_the_language(env, house, sink):
    house.meter(1)
    house.roof(*range(1, 58, 4), alarms="13065.14 13049.30")
    house.roof(30, alarms=None, running_state=0)
    look({**env, "ALERT_LANG": "nl"})
    assert house.alerts() == []
    house.roof(62, alarms="13065.14")
    house.roof(66, alarms="", running_state=0)
    look({**env, "ALERT_LANG": "nl"})
    assert house.alerts() == [("fault", "roof", True)]
    (message,) = sink.messages
    assert "energiemeter antwoordt niet" in message
    house.execute("DELETE FROM sungrow_samples")
    house.roof(*range(0, 70, 5), alarms="", running_state=64)
    look({**env, "ALERT_LANG": "nl"})
    assert house.alerts() == [("fault", "roof", False)]
    assert sink.messages[1:] == ["roof meldt geen storing meer."]


def test_losses_of_an_agent(env, house, sink):
    house.meter(1)
    house.report(set_aside_count=0, dropped=0, lost=0, spool_count=0, poll_interval_s=1)
    look(env)
    house.report(set_aside_count=2, dropped=0, lost=0, spool_count=0, poll_interval_s=1)
    look(env)
    look(env)
    assert house.alerts() == [("loss", "meter", True)]
    assert "2 set aside" in sink.messages[0]
    house.report(set_aside_count=0, dropped=0, lost=0, spool_count=0, poll_interval_s=1)
    look(env)
    assert house.alerts() == [("loss", "meter", False)]
    house.report(set_aside_count=0, dropped=0, lost=0, spool_count=4000, poll_interval_s=1)
    look(env)
    assert "4000 readings" in sink.messages[2]
    house.report(set_aside_count=0, dropped=7, lost=0, spool_count=4000, poll_interval_s=1)
    look(env)
    house.report(set_aside_count=0, dropped=7, lost=0, spool_count=20, poll_interval_s=1)
    look(env)
    look(env)
    assert sink.messages[3] == "meter: 20 readings wait now."
    assert "7 dropped" in sink.messages[4]
    look(env)
    assert len(sink.messages) == 5


def test_a_month_peak_is_announced_and_said_what_it_became(env, house, sink):
    """The quarter that just ended stands for the one that an open alert is about."""
    start = house.began.replace(minute=house.began.minute // 15 * 15, second=0, microsecond=0)
    elapsed_s = (house.began - start).total_seconds()
    if not 190 <= elapsed_s <= 850:
        pytest.skip("a quarter of an hour has just begun, or ends: nothing is announced then")
    for second in range(-900, int(elapsed_s) + 1, 10):
        watts = 6000 if second >= 0 else 1200
        house.meter(elapsed_s - second, power_w=watts, import_power_w=watts)
    look(env)
    assert house.alerts() == []
    house.execute("UPDATE alerts SET since_ts = since_ts - interval '30 seconds'")
    look(env)
    assert house.alerts() == [("peak", "meter", True)]
    (message,) = sink.messages
    assert "is heading for 6000 W, and the month's limit is 2500 W" in message
    house.execute(
        "UPDATE alerts SET detail = detail || jsonb_build_object('quarter_start', %s::text,"
        " 'quarter_end', %s::text)",
        *((start - timedelta(minutes=minutes)).astimezone(ZONE).isoformat() for minutes in (15, 0)),
    )
    look(env)
    assert house.alerts() == [("peak", "meter", False)]
    assert "became 1200 W" in sink.messages[1]
    assert "the limit was 2500 W" in sink.messages[1]


def names_of(count: int) -> str:
    """How a message begins that names so many devices."""
    return f"{count} devices: {', '.join(f'house{n}' for n in range(count))}."


def test_many_at_once_are_one_message(env, house, sink):
    tokens = ",".join(f"token-{n}:house{n}" for n in range(6))
    env = {**env, "DEVICE_TOKENS": tokens, "READ_TOKENS": ""}
    for number in range(5):
        house.roof(300, device_id=f"house{number}")
    look(env)
    (message,) = sink.messages
    assert message.startswith(
        "5 devices: house0, house1, house2, house3, house4. They send nothing"
    )
    assert len(house.alerts()) == 5
    for number in range(5):
        house.roof(70, 0, device_id=f"house{number}")
    house.execute("UPDATE alerts SET closing_ts = now() - interval '1 minute'")
    look(env)
    assert sink.messages[1:] == [names_of(5)]


def test_each_channel_by_itself_and_none_gets_a_message_twice(env, house, sink):
    with MessageSink() as other:
        env = {**env, "ALERT_URLS": f"{sink.url()} {other.url()}"}
        other.answers.extend([(503, {})] * 2)
        house.meter(100)
        look(env)
        assert (len(sink.messages), len(other.messages)) == (1, 1)
        listed = house.execute("SELECT cardinality(waiting), channels FROM alert_messages")
        assert listed == [(1, 2)]
        look(env)
        look(env)
        look(env)
        assert (len(sink.messages), len(other.messages)) == (1, 3)
        assert house.execute("SELECT cardinality(waiting) FROM alert_messages") == [(0,)]


def test_a_test_message_says_per_channel_whether_it_went(env, sink):
    result = command(env, "--test")
    assert (result.returncode, len(sink.messages)) == (0, 1)
    assert result.stdout == f"1: json://127.0.0.1:{sink.port}/***: sent\n"
    sink.answers.append((301, {"Location": "https://new.example.org/secret"}))
    result = command({**env, "ALERT_URLS": f"json://127.0.0.1:9/ {sink.url()}"}, "--test")
    assert result.returncode == 1
    assert "2: " in result.stdout
    assert "it answers 301: it has moved to https://new.example.org\n" in result.stdout
    assert "secret" not in result.stdout + result.stderr
    assert command({**env, "ALERT_URLS": "what-is-this"}, "--test").returncode == 78


def test_the_process_judges_silence_only_after_a_steady_minute_and_beats(
    env, house, sink, tmp_path
):
    house.meter(100)
    house.report(lost=1)
    url = f"http://127.0.0.1:{sink.port}/alive"
    with Process({**env, "ALERT_HEARTBEAT_URL": url}, tmp_path) as process:
        wait_until(lambda: len(sink.received) >= 2, 20, "a message and a beat")
        time.sleep(3)
        assert [one.path for one in sink.received if one.method == "GET"] == ["/alive"]
        assert house.alerts() == [("loss", "meter", True)]
        assert "alive" not in process.log
        assert "topic" not in process.log
    assert process.process.returncode == 0


def test_one_works_and_another_takes_over(env, house, sink, tmp_path):
    with Process(env, tmp_path) as first:
        wait_until(lambda: "alerts_working" in first.log, 20, "the first works")
        with Process(env, tmp_path) as second:
            assert command(env, "--once").returncode == 75
            os.kill(first.process.pid, signal.SIGKILL)
            wait_until(lambda: "alerts_working" in second.log, 30, "the second takes over")
            house.meter(1)
            house.report(dropped=3)
            wait_until(lambda: len(sink.messages) == 1, 20, "its message")


def test_the_answer_of_the_api(env, house, sink):
    house.meter(100)
    house.report(lost=1)
    look(env)
    house.execute("UPDATE alerts SET closed_ts = now() WHERE rule = 'loss'")
    with open_folder("sunspool-api-") as folder, Api(folder, env, workers=1) as api:
        answer = Client(api.url, "reader-token").get("/v1/alerts?device_id=meter")
        first, second = answer.json["alerts"]
        assert (first["rule"], first["closed_ts"], first["sent"]) == ("silence", None, True)
        assert second["rule"] == "loss"
        assert second["closed_ts"].endswith("Z")
        assert list(first) == [
            "rule",
            "device_id",
            "opened_ts",
            "closed_ts",
            "text",
            "value",
            "sent",
        ]
        assert first["opened_ts"] < format_time(datetime.now(UTC))
        assert Client(api.url).get("/v1/alerts?device_id=roof").json == {"alerts": []}
        assert Client(api.url).get("/v1/alerts?device_id=meter").status == 403
        assert Client(api.url).get("/v1/alerts").status == 422
