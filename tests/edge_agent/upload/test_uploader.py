"""Every answer has one meaning: what happens next, on a real spool and a real HTTPS server."""

from datetime import UTC, datetime
from time import monotonic

import pytest

from edge_agent.clock import ReadingTime
from edge_agent.shared.samples import parse_time
from edge_agent.upload import uploader
from edge_agent.upload.uploader import Backoff
from tests.simulators.ingest_server import ACCEPT, Reply
from tests.support.agent import TOKEN, sample


def test_a_backlog_is_drained_without_pause_then_the_interval_is_kept(site, server):
    one = site(count=25)
    assert one.drain() == 10
    assert one.sizes == [10, 10, 5]
    one.check_ledger()
    assert one.uploader.tick() == 10
    assert len(server.requests) == 3  # no report: one went with the last batch
    assert (one.uploader.error, one.uploader.backoff_s) == (None, 0)
    assert abs((datetime.now(UTC) - parse_time(one.uploader.last_upload_ts)).total_seconds()) < 60


def test_the_request_is_what_the_contract_says(site, server):
    one = site(count=3)
    one.drain()
    request = server.requests[0]
    assert (request.path, request.token) == ("/v1/ingest", TOKEN)
    assert request.headers["content-type"] == "application/json"
    assert "content-encoding" not in request.headers
    assert request.samples == [sample(number) for number in range(3)]
    assert abs((datetime.now(UTC) - one.heard[0]).total_seconds()) < 60


def test_the_servers_time_is_asked_for_while_all_readings_are_held(site, server):
    one = site(count=0)
    for _ in range(3):
        one.uploader.tick()
    assert one.sizes == [0]  # the first report
    one.spool.enqueue(sample(0), ReadingTime(datetime.now(UTC), 1.0, "this boot", trusted=False))
    assert one.uploader.tick() == one.settings.upload_interval_s
    assert one.sizes == [0, 0]
    assert len(one.heard) == 2
    assert (one.pending, one.uploader.error) == (1, None)
    server.say(Reply(401))
    assert one.uploader.tick() == one.settings.max_backoff_s
    assert "401" in one.uploader.error


def test_a_large_body_is_gzip_and_plain_from_then_on_after_415(site, server):
    one = site(count=120, BATCH_SIZE=60)
    server.say(ACCEPT, Reply(415))
    assert one.drain() == 10
    assert [r.headers.get("content-encoding") for r in server.requests] == ["gzip", "gzip", None]
    assert server.requests[0].size < server.requests[2].size / 3
    one.check_ledger()
    server.say(Reply(415))
    one.fill(1)
    assert 0.5 <= one.uploader.tick() <= 1
    assert one.pending == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>hello</html>"),
        Reply(200, {}),
        Reply(200, {"inserted": 10, "received": 9}),
        Reply(200, {"inserted": True}),
        Reply(200, b'{"inserted": 10}' + b" " * 70_000),
        Reply(202, {"inserted": 10}),
        Reply(204, b"", {"Content-Length": ""}),
        Reply(302, b"", {"Location": "/elsewhere"}),
        *(Reply(status, b"") for status in (404, 405, 410, 411, 415, 501)),
        *(Reply(status, b"") for status in (408, 425, 429, 500, 502, 503)),
        Reply(reset=True),
    ],
    ids=lambda reply: f"{reply.status} {str(reply.body)[:20]}{' reset' * reply.reset}",
)
def test_everything_is_kept_and_sent_again_after_a_wait(site, server, reply, caplog):
    one = site()
    server.say(reply, reply)
    waits = [one.uploader.tick(), one.uploader.tick()]
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2
    assert one.pending == 20
    failed = [record for record in caplog.records if record.event == "upload_failed"]
    assert [record.levelname for record in failed] == ["WARNING", "WARNING"]
    assert failed[1].fields == {"cause": one.uploader.error, "wait": round(waits[1], 3)}
    assert one.uploader.backoff_s == waits[1]
    assert one.drain() == 10
    one.check_ledger()
    assert (one.uploader.error, one.uploader.backoff_s) == (None, 0)


def test_what_was_stored_before_the_answer_was_lost_is_a_duplicate(site, server):
    one = site(count=10)
    server.say(Reply(500, b"", store=True))
    one.uploader.tick()
    one.drain()
    one.check_ledger()
    assert set(server.times_stored.values()) == {2}


def test_waits_double_to_the_longest_and_start_anew_after_a_confirmed_batch(site, server):
    one = site(MIN_BACKOFF_S=2, MAX_BACKOFF_S=9)
    server.say(*[Reply(503)] * 5, ACCEPT, Reply(503))
    waits = [one.uploader.tick() for _ in range(7)]
    assert waits[5] == 0
    for wait_s, nominal_s in zip(waits[:5] + waits[6:], (2, 4, 8, 9, 9, 2), strict=True):
        assert nominal_s / 2 <= wait_s <= nominal_s


def test_each_wait_is_drawn_between_half_and_all_of_its_nominal_value():
    for share in (0.5, 1.0):
        backoff = Backoff(1, 5, draw=lambda low, high, share=share: share)
        assert [backoff.next_s() for _ in range(4)] == [share * n for n in (1, 2, 4, 5)]
    drawn = {Backoff(1, 5).next_s() for _ in range(100)}
    assert len(drawn) > 50
    assert min(drawn) >= 0.5
    assert max(drawn) <= 1


@pytest.mark.parametrize(
    ("value", "low", "high"), [("500", 500, 500), ("x", 0.5, 1), ("0", 0.5, 1)]
)
def test_a_wait_is_never_shorter_than_retry_after_asks(site, server, value, low, high):
    one = site(MAX_BACKOFF_S=60)
    server.say(Reply(503, b"", {"Retry-After": value}))
    assert low <= one.uploader.tick() <= high


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_waits_long_and_is_read_again_from_its_file(
    site, server, tmp_path, status, caplog
):
    token = tmp_path / "token"
    token.write_text("old\n")
    one = site(VPS_DEVICE_TOKEN=None, VPS_DEVICE_TOKEN_FILE=token, MAX_BACKOFF_S=77)
    server.rule = lambda request: ACCEPT if request.token == "new" else Reply(status)
    assert [one.uploader.tick(), one.uploader.tick()] == [77, 77]
    assert one.pending == 20
    assert "token" in one.uploader.error
    token.write_text("new\n")
    assert one.drain() == 10
    assert [request.token for request in server.requests] == ["old", "old", "new", "new"]
    one.check_ledger()
    assert "old" not in caplog.text.split()


def test_the_report_goes_with_every_batch_and_alone_when_there_is_none(site, server, monkeypatch):
    one = site(count=15)
    one.report = {"version": "1", "last_error": None}
    one.drain()
    assert [request.agent for request in server.requests] == [one.report] * 2
    monkeypatch.setattr(uploader, "REPORT_EVERY_S", 0)
    assert one.uploader.tick() == 10
    assert (one.sizes, server.requests[-1].agent) == ([10, 5, 0], one.report)
    uploaded = one.uploader.last_upload_ts
    server.say(Reply(503))
    assert 0.5 <= one.uploader.tick() <= 1
    assert "503" in one.uploader.error
    assert one.uploader.tick() == 10
    assert (one.uploader.error, one.uploader.last_upload_ts) == (None, uploaded)


def test_month_peaks_are_told_once_and_again_only_when_they_were_read_again(site, server):
    one = site(count=30)
    peaks = [{"month": "2026-10", "w": 4928, "ts": "2026-10-14T11:45:00Z"}]
    one.report = {"peaks": peaks}
    server.say(Reply(503))
    one.work(3)
    one.report = {"peaks": list(peaks)}
    one.work(1)
    assert [request.agent for request in server.requests] == [
        {"peaks": peaks},  # not confirmed
        {"peaks": peaks},
        {},
        {"peaks": peaks},
    ]


def test_a_server_that_echoes_the_token_puts_it_into_no_reason_and_no_error(site, server, caplog):
    one = site()
    detail = [{"loc": ["samples", 3, "ts"], "msg": f"{'x' * 180}{TOKEN}", "type": "value"}]
    server.say(Reply(403, {"detail": f"unknown: {TOKEN}"}), Reply(422, {"detail": detail}))
    one.uploader.tick()
    assert "unknown: ***" in one.uploader.error
    one.drain()
    (reason,) = one.aside.values()
    assert "xxx***" in reason
    assert TOKEN[:8] not in caplog.text + reason


def test_of_a_long_backlog_the_newest_batch_goes_first(site, server):
    one = site(count=100)
    server.say(Reply(503))
    one.uploader.tick()
    one.drain()
    first = [round(request.samples[0]["pv_power_w"]) for request in server.requests]
    assert first[:4] == [90, 90, 0, 10]
    assert one.sizes == [10] * 11
    one.check_ledger()


def test_the_rest_is_sent_within_its_time_and_only_while_it_works(site, server):
    one = site(count=50)
    one.uploader.finish(5)
    one.check_ledger()
    one.fill(50)
    server.say(ACCEPT, Reply(503))
    one.uploader.finish(5)
    one.check_ledger(pending=40)
    server.rule = lambda request: Reply(silent=True)
    started = monotonic()
    one.uploader.finish(1)
    assert monotonic() - started < 4
    one.check_ledger(pending=40)


def test_retry_after_is_obeyed_also_at_the_end(site, server):
    one = site()
    server.say(Reply(503, b"", {"Retry-After": "60"}))
    one.uploader.tick()
    one.uploader.finish(5)
    assert len(server.requests) == 1
