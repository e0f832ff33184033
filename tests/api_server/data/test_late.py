"""Samples that come late, in every frame: before a refresh, after it, and while it runs."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from api_server.data import refresh, samples
from tests.api_server.data.test_rollups import (
    DEVICE,
    FAMILIES,
    Site,
    assert_all_frames,
    assert_same,
    make_site,
)
from tests.support import history
from tests.support.servers import ROOT, wait_until
from tests.support.servers.process import environment
from tests.support.truth import Truth

pytestmark = pytest.mark.slow

__all__ = ["make_site"]  # a fixture
START = datetime(2025, 10, 20, 22, tzinfo=UTC)  # a local midnight
MINUTE = timedelta(minutes=1)


def sample(at: datetime, power_w: int = 600) -> dict[str, Any]:
    """One of a meter that imports 600 W, whatever it says of its power."""
    kwh = 100 + 0.6 * ((at - START) / timedelta(hours=1))
    return {
        "device_id": DEVICE,
        "ts": at,
        "power_w": power_w,
        "import_power_w": power_w,
        "energy_import_kwh": round(kwh, 3),
        "energy_export_kwh": None,
    }


def every(step: timedelta, start: datetime, end: datetime, power_w: int = 600) -> list[dict]:
    """Samples from start to end."""
    count = int((end - start) / step)
    return [sample(start + number * step, power_w) for number in range(count)]


def run_policies(url: str) -> None:
    """Those of the continuous aggregates alone, in order."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(
            "SELECT job_id FROM timescaledb_information.jobs"
            " WHERE proc_name = 'policy_refresh_continuous_aggregate' ORDER BY 1"
        )
        for job in cursor.fetchall():
            cursor.execute("CALL run_job(%s)", job)


def ask(url: str, query: str) -> list[tuple]:
    """The rows of a query."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_a_late_stretch_that_ends_in_the_first_quarter_of_a_day(
    make_site: Callable[..., Site],
) -> None:
    """The policies of the continuous aggregates leave that day out; the answers do not, and the
    job that follows the marks puts it right."""
    site = make_site("timescale", "p1")
    noon, next_day = datetime(2025, 11, 6, 11, tzinfo=UTC), datetime(2025, 11, 6, 23, tzinfo=UTC)
    after = datetime(2025, 11, 7, 5, 15, tzinfo=UTC)
    made = every(5 * MINUTE, START, noon) + every(5 * MINUTE, after, START + timedelta(days=40))
    history.insert(site.url, "p1", made)
    site.refresh()
    late = every(MINUTE, noon, next_day)
    late += every(MINUTE, next_day, next_day + 15 * MINUTE, 9000)
    history.send(site.url, "p1", late)
    truth = Truth("p1", made + late)
    for bring_up_to_date in (lambda: None, lambda: run_policies(site.url), site.refresh):
        bring_up_to_date()
        [friday] = [
            bucket
            for bucket in site.series(frame="week", date="2025-11-07")
            if bucket["bucket"].startswith("2025-11-07")
        ]
        assert (friday["sample_count"], friday["max_power_w"]) == (228, 9000)
        assert_all_frames(site, truth, random.Random(1))
    assert ask(site.url, "SELECT count(*) FROM rollup_marks") == [(0,)]
    query = "SELECT sample_count, max_power_w FROM p1_daily WHERE bucket = '2025-11-06T23:00Z'"
    assert ask(site.url, query) == [(228, 9000)]


def test_a_late_stretch_that_came_past_the_api(make_site: Callable[..., Site]) -> None:
    """The policies never see its last day; `--since` puts that right."""
    site = make_site("timescale", "p1")
    day = START + timedelta(days=2)
    made = every(5 * MINUTE, START, day + 15 * MINUTE)
    made += every(5 * MINUTE, day + timedelta(days=2), day + timedelta(days=3))
    history.insert(site.url, "p1", made)
    run_policies(site.url)
    of_that_day = f"SELECT sum(sample_count) FROM p1_daily WHERE bucket = '{day}'"
    assert ask(site.url, of_that_day) == [(None,)]
    command = [sys.executable, "-m", "api_server.rollups", "--since", "2025-10-22"]
    settings = environment({"DATABASE_URL": site.url, "SITE_TIMEZONE": site.zone.key})
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    begin, end = START, START + timedelta(days=7)
    true = Truth("p1", made).series(begin, end, "day", site.zone)
    for bring_up_to_date in (lambda: None, site.refresh):
        bring_up_to_date()
        told = site.series(frame="month", date="2025-10", bucket="day")
        assert_same(told, true)
    assert ask(site.url, of_that_day) == [(3,)]
    assert ask(site.url, "SELECT count(*) FROM rollup_marks") == [(0,)]


def test_a_late_stretch_of_today(make_site: Callable[..., Site]) -> None:
    """What follows the marks leaves the running hour, day and month to real time."""
    site = make_site("timescale", "p1")
    now = datetime.now(UTC)
    gap = now - timedelta(hours=3), now - timedelta(minutes=80)
    made = every(5 * MINUTE, now - timedelta(days=3), now - 5 * MINUTE)
    late = [one for one in made if gap[0] <= one["ts"] < gap[1]]
    made = [one for one in made if one not in late]
    history.insert(site.url, "p1", made)
    site.refresh()
    history.send(site.url, "p1", late)
    site.refresh()
    assert ask(site.url, "SELECT count(*) FROM rollup_marks") == [(0,)]
    fresh = every(MINUTE, now - 5 * MINUTE, now, 9000)
    history.send(site.url, "p1", fresh)
    total = len(made + late + fresh)
    for width in ("hour", "day", "month"):
        told = [one["sample_count"] for one in site.series(frame="all", bucket=width)]
        assert sum(told) == total, width
    for name in ("quarter_hourly", "hourly", "daily", "monthly"):
        assert ask(site.url, f"SELECT sum(sample_count) FROM p1_{name}") == [(total,)], name


@pytest.mark.parametrize("family", FAMILIES)
def test_random_late_stretches(make_site: Callable[..., Site], family: str) -> None:
    """Of minutes to days, again and again, with a refresh after every second one."""
    chance = random.Random(5)
    site = make_site(family, "p1")
    end = START + timedelta(days=20)
    all_of_it = every(10 * MINUTE, START, end)
    absent = set()
    for _ in range(10):
        begin = chance.randrange(len(all_of_it))
        absent |= set(range(begin, begin + chance.choice((1, 2, 7, 50, 300)))) & set(
            range(len(all_of_it))
        )
    made = [one for number, one in enumerate(all_of_it) if number not in absent]
    history.insert(site.url, "p1", made)
    site.refresh()
    for number in range(6):
        stretch = [n for n in sorted(absent) if n * 6 // len(all_of_it) == number]
        if not stretch:
            continue
        late = [all_of_it[n] for n in stretch]
        history.send(site.url, "p1", late)
        made += late
        if number % 2:
            site.refresh()
        truth = Truth("p1", made)
        begin, stop = site.midnight(date(2025, 10, 1)), site.midnight(date(2025, 11, 1))
        for width in ("hour", "day", "week"):
            told = site.series(frame="month", date="2025-10", bucket=width)
            assert_same(told, truth.series(begin, stop, width, site.zone))


MIDDLE = START + timedelta(days=5)
END = START + timedelta(days=10)


@pytest.fixture
def half_kept(make_site: Callable[..., Site]) -> Site:
    """A meter's ten days on plain PostgreSQL, of which five are kept."""
    site = make_site("postgres", "p1")
    history.insert(site.url, "p1", every(5 * MINUTE, START, END))
    with connected(site.url) as cursor:
        begin_refresh(cursor, MIDDLE)
        keep(cursor, MIDDLE)
    return site


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """A cursor whose statements are transactions, but for those between BEGIN and COMMIT."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def begin_refresh(cursor: Any, until: datetime) -> None:
    """The first step of a refresh: what is stored from now on is marked below a time."""
    refresh.move_marks(cursor, "p1", DEVICE, until)


def keep(cursor: Any, until: datetime) -> None:
    """The second step."""
    cursor.execute("SELECT rollup_refresh('p1', %s, %s)", (DEVICE, until))


def counts(site: Site) -> tuple[int, int]:
    """The samples of the sixth day, which has 25 hours: as answered, and as they are."""
    day = MIDDLE.astimezone(site.zone).date()
    told = sum(one["sample_count"] for one in site.series(frame="day", date=str(day)))
    end = MIDDLE + timedelta(hours=25)
    between = f"ts >= '{MIDDLE.isoformat()}' AND ts < '{end.isoformat()}'"
    return told, ask(site.url, f"SELECT count(*) FROM p1_samples WHERE {between}")[0][0]


INSERT = "INSERT INTO p1_samples (device_id, ts, power_w, import_power_w) VALUES (%s, %s, 5, 5)"
# As the function does it that stores samples.
LOCK = "SELECT pg_advisory_xact_lock_shared(%s, hashtext(%s)); SELECT rollup_marked(%s, %s)"
LOCKED = (samples.LOCK, DEVICE, "p1", DEVICE)


def test_a_batch_that_need_not_be_marked_when_a_refresh_begins(half_kept: Site) -> None:
    """The refresh waits until it is committed: else it would keep that time without it."""
    new = MIDDLE + timedelta(hours=1, seconds=7)
    with connected(half_kept.url) as batch, connected(half_kept.url) as other:
        batch.execute("BEGIN")
        batch.execute(LOCK, LOCKED)
        assert batch.fetchone()[0] <= new  # no mark
        batch.execute(INSERT, (DEVICE, new))
        begun = threading.Thread(target=begin_refresh, args=(other, END), name="refresh")
        begun.start()
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: ask(half_kept.url, waiting), 20, "the refresh to wait")
        batch.execute("COMMIT")
        begun.join(20)
        keep(other, END)
    assert ask(half_kept.url, "SELECT count(*) FROM rollup_marks") == [(0,)]
    assert counts(half_kept) == (301, 301)


def test_a_batch_that_is_stored_while_quarters_are_kept(half_kept: Site) -> None:
    """It is marked, and counts before and after the next refresh."""
    new = MIDDLE + timedelta(hours=1, seconds=7)
    with connected(half_kept.url) as other:
        begin_refresh(other, END)
        other.execute("BEGIN")
        keep(other, END)
        history.send(half_kept.url, "p1", [sample(new)])
        assert counts(half_kept) == (301, 301)
        other.execute("COMMIT")
    assert ask(half_kept.url, "SELECT count(*) FROM rollup_marks") == [(1,)]
    assert counts(half_kept) == (301, 301)
    half_kept.refresh()
    assert ask(half_kept.url, "SELECT count(*) FROM rollup_marks") == [(0,)]
    assert counts(half_kept) == (301, 301)


@pytest.mark.parametrize("family", ["postgres", "timescale_apache"])
def test_killed_in_the_middle(make_site: Callable[..., Site], family: str) -> None:
    """Whatever was kept by then, the answers are right, and the next run goes on from there."""
    site = make_site(family, "p1")
    made = every(3 * MINUTE, START, START + timedelta(days=60))
    history.insert(site.url, "p1", made)
    truth = Truth("p1", made)
    command = [sys.executable, "-m", "api_server.rollups"]
    for days in (0, 20, 40):
        process = subprocess.Popen(command, cwd=ROOT, env=environment({"DATABASE_URL": site.url}))
        until = f"SELECT 1 FROM rollup_state WHERE kept_until > '{START + timedelta(days=days)}'"
        wait_until(lambda: ask(site.url, until), 30, "some of it to be kept")  # noqa: B023
        process.kill()
        process.wait(10)
        for width in ("hour", "day", "month"):
            begin, end = site.midnight(date(2025, 1, 1)), site.midnight(date(2026, 1, 1))
            told = site.series(frame="year", date="2025", bucket=width)
            assert_same(told, truth.series(begin, end, width, site.zone))
    site.refresh()
    assert_all_frames(site, truth, random.Random(1))


def test_a_refresh_up_to_a_time_that_another_has_passed(half_kept: Site) -> None:
    """What it finds marked it keeps anew, also in days and months that end after its own time."""
    half_kept.refresh()
    history.send(half_kept.url, "p1", [sample(MIDDLE + timedelta(hours=3, seconds=7), 9000)])
    with connected(half_kept.url) as other:
        keep(other, MIDDLE)
    assert ask(half_kept.url, "SELECT count(*) FROM rollup_marks") == [(0,)]
    kept_until = ask(half_kept.url, "SELECT kept_until FROM rollup_state")[0][0]
    assert kept_until > datetime.now(UTC) - timedelta(hours=1)
    for width in ("hour", "day", "month"):
        told = half_kept.series(frame="year", date="2025", bucket=width)
        assert max(one["max_power_w"] for one in told) == 9000, width


def test_while_four_clients_send(make_site: Callable[..., Site]) -> None:
    """Of two devices, new and late, while two refreshes run one after the other all the time."""
    site = make_site("postgres", "p1")
    made = every(MINUTE, START, START + timedelta(days=6))
    chance, done, failed = random.Random(2), threading.Event(), []
    chance.shuffle(made)
    made.sort(key=lambda one: (one["ts"] - START) // timedelta(days=1))

    def bring_up_to_date() -> None:
        while not done.is_set():
            try:
                with closing(psycopg2.connect(site.url)) as connection:
                    connection.autocommit = True
                    refresh.refresh(connection)
            except psycopg2.Error as error:
                failed.append(error)

    refreshes = [threading.Thread(target=bring_up_to_date, name="refresh") for _ in range(2)]
    clients = [
        threading.Thread(
            target=history.send, args=(site.url, "p1", made[n::4], 50), name=f"client {n}"
        )
        for n in range(4)
    ]
    for thread in (*refreshes, *clients):
        thread.start()
    for client in clients:
        client.join(120)
    done.set()
    for thread in refreshes:
        thread.join(60)
    assert failed == []
    truth = Truth("p1", made)
    assert_all_frames(site, truth, random.Random(1))
    site.refresh()
    assert_all_frames(site, truth, random.Random(1))
