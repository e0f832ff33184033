"""Every answer has one meaning: what happens next, on a real spool and a real HTTPS server."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest

from edge_agent.allowance import Allowance
from edge_agent.batch import ServerSuspected
from edge_agent.spool import Spool
from edge_agent.uploader import Backoff, Uploader
from tests.edge_agent.agent import TOKEN, numbers, sample, settings
from tests.simulators.ingest_server import (
    ACCEPT,
    IngestServer,
    Reply,
    refuse_named,
    refuse_silently,
)


class Site:
    """A spool with samples, a server, and an uploader between them."""

    def __init__(self, folder, server, ca, count=20, **changes):
        self.server = server
        self.settings = settings(
            folder, VPS_INGEST_URL=server.url, VPS_CA_FILE=ca.file, **({"BATCH_SIZE": 10} | changes)
        )
        self.spool = Spool(self.settings.spool_path)
        self.heard = []
        self.uploader = Uploader(self.settings, self.spool, heard_time=self.heard.append)
        self.total = 0
        self.fill(count)

    def fill(self, count):
        for number in range(self.total, self.total + count):
            self.spool.enqueue(sample(number))
        self.total += count

    def drain(self, passes=500):
        """Let it work until it pauses; returns that pause."""
        for _ in range(passes):
            if wait_s := self.uploader.tick():
                return wait_s
        raise AssertionError("it never pauses")

    @property
    def sizes(self):
        return [len(request.samples) for request in self.server.requests]

    @property
    def pending(self):
        return self.spool.status()["pending"]

    @property
    def aside(self):
        """The set-aside samples with their reasons."""
        rejected = self.spool.status()["rejected"]
        return {round(one["sample"]["pv_power_w"]): one["reason"] for one in rejected}

    def check_ledger(self, pending=0):
        """Every sample is in the database, set aside or pending, none twice, none lost."""
        left = [round(e.sample["pv_power_w"]) for e in self.spool.peek(10_000)]
        assert len(left) == self.pending == pending
        everywhere = Counter(numbers(self.server.stored)) + Counter([*self.aside, *left])
        assert everywhere == Counter(range(self.total))


@pytest.fixture
def server(tls):
    with IngestServer(tls) as server:
        yield server


@pytest.fixture
def site(tmp_path, server, ca):
    sites = []

    def build(**changes):
        sites.append(Site(tmp_path, server, ca, **changes))
        return sites[-1]

    yield build
    for one in sites:
        one.uploader.close()
        one.spool.close()


def held(site, wait_s, shortest=1, longest=300):
    """Whether everything stayed and the wait is one of the uploader's."""
    return site.pending == site.total and shortest / 2 <= wait_s <= longest


def test_a_backlog_is_drained_without_pause_then_the_interval_is_kept(site, server):
    one = site(count=25)
    assert one.drain() == 10
    assert one.sizes == [10, 10, 5]
    one.check_ledger()
    assert one.uploader.tick() == 10
    assert len(server.requests) == 3
    assert (one.uploader.error, one.uploader.backoff_s) == (None, 0)
    assert abs((datetime.now(UTC) - one.uploader.last_upload).total_seconds()) < 60


def test_the_request_is_what_the_contract_says(site, server):
    one = site(count=3)
    one.drain()
    request = server.requests[0]
    assert (request.path, request.token) == ("/v1/ingest", TOKEN)
    assert request.headers["content-type"] == "application/json"
    assert "content-encoding" not in request.headers
    assert request.samples == [sample(number) for number in range(3)]
    assert abs((datetime.now(UTC) - one.heard[0]).total_seconds()) < 60


def test_a_large_body_is_gzip_and_plain_from_then_on_after_415(site, server):
    one = site(count=120, BATCH_SIZE=60)
    server.say(ACCEPT, Reply(415))
    assert one.drain() == 10
    assert [r.headers.get("content-encoding") for r in server.requests] == ["gzip", "gzip", None]
    assert server.requests[0].size < server.requests[2].size / 3
    one.check_ledger()
    server.say(Reply(415))
    one.fill(1)
    assert held(one, one.uploader.tick()) or one.pending == 1


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


def test_413_halves_the_batch_and_it_grows_again_slowly(site, server):
    one = site(count=200, BATCH_SIZE=40)
    server.rule = lambda request: ACCEPT if len(request.samples) <= 12 else Reply(413)
    assert one.drain() == 10
    one.check_ledger()
    assert one.aside == {}
    assert one.sizes[:7] == [40, 20, 10, 11, 12, 13, 6]


def test_a_single_sample_that_is_too_large_is_set_aside(site, server):
    one = site(count=8)
    server.rule = lambda request: (
        Reply(413) if any(s["pv_power_w"] == 5 for s in request.samples) else ACCEPT
    )
    one.drain()
    assert list(one.aside) == [5]
    assert "413" in one.aside[5]
    one.check_ledger()


def test_a_body_over_the_servers_usual_limit_is_not_even_sent(site, server):
    one = site(count=0, BATCH_SIZE=500)
    for number in range(400):
        one.spool.enqueue(sample(number, note="x" * 3000))
    one.total = 400
    assert one.drain() == 10
    assert max(one.sizes) == 200
    one.check_ledger()


@pytest.mark.parametrize("status", [400, 422])
def test_named_samples_are_set_aside_and_the_rest_is_sent_at_once(site, server, status):
    one = site()
    server.rule = refuse_named(lambda s: s["pv_power_w"] in (3, 7), status)
    assert one.drain() == 10
    assert one.sizes == [10, 8, 10]
    assert one.aside == {3: "pv_power_w: is bad", 7: "pv_power_w: is bad"}
    one.check_ledger()
    assert one.uploader.error is None


@pytest.mark.parametrize("status", [400, 422])
def test_unnamed_samples_are_found_by_bisection(site, server, status):
    one = site()
    server.rule = refuse_silently(lambda s: s["pv_power_w"] in (3, 7, 19), status)
    assert one.drain() == 10
    assert set(one.aside) == {3, 7, 19}
    assert str(status) in one.aside[3]
    one.check_ledger()


def test_a_fault_in_the_middle_of_a_bisection_loses_nothing(site, server):
    one = site(count=10)
    bad = refuse_silently(lambda s: s["pv_power_w"] == 3)
    server.rule = lambda request: Reply(503) if len(server.requests) % 2 else bad(request)
    for _ in range(100):
        one.uploader.tick()
    assert set(one.aside) == {3}
    one.check_ledger()


@pytest.mark.parametrize("rule", [refuse_named, refuse_silently])
def test_a_server_that_refuses_everything_is_held_against_with_an_alarm(site, server, rule, caplog):
    one = site()
    server.say(ACCEPT)  # even if it was fine a moment ago
    server.rule = rule(lambda s: True)
    one.uploader.tick()
    for _ in range(60):
        one.uploader.tick()
    assert one.aside == {}
    one.check_ledger(pending=10)
    assert "alarm" in [record.event for record in caplog.records]
    server.rule = lambda request: ACCEPT
    one.drain()
    one.check_ledger()


@pytest.mark.parametrize("rule", [refuse_named, refuse_silently])
def test_a_single_refused_sample_is_set_aside_only_by_a_server_that_accepts(site, server, rule):
    one = site(count=1)
    server.rule = rule(lambda s: s["pv_power_w"] == 0)
    assert held(one, one.drain())
    assert one.aside == {}
    one.fill(1)
    one.drain()
    assert set(one.aside) == {0}
    server.rule = rule(lambda s: s["pv_power_w"] == 2)
    one.fill(1)
    one.drain()
    assert set(one.aside) == {0, 2}
    one.check_ledger()


def test_more_than_one_percent_refused_in_a_day_is_an_alarm(site, server, caplog):
    one = site(count=100)
    server.rule = refuse_named(lambda s: s["pv_power_w"] % 5 == 4)
    for _ in range(60):
        one.uploader.tick()
    assert len(one.aside) == 10
    assert "alarm" in [record.event for record in caplog.records]
    assert "in one day" in one.uploader.error
    one.check_ledger(pending=50)


def test_the_count_of_the_day_survives_a_restart(site, server):
    one = site(count=200)
    server.rule = refuse_named(lambda s: s["pv_power_w"] % 5 == 4)
    for _ in range(3):
        one.uploader.close()
        one.uploader = Uploader(one.settings, one.spool)
        for _ in range(40):
            one.uploader.tick()
    assert len(one.aside) == 10


def test_a_day_allows_one_percent_but_at_least_10_and_at_most_100(site):
    today = datetime(2026, 11, 21, tzinfo=UTC)
    allowance = Allowance(site(count=0).spool, now=lambda: today)
    allowance.spend(10)
    with pytest.raises(ServerSuspected):
        allowance.spend(1)
    allowance.confirm(2000)
    allowance.spend(10)
    with pytest.raises(ServerSuspected):
        allowance.spend(1)
    allowance.confirm(100_000)
    allowance.spend(80)
    with pytest.raises(ServerSuspected):
        allowance.spend(1)
    today += timedelta(days=1)
    allowance.spend(10)


def test_set_aside_samples_are_tried_again_when_asked(site, server):
    one = site()
    server.rule = refuse_named(lambda s: s["pv_power_w"] == 3)
    one.drain()
    server.rule = lambda request: ACCEPT
    assert one.spool.retry() == 1
    one.drain()
    assert one.aside == {}
    one.check_ledger()


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
