"""What has just happened, and what comes late, on continuous aggregates."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import psycopg2
import pytest

from tests.api_server.data.test_rollups import DEVICE, Site, make_site
from tests.support.history import insert

pytestmark = pytest.mark.slow

__all__ = ["make_site"]  # a fixture


def sample(at: datetime, power: int, kwh: float) -> dict[str, Any]:
    """One of a meter."""
    return {
        "device_id": DEVICE,
        "ts": at,
        "power_w": power,
        "import_power_w": power,
        "energy_import_kwh": kwh,
    }


def count(site: Site, at: datetime) -> dict[str, int]:
    """How many samples each frame has in the bucket of a time."""
    day = at.astimezone(site.zone).date()
    dates = {"day": f"{day}", "week": f"{day}", "month": f"{day:%Y-%m}", "year": f"{day:%Y}"}
    found = {}
    for frame in ("day", "week", "month", "year", "all"):
        picked = {"date": dates[frame]} if frame in dates else {}
        told = [
            bucket["sample_count"]
            for bucket in site.series(frame=frame, **picked)
            if datetime.fromisoformat(bucket["bucket"]) <= at
        ]
        found[frame] = told[-1] if told else 0
    return found


def test_the_open_end_and_late_rows(make_site: Callable[..., Site]) -> None:
    """The hour that just closed, today and this month are there at once; rows that are 10 and 40
    days late are in every frame after one run of the policies."""
    site = make_site("timescale", "p1")
    now = datetime.now(UTC)
    begin = now - timedelta(days=50)
    made = [
        sample(begin + timedelta(minutes=10 * n), 100, n / 100)
        for n in range(50 * 144)
        if n // 144 not in (10, 40)
    ]
    insert(site.url, "p1", made)
    site.refresh()
    hour = now.replace(minute=0, second=0, microsecond=0)
    fresh = [sample(hour - timedelta(minutes=1), 7000, 72.0), sample(now, 8000, 72.1)]
    insert(site.url, "p1", fresh)
    day = site.series(
        frame="day", date=str((hour - timedelta(minutes=1)).astimezone(site.zone))[:10]
    )
    closed = [b for b in day if datetime.fromisoformat(b["bucket"]) == hour - timedelta(hours=1)]
    assert [bucket["max_power_w"] for bucket in closed] == [7000]
    for frame in ("day", "week", "month", "year", "all"):
        assert site.series(frame=frame)[-1]["max_power_w"] == 8000, frame
    for days in (10, 40):
        noon = datetime.combine((now - timedelta(days=days)).date(), time(12), UTC)
        late = [
            sample(noon + timedelta(minutes=n), 100, (noon - begin) / timedelta(days=1) * 1.44)
            for n in range(5)
        ]
        before = count(site, noon)
        insert(site.url, "p1", late)
        site.refresh()
        after = count(site, noon)
        assert after == {frame: number + 5 for frame, number in before.items()}


def test_late_rows_in_compressed_chunks(make_site: Callable[..., Site]) -> None:
    """They are taken, the same ones again change nothing, and the rollups have them."""
    site = make_site("timescale", "p1")
    noon = datetime.combine((datetime.now(UTC) - timedelta(days=150)).date(), time(12), UTC)
    punctual = [sample(noon + timedelta(minutes=n), 100, n / 10) for n in range(0, 60, 2)]
    insert(site.url, "p1", punctual)
    site.refresh()
    conn = psycopg2.connect(site.url)
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT job_id FROM timescaledb_information.jobs"
            " WHERE proc_name = 'policy_compression' AND hypertable_name = 'p1_samples'"
        )
        cursor.execute("CALL run_job(%s)", cursor.fetchone())
        cursor.execute(
            "SELECT bool_and(is_compressed) FROM timescaledb_information.chunks"
            " WHERE hypertable_name = 'p1_samples'"
        )
        assert cursor.fetchone() == (True,)
    conn.close()
    every = [sample(noon + timedelta(minutes=n), 400, n / 10) for n in range(60)]
    for _ in range(2):
        insert(site.url, "p1", every)
        site.refresh()
        assert count(site, noon) == dict.fromkeys(("day", "week", "month", "year", "all"), 60)
    [hour] = site.series(frame="day", date=str(noon.astimezone(site.zone).date()))
    assert (hour["avg_power_w"], hour["energy_import_kwh"]) == (250, pytest.approx(5.9))
