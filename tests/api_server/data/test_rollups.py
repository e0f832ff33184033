"""Every bucket of every frame against the truth, on every kind of database and in awkward zones."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest
from psycopg2.errors import LockNotAvailable

from api_server import create_app
from tests.support import history
from tests.support.servers import ROOT, Postgres, migrated_database
from tests.support.servers.process import environment, wait_until
from tests.support.truth import Truth

pytestmark = pytest.mark.slow

DEVICE = "device"
CITUS = pytest.param("citus", marks=pytest.mark.full)
FAMILIES = ("postgres", "timescale_apache", "timescale", CITUS)
# Of the Apache edition only the long form: it keeps its rollups as plain PostgreSQL does.
UNLIKE = ("postgres", pytest.param("timescale_apache", marks=pytest.mark.full), "timescale", CITUS)


def refresh(url: str, zone: str = "Europe/Brussels", **settings: str) -> None:
    """Run the command, and the jobs of the continuous aggregates where there are any, in order."""
    command = [sys.executable, "-m", "api_server.rollups"]
    env = environment({"DATABASE_URL": url, "SITE_TIMEZONE": zone, **settings})
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr
    run_jobs(url)


def run_jobs(url: str) -> None:
    """Refresh the continuous aggregates, where there are any."""
    with closing(psycopg2.connect(url)) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        cursor.execute("SELECT to_regclass('timescaledb_information.jobs')")
        if cursor.fetchone()[0]:
            cursor.execute(
                "SELECT job_id FROM timescaledb_information.jobs"
                " WHERE proc_name ~ 'refresh' ORDER BY 1"
            )
            for (job,) in cursor.fetchall():
                wait_until(lambda job=job: _run_job(cursor, job), 60, f"job {job} to run")


def _run_job(cursor: Any, job: int) -> bool:
    """Whether it ran; not beside the same window's refresh by the database's own scheduler."""
    try:
        cursor.execute("CALL run_job(%s)", (job,))
    except LockNotAvailable:
        return False
    return True


class Site:
    """A migrated database in a zone, and the API on it in this process."""

    def __init__(self, server: Postgres, kind: str, zone: str, url: str | None = None):
        self.server, self.kind, self.zone = server, kind, ZoneInfo(zone)
        self.url = url or migrated_database(server, zone)
        self.app = create_app(
            {
                "DATABASE_URL": self.url,
                "REDIS_URL": "redis://127.0.0.1:1",
                "DEVICE_TOKENS": f"token:{DEVICE}:{kind},other:other:{kind}",
                "SITE_TIMEZONE": zone,
                "MAX_REQUESTS_PER_MINUTE": "0",
            }
        )

    def refresh(self) -> None:
        """Bring everything up to date: the command, and where there are policies a run of each."""
        refresh(self.url, self.zone.key)

    def series(self, **parameters: str) -> list[dict[str, Any]]:
        """What the API answers."""
        headers = {"Authorization": "Bearer token"}
        answer = self.app.test_client().get(
            "/v1/series", query_string={"device_id": DEVICE, **parameters}, headers=headers
        )
        assert answer.status_code == 200, (parameters, answer.json)
        return answer.json["series"]

    def midnight(self, day: date) -> datetime:
        """When a local day begins."""
        return datetime.combine(day, time(), self.zone).astimezone(UTC)


@pytest.fixture
def make_site(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str, str], Site]]:
    """Make a site on a server by the name of its fixture."""
    made: list[Site] = []

    def make(family: str, kind: str, zone: str = "Europe/Brussels") -> Site:
        made.append(Site(request.getfixturevalue(family), kind, zone))
        return made[-1]

    yield make
    for site in made:
        site.server.drop_database(site.url.rpartition("/")[2])


def assert_same(told: list[dict[str, Any]], true: list[dict[str, Any]]) -> None:
    """Same buckets and keys; numbers equal within 1e-6, energies within a milliwatt-hour."""
    assert [bucket["bucket"] for bucket in told] == [bucket["bucket"] for bucket in true]
    for one, other in zip(told, true, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            if isinstance(value, float):
                slack = 0.5 + 1e-9 if name == "avg_power_w" else 2e-6
                assert one[name] == pytest.approx(value, rel=1e-6, abs=slack), (one, other, name)
            else:
                assert one[name] == value, (one, other, name)


def assert_all_frames(site: Site, truth: Truth, chance: random.Random) -> None:
    """Compare every frame: years, months and weeks all of them, and some of the days."""
    first, last = (at.astimezone(site.zone).date() for at in (truth.times[0], truth.times[-1]))

    def check(
        frame: str, text: str, begin: date, end: date, width: str, **more: str
    ) -> list[dict[str, Any]]:
        told = site.series(frame=frame, date=text, **more)
        assert_same(told, truth.series(site.midnight(begin), site.midnight(end), width, site.zone))
        return told

    for width in ("hour", "day", "week", "month"):
        told = []
        for year in range(first.year, last.year + 1):
            span = date(year, 1, 1), date(year + 1, 1, 1)
            told += check("year", str(year), *span, width, bucket=width)
        assert_sums(told, truth)
    month = first.replace(day=1)
    while month <= last:
        following = (month + timedelta(days=31)).replace(day=1)
        check("month", f"{month:%Y-%m}", month, following, "week" if site.kind == "p1" else "day")
        month = following
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    for day in chance.sample(days, min(12, len(days))):
        check("day", str(day), day, day + timedelta(days=1), "hour")
        if site.kind == "p1":
            monday = day - timedelta(days=day.weekday())
            check("week", str(day), monday, monday + timedelta(days=7), "day")
    everything = site.midnight(first.replace(day=1)), site.midnight(date(last.year + 1, 1, 1))
    assert_same(site.series(frame="all"), truth.series(*everything, "month", site.zone))


def assert_sums(told: list[dict[str, Any]], truth: Truth) -> None:
    """Whatever the width, the energies are not negative and add up to what the counters say."""
    for name, line in truth.lines.items():
        energies = [bucket[name] or 0 for bucket in told]
        assert all(energy >= 0 for energy in energies)
        assert sum(energies) == pytest.approx(line[-1][1] if line else 0, abs=0.001), name


@pytest.mark.parametrize("kind", ["sungrow", "p1"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_bucket_is_true(make_site: Callable[..., Site], family: str, kind: str) -> None:
    """Over both nights when the clocks change; a tenth of the samples arrives after a refresh."""
    site = make_site(family, kind)
    made = history.make(kind, DEVICE, datetime(2025, 3, 20, tzinfo=UTC), 235, seed=2)
    punctual = len(made) - len(made) // 10
    history.insert(site.url, kind, made[:punctual])
    run_jobs(site.url)  # before them the command would read it all in real time
    site.refresh()
    history.send(site.url, kind, made[punctual:])
    year = str(made[0]["ts"].year)
    begin, end = site.midnight(date(int(year), 1, 1)), site.midnight(date(int(year) + 1, 1, 1))
    truth = Truth(kind, made)
    assert_same(
        site.series(frame="year", date=year, bucket="day"),
        truth.series(begin, end, "day", site.zone),
    )
    site.refresh()
    other = [{**sample, "device_id": "other"} for sample in made[:500]]
    history.insert(site.url, kind, other)
    assert_all_frames(site, truth, random.Random(3))


@pytest.mark.parametrize(
    ("family", "zone", "start"),
    [
        ("postgres", "Asia/Kolkata", "2025-05-20"),
        ("postgres", "America/St_Johns", "2025-02-25"),
        ("timescale", "America/St_Johns", "2025-10-20"),
        ("postgres", "Australia/Lord_Howe", "2025-03-25"),
        ("timescale", "Australia/Lord_Howe", "2025-09-25"),
        ("timescale", "Asia/Kathmandu", "2025-05-20"),
    ],
)
def test_every_zone(make_site: Callable[..., Site], family: str, zone: str, start: str) -> None:
    """Hours that begin in other minutes than those of UTC, and clocks that change by half."""
    site = make_site(family, "p1", zone)
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    made = history.make("p1", DEVICE, begin, 25, seed=5)
    history.insert(site.url, "p1", made)
    site.refresh()
    assert_all_frames(site, Truth("p1", made), random.Random(3))


def assert_widths(site: Site, truth: Truth) -> None:
    """Compare all hours, days and months of a history."""
    first, last = (at.astimezone(site.zone).year for at in (truth.times[0], truth.times[-1]))
    for year in range(first, last + 1):
        span = site.midnight(date(year, 1, 1)), site.midnight(date(year + 1, 1, 1))
        for width in ("hour", "day", "month"):
            told = site.series(frame="year", date=str(year), bucket=width)
            assert_same(told, truth.series(*span, width, site.zone))


full = pytest.mark.full


@pytest.mark.parametrize(
    ("family", "zone", "start"),
    [
        ("timescale", "Atlantic/Azores", "2025-10-20"),
        ("timescale", "America/Havana", "2026-10-26"),
        pytest.param("timescale", "Asia/Amman", "2021-10-25", marks=full),
        pytest.param("timescale", "America/Scoresbysund", "2022-10-24", marks=full),
        pytest.param("timescale", "Antarctica/Casey", "2020-03-02", marks=full),  # by three hours
        pytest.param("timescale", "Antarctica/Vostok", "2023-12-12", marks=full),  # by two
        ("postgres", "Atlantic/Azores", "2025-10-20"),
        pytest.param("postgres", "Antarctica/Casey", "2020-03-02", marks=full),
        pytest.param("timescale_apache", "America/Havana", "2026-10-26", marks=full),
    ],
)
def test_a_midnight_that_comes_twice(
    make_site: Callable[..., Site], family: str, zone: str, start: str
) -> None:
    """The hour between belongs to the new day, and month; before a refresh, after it, and late."""
    site = make_site(family, "p1", zone)
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    made = history.make("p1", DEVICE, begin, 12, seed=6)
    truth = Truth("p1", made)
    history.insert(site.url, "p1", made[: len(made) // 2])
    site.refresh()
    history.send(site.url, "p1", made[len(made) // 2 :])
    for bring_up_to_date in (lambda: None, site.refresh):
        bring_up_to_date()
        assert_widths(site, truth)


@full
@pytest.mark.parametrize("family", ["timescale", "postgres"])
def test_from_zone_to_zone(make_site: Callable[..., Site], family: str) -> None:
    """Days become those of the new one, kept in tables or not, and late samples are followed."""
    made = history.make("p1", DEVICE, datetime(2025, 10, 20, tzinfo=UTC), 12, seed=6)
    first, part = make_site(family, "p1"), len(made) // 4
    history.insert(first.url, "p1", made[:part])
    for number, zone in enumerate(("Atlantic/Azores", "America/Havana", "Europe/Brussels"), 1):
        environ = environment({"DATABASE_URL": first.url, "SITE_TIMEZONE": zone})
        command = [sys.executable, "-m", "api_server.migrate", "--rebuild-rollups"]
        subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True)
        site = Site(first.server, "p1", zone, first.url)
        assert_widths(site, Truth("p1", made[: number * part]))
        site.refresh()
        history.send(site.url, "p1", made[number * part : (number + 1) * part])
        site.refresh()
        assert_widths(site, Truth("p1", made[: (number + 1) * part]))
