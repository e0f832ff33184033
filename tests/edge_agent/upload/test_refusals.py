"""What the server refuses: which samples are set aside, and when it is the server that is wrong."""

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.upload.allowance import Allowance
from edge_agent.upload.batch import ServerSuspected
from edge_agent.upload.uploader import Uploader
from tests.simulators.ingest_server import ACCEPT, Reply, refuse_named, refuse_silently
from tests.support.agent import sample


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
    assert 0.5 <= one.drain() <= 1
    assert (one.pending, one.aside) == (1, {})
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


@pytest.mark.parametrize(
    "kept",
    [
        "{'day",
        "[]",
        "null",
        '{"day": "2026-11-21"}',
        '{"day": 1}',
        '{"day": "2026-11-21", "confirmed": 1e999, "set_aside": 0}',
    ],
)
def test_an_allowance_that_the_disk_has_damaged_begins_anew(site, kept):
    spool = site(count=0).spool
    spool.set_meta("set_aside_today", kept)
    allowance = Allowance(spool)
    allowance.spend(10)
    with pytest.raises(ServerSuspected):
        allowance.spend(1)


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
