"""What the server refuses: which samples are set aside, and when it is the server that is wrong."""

import pytest

from tests.simulators.ingest_server import ACCEPT, Reply, refuse_named, refuse_silently
from tests.support.agent import sample


def test_413_halves_the_batch_and_it_grows_again_slowly(site, server):
    one = site(count=200, BATCH_SIZE=40)
    server.rule = lambda request: ACCEPT if len(request.samples) <= 12 else Reply(413)
    assert one.drain() == 10
    one.check_ledger()
    assert one.aside == {}
    assert one.sizes[:7] == [40, 20, 10, 11, 12, 13, 6]


def test_a_single_sample_that_is_too_large_is_set_aside_by_a_server_that_takes_others(site, server):
    one = site(count=8)
    server.rule = lambda request: (
        Reply(413) if any(s["pv_power_w"] == 5 for s in request.samples) else ACCEPT
    )
    one.work(20)
    assert (one.pending, one.aside) == (1, {})  # it was the last one: nothing else to compare with
    one.fill(1)
    one.work(5)
    assert list(one.aside) == [5]
    assert "413" in one.aside[5]
    one.check_ledger()


def test_a_server_for_which_everything_is_too_large_costs_no_sample_its_place(site, server):
    one = site(count=8)
    server.rule = lambda request: Reply(413)
    one.work(20)
    assert one.aside == {}
    assert "413" in one.uploader.error
    server.rule = lambda request: ACCEPT
    one.work(20)
    one.check_ledger()


@pytest.mark.slow
def test_a_body_over_the_servers_usual_limit_is_not_even_sent(site, server):
    one = site(count=0, BATCH_SIZE=500)
    for number in range(400):
        one.spool.enqueue(sample(number, note="x" * 3000))
    one.total = 400
    assert one.drain() == 10
    assert max(one.sizes) == 200
    one.check_ledger()


@pytest.mark.parametrize("status", [400, 422])
def test_named_samples_are_set_aside_and_the_rest_is_sent_at_once(site, server, status, caplog):
    one = site()
    server.rule = refuse_named(lambda s: s["pv_power_w"] in (3, 7), status)
    assert one.drain() == 10
    assert one.sizes == [10, 10, 8]
    assert one.aside == {3: "pv_power_w: is bad", 7: "pv_power_w: is bad"}
    one.check_ledger()
    assert one.uploader.error is None
    (told,) = [record for record in caplog.records if record.event == "set_aside"]
    assert told.fields == {"reasons": ["pv_power_w: is bad"] * 2}


@pytest.mark.parametrize("status", [400, 422])
def test_a_batch_that_is_refused_without_names_is_held(site, server, status):
    one = site()
    server.rule = refuse_silently(lambda s: s["pv_power_w"] == 3, status)
    assert 0.5 <= one.drain() <= 1
    assert one.aside == {}
    assert one.uploader.error == (
        f"the server answered {status}: it refuses the batch and names no sample"
    )
    server.rule = lambda request: ACCEPT
    one.drain()
    one.check_ledger()


def test_a_server_that_refuses_everything_sets_nothing_aside(site, server):
    one = site()
    server.say(ACCEPT)  # even if it was fine a moment ago
    server.rule = refuse_named(lambda s: True)
    one.work(60)
    assert one.aside == {}
    one.check_ledger(pending=10)
    assert "all 10 samples of a batch are held: the server answered 422" in one.uploader.error
    server.rule = lambda request: ACCEPT
    one.drain()
    one.check_ledger()
    assert one.uploader.error is None


def test_a_batch_that_is_bad_as_a_whole_is_set_aside_once_the_newest_was_taken(site, server):
    one = site(count=40)
    server.rule = refuse_named(lambda s: s["pv_power_w"] < 20)
    waits = [one.uploader.tick() for _ in range(6)]
    sent = [round(request.samples[0]["pv_power_w"]) for request in server.requests]
    assert sent == [30, 0, 20, 0, 10, 10]  # first the newest, as of every long backlog
    assert [wait_s > 0 for wait_s in waits] == [False, True, False, False, True, True]
    assert one.aside == dict.fromkeys(range(10), "pv_power_w: is bad")
    one.fill(1)
    assert one.drain() == 10
    assert set(one.aside) == set(range(20))
    one.check_ledger()
    assert one.uploader.error is None


def test_a_single_refused_sample_waits_for_one_that_the_server_takes(site, server):
    one = site(count=1)
    server.rule = refuse_named(lambda s: s["pv_power_w"] == 0)
    assert 0.5 <= one.drain() <= 1
    assert (one.pending, one.aside) == (1, {})
    one.fill(1)
    assert one.drain() == 10
    assert set(one.aside) == {0}
    # What was taken before a sample was refused proves nothing about it.
    server.rule = refuse_named(lambda s: s["pv_power_w"] == 2)
    one.fill(1)
    assert 0.5 <= one.drain() <= 1
    assert set(one.aside) == {0}
    one.fill(1)
    one.drain()
    assert set(one.aside) == {0, 2}
    one.check_ledger()


def test_a_fault_between_refusal_and_proof_loses_nothing(site, server):
    one = site(count=25)
    bad = refuse_named(lambda s: s["pv_power_w"] < 10)
    server.rule = lambda request: Reply(503) if len(server.requests) % 2 else bad(request)
    one.work(40)
    assert set(one.aside) == set(range(10))
    one.check_ledger()


def test_samples_of_another_device_are_set_aside_before_anything_is_sent(site, server):
    one = site(count=0)
    for number in range(15):
        one.spool.enqueue(sample(number, device_id="roof" if number % 2 else "house"))
    one.total = 15
    assert one.drain() == 10
    one.check_ledger()
    assert {s["device_id"] for request in server.requests for s in request.samples} == {"house"}
    reason = "of device roof, while DEVICE_ID is house"
    assert one.aside == dict.fromkeys(range(1, 15, 2), reason)


def test_set_aside_samples_are_tried_again_when_asked(site, server):
    one = site()
    server.rule = refuse_named(lambda s: s["pv_power_w"] == 3)
    one.drain()
    server.rule = lambda request: ACCEPT
    assert one.spool.retry() == 1
    one.drain()
    assert one.aside == {}
    one.check_ledger()
