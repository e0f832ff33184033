"""What is told again, and what is not."""

from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from api_server.alerts.__main__ import make_look
from api_server.alerts.loop import Heartbeat
from api_server.alerts.sending import Channel, Sender
from api_server.config import load
from api_server.data.alerts import take_lock
from api_server.data.database import DatabaseUnavailable, Store

pytestmark = pytest.mark.slow

DAY = timedelta(hours=24)


def test_a_repeated_message_names_the_beginning(settings, house):
    house.roof(*range(0, 70, 5), alarms="13065.14")
    look = make_look(load(settings), Store(settings["DATABASE_URL"]), [])
    now = datetime.now(UTC)
    [text] = look.run(now, judge_silence=False)
    assert look.run(now + DAY - timedelta(seconds=1), judge_silence=False) == []
    assert look.run(now + DAY, judge_silence=False) == [f"Still: {text}"]
    assert look.run(now + DAY, judge_silence=False) == []


def test_what_the_database_could_not_note_is_not_sent_again(settings, house, sink):
    house.roof(*range(0, 70, 5), alarms="13065.14")
    url, channel = settings["DATABASE_URL"], Channel(1, sink.url())
    make_look(load(settings), Store(url), [channel]).run(datetime.now(UTC), judge_silence=False)
    sender, other = Sender(Store(url), channel, lambda: True), psycopg2.connect(url)
    other.cursor().execute("SELECT FROM alert_messages FOR UPDATE")
    sender.tick()
    other.close()
    assert house.execute("SELECT cardinality(waiting) FROM alert_messages") == [(1,)]
    sender.tick()
    assert house.execute("SELECT cardinality(waiting) FROM alert_messages") == [(0,)]
    assert len(sink.messages) == 1


def test_of_two_processes_that_both_think_they_work_one_sends(settings, house, sink):
    house.roof(*range(0, 70, 5), alarms="13065.14")
    url, channel, works = settings["DATABASE_URL"], Channel(1, sink.url()), [True]
    first, second = (Sender(Store(url), channel, who) for who in (lambda: works[0], lambda: True))
    first.tick()
    make_look(load(settings), Store(url), [channel]).run(datetime.now(UTC), judge_silence=False)
    second.tick()
    assert sink.messages == []
    works[0] = False
    first.tick()
    second.tick()
    assert len(sink.messages) == 1


def test_who_lost_his_turn_while_he_looked_writes_nothing(settings, house):
    """His session broke, another process works, and its look finds the same."""
    house.roof(*range(0, 70, 5), alarms="13065.14")
    first, second = (Store(settings["DATABASE_URL"]) for _ in "12")
    assert second.run(take_lock)
    now = datetime.now(UTC)
    assert make_look(load(settings), first, []).run(now, judge_silence=False) == []
    assert house.execute("SELECT count(*) FROM alerts") == [(0,)]
    assert len(make_look(load(settings), second, []).run(now, judge_silence=False)) == 1
    assert not first.run(take_lock)


def test_what_is_judged_once_a_day_is_again_if_it_could_not_be_written(settings, house):
    house.roof(40 * 86_400, battery_soh_pct=100)
    house.roof(5, battery_soh_pct=90)
    look = make_look(load(settings), Store(settings["DATABASE_URL"]), [])
    other = psycopg2.connect(settings["DATABASE_URL"])
    other.cursor().execute("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE")
    with pytest.raises(DatabaseUnavailable):
        look.run(datetime.now(UTC), judge_silence=False)
    other.close()
    [text] = look.run(datetime.now(UTC), judge_silence=False)
    assert "90" in text
    assert look.run(datetime.now(UTC), judge_silence=False) == []


class Well:
    """A process that works."""

    def is_well(self) -> bool:
        """Whether it looked lately."""
        return True


def test_a_heartbeat_that_is_sent_elsewhere_has_failed(sink, caplog):
    sink.answers.append((301, {"Location": "/else?key=secret"}))
    Heartbeat(f"http://127.0.0.1:{sink.port}/alive", Well()).tick()
    assert "it answers 301" in caplog.text
    assert "secret" not in caplog.text
    assert [one.path for one in sink.received] == ["/alive"]
