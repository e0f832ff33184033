"""Samples that are kept for a limited time only: what they said stays."""

import random
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from api_server.data.capacity import kept
from api_server.data.refresh import forget
from api_server.migrations.migrate import connect
from tests.api_server.data.test_late import ask
from tests.api_server.data.test_rollups import (
    DEVICE,
    UNLIKE,
    Site,
    assert_all_frames,
    make_site,
    refresh,
)
from tests.support import history
from tests.support.truth import Truth

pytestmark = pytest.mark.slow

__all__ = ["make_site"]  # a fixture
DAYS = 40


@pytest.mark.parametrize("kind", [pytest.param("sungrow", marks=pytest.mark.full), "p1"])
@pytest.mark.parametrize("family", UNLIKE)
def test_rollups_outlive_their_samples(
    make_site: Callable[..., Site], family: str, kind: str
) -> None:
    """Also what a counter did there, through later refreshes and when all is made anew."""
    site = make_site(family, kind)
    now = datetime.now(UTC)
    made = history.make(kind, DEVICE, now - timedelta(days=75), 74, seed=8)
    history.send(site.url, kind, made)
    site.refresh()  # else what is late on arrival is held back
    truth = Truth(kind, made)
    refresh(site.url, KEEP_SAMPLES_DAYS=str(DAYS))
    [(oldest,)] = ask(site.url, f"SELECT min(ts) FROM {kind}_samples")
    chunk = timedelta(days=7 if family.startswith("timescale") else 0)
    assert now - timedelta(days=DAYS + 3) - chunk < oldest < now - timedelta(days=DAYS)
    assert ask(site.url, f"SELECT count(*) FROM {kind}_kept_readings")[0][0] < len(made) / 10
    assert_all_frames(site, truth, random.Random(3))
    late = [{**one, "ts": one["ts"] + timedelta(seconds=1)} for one in made[-40:]]
    history.send(site.url, kind, late)
    truth = Truth(kind, made + late)
    refresh(site.url, KEEP_SAMPLES_DAYS=str(DAYS))
    peaks = ask(site.url, "SELECT * FROM p1_kept_peaks ORDER BY month_start")
    assert_all_frames(site, truth, random.Random(3))
    with closing(connect(site.url)) as connection:  # what `--since` does
        forget(connection, made[0]["ts"])
        kept.forget(connection, made[0]["ts"])
    refresh(site.url, KEEP_SAMPLES_DAYS=str(DAYS))
    assert_all_frames(site, truth, random.Random(3))
    assert ask(site.url, "SELECT * FROM p1_kept_peaks ORDER BY month_start") == peaks


def test_nothing_goes_that_is_not_kept_otherwise(make_site: Callable[..., Site]) -> None:
    """A device whose rollups are behind holds everything back, and nothing goes by default."""
    site = make_site("postgres", "p1")
    now = datetime.now(UTC)
    made = history.make("p1", DEVICE, now - timedelta(days=60), 59, seed=9)
    history.insert(site.url, "p1", made)
    site.refresh()
    count = "SELECT count(*) FROM p1_samples"
    before = ask(site.url, count)
    late = {**made[10], "ts": made[10]["ts"] + timedelta(seconds=1)}
    history.send(site.url, "p1", [late])
    assert ask(site.url, "SELECT count(*) FROM rollup_marks") == [(1,)]
    assert ask(site.url, count) == [(before[0][0] + 1,)]
    refresh(site.url, KEEP_SAMPLES_DAYS="45")
    assert ask(site.url, "SELECT count(*) FROM rollup_marks") == [(0,)]
    assert ask(site.url, count) < before
    assert_all_frames(site, Truth("p1", [*made, late]), random.Random(1))
