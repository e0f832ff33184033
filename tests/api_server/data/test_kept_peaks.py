"""The kept peaks of months that are over are what their quarters say, whatever comes late."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from api_server.config import load
from api_server.data import refresh
from api_server.data.cache import Cache
from api_server.data.capacity import Meter, kept, quarters
from api_server.data.capacity.months import back
from api_server.data.database import Store
from api_server.migrations.migrate import connect
from tests.support import history
from tests.support.servers import ROOT, Postgres, Redis, migrated_database, run

pytestmark = pytest.mark.slow
ZONE = ZoneInfo("Europe/Brussels")
START = datetime(2025, 10, 20, 22, tzinfo=UTC)  # a local midnight
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MONTHS = back(date(2026, 3, 1), 6)  # the first with samples is October 2025
QUARTER = timedelta(minutes=15)


class Site:
    """A database with one meter."""

    def __init__(self, url: str, redis: Redis, zone: ZoneInfo = ZONE):
        environ = {"DATABASE_URL": url, "REDIS_URL": redis.url, "DEVICE_TOKENS": ""}
        self.url, self.settings, self.zone = url, load(environ | {"SITE_TIMEZONE": zone.key}), zone
        self.store, self.cache = Store(url), Cache(redis.url, 5)

    def keep(self) -> None:
        """What the command does."""
        with closing(connect(self.url)) as connection:
            refresh.refresh(connection)
            kept.keep(connection, self.zone)

    def kept(self) -> dict:
        """The kept months by their first day."""
        edges = {quarters.bounds(first, self.zone): first for first in MONTHS}
        span = min(edges)[0], max(edges)[1]
        found = self.store.run(lambda cursor: kept.read(cursor, "meter", *span))
        return {edges[month]: peaks for month, peaks in found.items() if month in edges}

    def assert_same(self) -> None:
        """The answers are those of all quarters, and so is what is kept."""
        meter = Meter(self.store, self.cache, self.settings, "meter", NOW)
        read = {first: self._read(first) for first in MONTHS}
        expected = {first: peaks for first, (_, peaks) in read.items()}
        told = meter.peaks(MONTHS)
        assert told == {first: one.billed() for first, one in expected.items() if one.billed()}
        known = self.kept()
        assert known == {first: expected[first] for first in known}
        assert {first: meter.month(first) for first in known} == {
            first: read[first] for first in known
        }

    def _read(self, first: date) -> tuple[list[quarters.Quarter], quarters.Peaks]:
        bounds = quarters.bounds(first, self.zone)

        def work(cursor: object) -> tuple[list[quarters.Quarter], quarters.Peaks]:
            listed, told, _ = quarters.read(cursor, "meter", *bounds, self.zone)
            official = quarters.read_official(cursor, "meter", *bounds, told, NOW)
            return listed, quarters.peaks(official, listed, NOW)

        return self.store.run(work)


@pytest.fixture
def site(postgres: Postgres, redis: Redis) -> Iterator[Site]:
    """A new one."""
    url = migrated_database(postgres)
    yield Site(url, redis)
    postgres.drop_database(url.rpartition("/")[2])


def steady(start: datetime, minutes: int, watts: int, kwh: float = 100) -> list[dict]:
    """Samples every minute of a constant import."""
    return [
        {
            "device_id": "meter",
            "ts": start + timedelta(minutes=minute),
            "power_w": watts,
            "import_power_w": watts,
            "energy_import_kwh": round(kwh + watts * minute / 60_000, 3),
            "energy_export_kwh": None,
        }
        for minute in range(minutes)
    ]


def test_a_random_history_with_a_swap_and_what_comes_late(site):
    made = history.make("p1", "meter", START, 75, 7)
    soon, late = made[: len(made) * 9 // 10], made[len(made) * 9 // 10 :]
    history.insert(site.url, "p1", soon)
    site.assert_same()
    site.keep()
    assert len(site.kept()) >= 4
    site.assert_same()
    for part in range(4):
        some = late[len(late) * part // 4 : len(late) * (part + 1) // 4]
        history.send(site.url, "p1", some)
        site.assert_same()
        if part % 2:
            site.keep()
            site.assert_same()
    assert len(site.kept()) >= 4


def test_only_what_a_late_sample_can_change_is_forgotten(site):
    months = [datetime(2025, month, 10, tzinfo=UTC) for month in (10, 11, 12)]
    made = [one for number, at in enumerate(months) for one in steady(at, 90, 2000, 100 * number)]
    history.insert(site.url, "p1", made)
    site.keep()
    october, november = date(2025, 10, 1), date(2025, 11, 1)
    # What comes next may say more of the last quarter of December; nothing is known of later ones.
    rest = {date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)}
    assert set(site.kept()) == {october, november} | rest
    assert round(site.kept()[november].register.watts) == 2000
    history.send(site.url, "p1", steady(datetime(2025, 12, 11, tzinfo=UTC), 20, 9000, 250))
    assert set(site.kept()) == {october, november}
    history.send(site.url, "p1", steady(datetime(2025, 11, 12, tzinfo=UTC), 20, 9000, 150))
    assert set(site.kept()) == {october}
    site.assert_same()
    site.keep()
    assert round(site.kept()[november].register.watts) == 9000
    site.assert_same()


def test_a_month_that_is_being_read_is_not_kept_if_a_sample_comes(site):
    at = datetime(2025, 10, 10, tzinfo=UTC)
    history.insert(site.url, "p1", steady(at, 90, 2000) + steady(NOW - 99 * QUARTER, 90, 2000, 500))
    site.keep()
    bounds = quarters.bounds(date(2025, 10, 1), ZONE)
    with closing(psycopg2.connect(site.url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("UPDATE p1_kept_peaks SET depends_until = 'infinity'")  # claimed
        assert site.kept() == {}
        history.send(site.url, "p1", steady(at + timedelta(days=2), 20, 9000, 200))
        cursor.execute(
            "UPDATE p1_kept_peaks SET depends_until = month_end WHERE month_start = %s", bounds[:1]
        )
        assert cursor.rowcount == 0
    site.assert_same()


def test_to_make_anew_forgets_what_depends_on_that_time(site):
    at = datetime(2025, 10, 10, tzinfo=UTC)
    history.insert(site.url, "p1", steady(at, 90, 2000) + steady(NOW - 99 * QUARTER, 90, 2000, 500))
    site.keep()
    assert date(2025, 10, 1) in site.kept()
    with closing(connect(site.url)) as connection:
        kept.forget(connection, at)
    assert site.kept() == {}


@pytest.mark.parametrize(
    "family",
    [
        "postgres",
        pytest.param("timescale", marks=pytest.mark.full),
        pytest.param("timescale_apache", marks=pytest.mark.full),
    ],
)
def test_another_zone_has_months_of_its_own(request, redis, family):
    """On every database: what is kept of the months of one zone is none of another's."""
    servers = request.getfixturevalue(family)
    url = migrated_database(servers)
    october, november = date(2025, 10, 1), date(2025, 11, 1)
    at = datetime(2025, 10, 31, 20, tzinfo=UTC)  # in Tokyo it is November
    made = steady(at - timedelta(days=9), 90, 2000) + steady(at, 90, 9000, 500)
    history.insert(url, "p1", made + steady(NOW - 99 * QUARTER, 90, 2000, 5000))
    for zone, first in ((ZONE, october), (ZoneInfo("Asia/Tokyo"), november)):
        if zone != ZONE:
            settings = {**os.environ, "DATABASE_URL": url, "SITE_TIMEZONE": zone.key}
            command = [sys.executable, "-m", "api_server.migrate", "--rebuild-rollups"]
            run(command, 60, cwd=ROOT, env=settings)
        site = Site(url, redis, zone)
        site.assert_same()
        assert first not in site.kept()
        site.keep()
        site.assert_same()
        told = {
            month: round(peaks.register.watts)
            for month, peaks in site.kept().items()
            if peaks.register
        }
        assert told == {october: 2000} | {first: 9000}
        meter = Meter(site.store, site.cache, site.settings, "meter", NOW)
        assert [len(meter.month(month)[0]) for month in (october, november)] == (
            [12, 0] if first == october else [6, 6]
        )
    servers.drop_database(url.rpartition("/")[2])
