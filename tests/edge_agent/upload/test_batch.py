"""Which samples of a refused batch are bad, asked of an imagined server."""

from typing import NamedTuple

import pytest

from edge_agent.upload.batch import HOPELESS, Batch, ServerSuspected


class Item(NamedTuple):
    id: int


def run(count, bad, names=False, accepted_lately=False):
    """Send a batch until it is through; returns confirmed, set aside, and how often was asked."""
    batch = Batch([Item(number) for number in range(count)])
    confirmed, aside, asked = [], {}, 0
    while batch.pieces:
        asked += 1
        piece = batch.pieces[0]
        named = {i: "bad" for i, item in enumerate(piece) if item.id in bad}
        if named:
            aside |= batch.refuse(named if names else {}, "no")
        else:
            confirmed += [item.id for item in batch.accept()]
    aside |= batch.verdict_on_suspects(accepted_lately)
    return sorted(confirmed), aside, asked


def test_a_good_batch_is_sent_once():
    assert run(500, bad=()) == (list(range(500)), {}, 1)


def test_named_samples_are_set_aside_and_the_rest_sent_at_once():
    confirmed, aside, asked = run(10, bad={3, 7}, names=True)
    assert (set(confirmed), aside) == (set(range(10)) - {3, 7}, {3: "bad", 7: "bad"})
    assert asked == 2


@pytest.mark.parametrize("bad", [{0}, {1}, {6}, {0, 1}, {2, 3, 6}, {0, 1, 2, 3, 4, 5}])
def test_unnamed_samples_are_found_by_halving(bad):
    confirmed, aside, _ = run(7, bad)
    assert (set(confirmed), set(aside)) == (set(range(7)) - bad, bad)


def test_one_bad_sample_of_many_costs_few_requests():
    confirmed, aside, asked = run(500, bad={137})
    assert len(confirmed) == 499
    assert aside == {137: "no"}
    assert asked <= 20


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("count", [2, 3, 500])
def test_a_server_that_refuses_everything_is_suspected(count, names):
    with pytest.raises(ServerSuspected):
        run(count, bad=set(range(count)), names=names, accepted_lately=True)


def test_a_server_that_refuses_everything_is_not_asked_for_ever():
    batch = Batch([Item(number) for number in range(500)])
    for _ in range(HOPELESS - 1):
        assert batch.refuse({}, "no") == {}
    with pytest.raises(ServerSuspected):
        batch.refuse({}, "no")


def test_a_single_refused_sample_is_bad_only_if_the_server_took_another_lately():
    for names in (True, False):
        assert set(run(1, bad={0}, names=names, accepted_lately=True)[1]) == {0}
        with pytest.raises(ServerSuspected):
            run(1, bad={0}, names=names, accepted_lately=False)


def test_a_batch_is_untouched_until_something_is_known_of_a_sample():
    batch = Batch([Item(number) for number in range(5)])
    assert batch.untouched
    batch.refuse({2: "bad"}, "no")
    assert not batch.untouched
