"""The capacity of whole months against a computation that shares nothing with the server's.

The months are made to be awkward: the clocks change, quarters are missing, tied, half covered or
open, and the neighbouring months are full of higher peaks at the very edge.
"""

import contextlib
import http.client
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from api_server.data.capacity.quarters import Quarter, peaks
from edge_agent.shared.samples import format_time, parse_time
from tests.support.servers import Api, Postgres, migrated_database, open_folder

pytestmark = pytest.mark.slow

BRUSSELS = ZoneInfo("Europe/Brussels")
QUARTER = timedelta(minutes=15)
METERS = [f"meter{number}" for number in range(14)]
DAY = 86_400
OLD = (5000, -5 * DAY)


def truth(samples: list[dict], month: str, now: datetime) -> dict:
    """What the contract says of a month, computed sample by sample in exact fractions."""
    kept: dict[datetime, dict] = {}
    for sample in samples:
        kept.setdefault(parse_time(sample["ts"]), sample)
    quarters: dict[datetime, list[tuple[datetime, int]]] = {}
    official = (None, None)
    for moment, sample in sorted(kept.items()):
        start = datetime.fromtimestamp(moment.timestamp() // 900 * 900, UTC)
        if start.astimezone(BRUSSELS).strftime("%Y-%m") == month:
            quarters.setdefault(start, []).append((moment, sample["import_power_w"]))
        if sample.get("monthly_power_peak_ts"):
            ended = parse_time(sample["monthly_power_peak_ts"])
            if (ended - QUARTER).astimezone(BRUSSELS).strftime("%Y-%m") == month:
                official = (sample["monthly_power_peak_w"], ended)
    listed = []
    for start, readings in sorted(quarters.items()):
        mean = Fraction(sum(power for _, power in readings), len(readings))
        minutes = {moment.replace(second=0, microsecond=0) for moment, _ in readings}
        listed.append((start, mean, Fraction(len(minutes), 15)))
    good = [one for one in listed if one[2] >= Fraction(4, 5) and one[0] + QUARTER <= now]
    best = max(good or listed, key=lambda one: (one[1], -one[0].timestamp()), default=None)
    return {"peaks": listed, "best": best, "official": official}


def assert_true(answer: dict, month: str, expected: dict) -> None:
    """Compare an answer of the API with the truth."""
    assert answer["month"] == month
    told = [parse_time(peak["bucket"]) for peak in answer["peaks"]]
    assert told == [start for start, _, _ in expected["peaks"]]
    for peak, (start, mean, coverage) in zip(answer["peaks"], expected["peaks"], strict=True):
        assert abs(peak["avg_power_w"] - mean) <= Fraction(1, 2), start
        assert isinstance(peak["avg_power_w"], int)
        assert peak["coverage"] == pytest.approx(float(coverage), abs=0.001), start
        offset = start.astimezone(BRUSSELS).strftime("%z")
        assert peak["bucket"].endswith(f"{offset[:3]}:{offset[3:]}")
    start, mean, coverage = expected["best"] or (None, None, None)
    assert (answer["monthly_peak_ts"] and parse_time(answer["monthly_peak_ts"])) == start
    assert (answer["monthly_peak_w"] is None) == (mean is None)
    if mean is not None:
        assert abs(answer["monthly_peak_w"] - mean) <= Fraction(1, 2)
        assert answer["monthly_peak_coverage"] == pytest.approx(float(coverage), abs=0.001)
    power, ended = expected["official"]
    assert answer["official_peak_w"] == power
    assert (answer["official_peak_ts"] and parse_time(answer["official_peak_ts"])) == ended


def sample(moment: datetime, power: int, **more: object) -> dict:
    """One sample."""
    return {"ts": format_time(moment), "power_w": power, "import_power_w": max(power, 0), **more}


def local(text: str) -> datetime:
    """An instant by Belgian local time."""
    return datetime.fromisoformat(text).replace(tzinfo=BRUSSELS).astimezone(UTC)


def awkward_month(month: str, seed: int, twelve_minutes_w: int = 7900) -> list[dict]:
    """About a sample a minute, with everything that can confuse a computation of quarters."""
    chance = random.Random(seed)
    begin = local(f"{month}-01T00:00:00")
    end = local(f"{_after(month)}-01T00:00:00")
    special: dict[datetime, list[dict]] = {}

    def quarter(start: datetime, powers: list[tuple[float, int]]) -> None:
        special[start] = [sample(start + timedelta(minutes=at), power) for at, power in powers]

    tie = local(f"{month}-12T18:15:00")
    quarter(tie, [(minute, 8000) for minute in range(15)])
    quarter(tie + timedelta(days=2), [(minute / 2, 8000) for minute in range(30)])
    quarter(local(f"{month}-05T03:00:00"), [(7.3, 9000)])
    quarter(local(f"{month}-06T08:30:00"), [(minute, 12_000) for minute in range(11)])
    quarter(local(f"{month}-07T08:30:00"), [(minute, twelve_minutes_w) for minute in range(3, 15)])
    quarter(local(f"{month}-08T12:00:00"), [(minute, -5_000) for minute in range(15)])
    quarter(local(f"{month}-09T12:00:00"), [(0, 3000), (0.2, -3000), (0.4, 1), (14.999999, 70)])
    quarter(begin - QUARTER, [(minute, 20_000) for minute in range(15)])
    quarter(end, [(minute, 20_000) for minute in range(15)])
    made = []
    start = begin - 9 * QUARTER
    while start < end + 9 * QUARTER:
        day = start.astimezone(BRUSSELS).day
        if start in special:
            made += special[start]
        elif not 19 <= day <= 21 and chance.random() > 0.03:
            level = chance.choice((-3000, 0, 400, 2500))
            made += [
                sample(
                    start + timedelta(seconds=60 * minute + chance.random() * 59.9),
                    level + chance.randrange(-900, 900),
                )
                for minute in range(15)
                if chance.random() > 0.05
            ]
        start += QUARTER
    _tell_official_peaks(made, begin, end, tie)
    return made


def _tell_official_peaks(made: list[dict], begin: datetime, end: datetime, tie: datetime) -> None:
    """The meter's own peak: last month's until the first quarter has ended, and again after it."""
    for one in made:
        moment = parse_time(one["ts"])
        if moment < begin + QUARTER:
            peak = (4321, begin)  # the last quarter of the month before ended at midnight
        elif moment < tie + QUARTER:
            peak = (9876, begin + QUARTER)  # of another meter, which was then replaced
        elif moment < end:
            peak = (7985, tie + QUARTER)
        elif moment < end + QUARTER:
            peak = (8123, end)  # the last quarter of this month turned out to be the highest
        else:
            peak = (20_000, end + QUARTER)
        one |= {"monthly_power_peak_w": peak[0], "monthly_power_peak_ts": format_time(peak[1])}


def _after(month: str) -> str:
    year, number = map(int, month.split("-"))
    return f"{year + number // 12}-{number % 12 + 1:02}"


class Meter:
    """One device: posts and asks like any program outside."""

    def __init__(self, api: Api, server: Postgres, device_id: str):
        self.api, self.server, self.device_id = api, server, device_id

    def post(self, samples: list[dict]) -> int:
        """How many were new."""
        inserted = 0
        connection = http.client.HTTPConnection(urlsplit(self.api.url).netloc, timeout=60)
        with contextlib.closing(connection):
            for first in range(0, len(samples), 1000):
                batch = [{"device_id": self.device_id} | one for one in samples[first:][:1000]]
                body = json.dumps({"samples": batch})
                headers = {"Authorization": f"Bearer {self.device_id}"}
                connection.request("POST", "/v1/ingest", body, headers)
                answer = connection.getresponse()
                told = json.loads(answer.read())
                assert answer.status == 200, told
                inserted += told["inserted"]
        return inserted

    def capacity(self, month: str) -> dict:
        """The answer of the API."""
        path = f"/v1/capacity/month/{month}?device_id={self.device_id}"
        status, answer = self.api.get(path, self.device_id)
        assert (status, answer["device_id"]) == (200, self.device_id)
        return answer

    def refresh(self) -> None:
        """What TimescaleDB does in the background now and then; nothing on plain PostgreSQL."""
        for_each_refresh(self.server, self.api.env["DATABASE_URL"], "CALL run_job(%s)")


def for_each_refresh(server: Postgres, url: str, statement: str) -> None:
    """Run a statement with the number of each refresh job, in their order."""
    if not server.timescaledb:
        return
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT job_id FROM timescaledb_information.jobs "
                "WHERE proc_name = 'policy_refresh_continuous_aggregate' ORDER BY job_id"
            )
            jobs = cursor.fetchall()
            assert jobs
            for job in jobs:
                cursor.execute(statement, job)


@pytest.fixture(
    scope="module", params=["postgres", "timescale", pytest.param("citus", marks=pytest.mark.full)]
)
def meters(request: pytest.FixtureRequest) -> Iterator[Iterator[Meter]]:
    """Meters that have told nothing yet, on plain PostgreSQL and on TimescaleDB."""
    server, redis = request.getfixturevalue(request.param), request.getfixturevalue("redis")
    url = migrated_database(server)
    # Only the tests say when: a refresh in between would hide what comes late until the next.
    for_each_refresh(server, url, "SELECT alter_job(%s, scheduled => false)")
    settings = {
        "DATABASE_URL": url,
        "REDIS_URL": redis.url,
        "DEVICE_TOKENS": ",".join(f"{name}:{name}:p1" for name in METERS),
        "MAX_REQUESTS_PER_MINUTE": "0",
    }
    with open_folder("sunspool-capacity-") as folder, Api(folder, settings) as api:
        yield iter([Meter(api, server, name) for name in METERS])
    server.drop_database(urlsplit(url).path[1:])


@pytest.fixture
def meter(meters: Iterator[Meter]) -> Meter:
    """One of them."""
    return next(meters)


@pytest.mark.parametrize(
    ("month", "twelve_minutes_w"), [("2026-10", 7900), ("2025-12", 8001)], ids=str
)
def test_an_awkward_month_is_computed_as_by_hand(meter, month, twelve_minutes_w):
    made = awkward_month(month, int(month.replace("-", "")), twelve_minutes_w)
    shuffled = random.Random(1).sample(made, len(made))  # a drained spool brings old and new
    assert meter.post(shuffled) == len(made)
    for one in (month, _after(month)):
        assert_true(meter.capacity(one), one, truth(made, one, datetime.now(UTC)))
    assert meter.capacity("2024-02")["peaks"] == []


def test_the_open_quarter_is_listed_and_never_the_peak_while_a_closed_one_is_good(meter):
    now = datetime.now(UTC)
    opened = datetime.fromtimestamp(now.timestamp() // 900 * 900, UTC)
    made = [
        sample(opened - timedelta(seconds=second), 3000 + second % 2)
        for second in range(1, 3600, 20)
    ]
    elapsed = int((now - opened).total_seconds())
    made += [
        sample(opened + timedelta(seconds=second), 9000) for second in range(0, elapsed + 1, 5)
    ]
    meter.post(made)
    month = f"{now.astimezone(BRUSSELS):%Y-%m}"
    answer, after = meter.capacity(month), datetime.now(UTC)
    if after - opened < QUARTER:  # else the quarter has closed meanwhile
        assert_true(answer, month, truth(made, month, after))
        assert answer["peaks"][-1]["avg_power_w"] == 9000


def test_a_quarter_that_runs_is_no_peak_however_well_it_is_covered():
    start = local("2026-02-10T10:00:00")
    end = start + 2 * QUARTER
    closed = Quarter(start.timestamp(), 3000.0, 12)
    running = Quarter((start + QUARTER).timestamp(), 9000.0, 15)
    assert peaks(None, [closed, running], end - timedelta(seconds=1)).sampled.ts == start
    assert peaks(None, [closed, running], end).sampled.ts == running.start
    assert peaks(None, [], start).sampled is None


def test_a_peak_that_ended_at_midnight_on_the_first_belongs_to_the_month_before(meter):
    ended = local("2026-02-01T00:00:00")
    told = {"monthly_power_peak_w": 4321, "monthly_power_peak_ts": format_time(ended)}
    made = [sample(ended + timedelta(minutes=5), 100, **told)]
    meter.post(made)
    for month in ("2026-01", "2026-02"):
        assert_true(meter.capacity(month), month, truth(made, month, datetime.now(UTC)))
    assert meter.capacity("2026-01")["official_peak_ts"] == "2026-02-01T00:00:00+01:00"
    assert meter.capacity("2026-02")["official_peak_w"] is None


def test_what_a_meter_tells_as_its_new_month_begins_does_not_replace_the_old_peak(meter):
    first = local("2026-08-01T00:00:00")

    def told(watts: int, peak_seconds: float, taken: datetime) -> dict:
        at = format_time(first + timedelta(seconds=peak_seconds))
        return sample(taken, 100, monthly_power_peak_w=watts, monthly_power_peak_ts=at)

    made = [told(5000, -5 * 86_400, first - timedelta(days=1)), told(0, 0, first + QUARTER / 2)]
    meter.post(made)
    assert meter.capacity("2026-07")["official_peak_w"] == 5000
    assert meter.capacity("2026-08")["official_peak_w"] is None
    meter.post([told(7000, 3, first + 2 * QUARTER)])  # its clock is some seconds off
    assert meter.capacity("2026-07")["official_peak_w"] == 7000
    assert meter.capacity("2026-08")["official_peak_w"] is None


def test_without_a_good_quarter_the_highest_one_is_told_with_its_coverage(meter):
    made = [
        sample(local("2026-02-10T10:00:00"), 9000),
        *[sample(local(f"2026-02-10T11:0{minute}:00"), 4000) for minute in range(9)],
    ]
    meter.post(made)
    answer = meter.capacity("2026-02")
    assert_true(answer, "2026-02", truth(made, "2026-02", datetime.now(UTC)))
    assert answer["monthly_peak_w"] == 9000
    assert answer["monthly_peak_coverage"] == pytest.approx(1 / 15, abs=0.001)


def test_readings_that_come_late_count_when_the_rollups_were_refreshed(meter):
    made = awkward_month("2026-03", seed=5)
    meter.post(made)
    meter.refresh()
    now = datetime.now(UTC)
    assert_true(meter.capacity("2026-03"), "2026-03", truth(made, "2026-03", now))
    late = [sample(local(f"2026-03-20T10:{minute:02}:30"), 15_000) for minute in range(30)]
    again = [one | {"power_w": 1, "import_power_w": 1} for one in made[:500]]
    assert meter.post(late + again) == len(late)  # the first reading of a time is kept
    meter.refresh()
    answer = meter.capacity("2026-03")
    assert_true(answer, "2026-03", truth(made + late, "2026-03", now))
    assert answer["monthly_peak_w"] == 15_000
    assert answer["monthly_peak_ts"] == "2026-03-20T10:00:00+01:00"


@pytest.mark.parametrize(
    ("readings", "peak"),
    [
        # Told for less than a minute.
        ([(-DAY, *OLD), (5, 7000, 0), (60, 0, 0), (1000, 300, 900)], (7000, 0)),
        # The next month begins with the old time, with a low value, and on the agent's clock early.
        ([(-DAY, *OLD), (60, 0, -5 * DAY)], OLD),
        ([(-DAY, *OLD), (60, 120, 0), (5000, 130, 0)], OLD),
        ([(-DAY, *OLD), (-5, 7000, 0), (-2, 0, 0), (60, 0, 0)], (7000, 0)),
        # Nothing was told of the old one.
        ([(-DAY, None, None), (60, 0, 0)], (None, None)),
        # A meter replaced near the end, and one whose peak is 0 W.
        ([(-DAY, *OLD), (-7200, 40, -7200), (-60, 50, -900), (60, 0, 0)], (50, -900)),
        ([(-DAY, 0, -5 * DAY), (60, 0, 0)], (0, -5 * DAY)),
    ],
)
def test_a_peak_does_not_fall_when_its_month_ends(meter, readings, peak):
    first = local("2026-08-01T00:00:00")

    def at(seconds: int) -> datetime:
        return datetime.fromtimestamp(first.timestamp() + seconds, UTC)

    meter.post(
        [
            sample(
                at(taken),
                100,
                monthly_power_peak_w=watts,
                monthly_power_peak_ts=None if watts is None else format_time(at(seconds)),
            )
            for taken, watts, seconds in readings
        ]
    )
    meter.refresh()
    answer = meter.capacity("2026-07")
    told = answer["official_peak_ts"]
    assert answer["official_peak_w"] == peak[0]
    assert (told and parse_time(told)) == (None if peak[1] is None else at(peak[1]))
