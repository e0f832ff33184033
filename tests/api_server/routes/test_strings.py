"""The strings of panels over HTTP: what each gave in a day, its usual share, and the verdict."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from api_server.data import strings
from api_server.data.database import Store
from tests.support import panels
from tests.support.home import Home
from tests.support.servers import Postgres

BRUSSELS = ZoneInfo("Europe/Brussels")
SUMMER = date(2025, 6, 20)
Sample = tuple[datetime, dict[str, Any]]


@pytest.fixture(scope="module")
def shared_home(postgres: Postgres) -> Iterator[Home]:
    """One site for the tests of this module."""
    home = Home(postgres)
    yield home
    home.close()


@pytest.fixture
def home(shared_home: Home) -> Home:
    """A site without samples."""
    with psycopg2.connect(shared_home.url) as conn, conn.cursor() as cursor:
        cursor.execute("TRUNCATE sungrow_samples, p1_samples")
    conn.close()
    return shared_home


def two(first_w: float | None, second_w: float | None, **more: Any) -> dict[str, Any]:
    """A sample of two strings, each at 100 V."""
    return {
        "pv_power_w": (first_w or 0) + (second_w or 0),
        "mppt1_voltage_v": None if first_w is None else 100.0,
        "mppt1_current_a": None if first_w is None else first_w / 100,
        "mppt2_voltage_v": 100.0,
        "mppt2_current_a": None if second_w is None else second_w / 100,
        **more,
    }


def days_of(first: date, count: int, fault: panels.Fault | None = None) -> list[Sample]:
    """Samples of some summer days, about every four minutes."""
    chance = Random(first.isoformat())
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    quarters = panels.year("south", 4, fault)
    return [
        (at + timedelta(seconds=240 * number + chance.uniform(1, 230)), two(*powers))
        for at, powers in quarters
        if since <= at < since + timedelta(days=count)
        for number in range(3)
    ]


def told(home: Home, day: date | str, device_id: str = "roof") -> list[dict[str, Any]]:
    """What is told of the strings on a day."""
    answer = home.get("/v1/strings", device_id=device_id, date=f"{day}")
    assert (answer["device_id"], answer["date"]) == (device_id, f"{day}")
    return answer["strings"]


def true_hours(samples: list[Sample], day: date) -> dict[datetime, list[tuple[float, ...]]]:
    """(power, power, seconds) of every sample of a local day, by the start of its hour."""
    hours = defaultdict(list)
    following = [*(at for at, _ in samples[1:]), datetime.max.replace(tzinfo=UTC)]
    for (at, sample), then in zip(samples, following, strict=True):
        hour = at.replace(minute=0, second=0, microsecond=0)
        until = min(then, hour + timedelta(hours=1), at + timedelta(seconds=300))
        if at.astimezone(BRUSSELS).date() == day:
            powers = (
                sample[f"mppt{one}_voltage_v"] * sample[f"mppt{one}_current_a"] for one in (1, 2)
            )
            hours[hour].append((*powers, (until - at).total_seconds()))
    return hours


def true_shares(samples: list[Sample], day: date) -> dict[int, float]:
    """The first string's share in the hours of a day, by the hour of the clock."""
    return {
        hour.astimezone(BRUSSELS).hour: 100 * first / (first + second)
        for hour, parts in true_hours(samples, day).items()
        for first, second in [[sum(part[one] for part in parts) for one in (0, 1)]]
        if first + second
    }


def test_who_is_answered(home: Home) -> None:
    """Inverters only, and for a day that exists."""
    path = "/v1/strings"
    assert home.ask(path).status_code == 422
    assert home.ask(path, "m", device_id="roof").status_code == 403
    assert home.ask(path, "m", device_id="meter", date="no").status_code == 404
    for bad in ("2026-02-30", "2026-11", "", "yesterday"):
        assert home.ask(path, device_id="roof", date=bad).status_code == 422
    today = f"{datetime.now(BRUSSELS).date()}"
    assert home.get(path, device_id="roof") == {"device_id": "roof", "date": today, "strings": []}
    assert told(home, "0001-01-01") == told(home, "9999-12-31") == []


@pytest.mark.slow
def test_a_day_is_true(home: Home) -> None:
    """Energies, means, shares and the medians of the 30 days before."""
    samples = days_of(SUMMER - timedelta(days=33), 34)
    home.insert("roof", *samples)
    first, second = told(home, SUMMER)
    hours = true_hours(samples, SUMMER)
    before = [true_shares(samples, SUMMER - timedelta(days=number)) for number in range(1, 31)]
    assert [hour["bucket"] for hour in first["hours"]] == [
        hour.astimezone(BRUSSELS).isoformat() for hour in hours
    ]
    for index, string in enumerate((first, second)):
        assert (string["string"], string["verdict"], string["since"]) == (index + 1, "ok", None)
        kwh = 0.0
        for hour, (start, parts) in zip(string["hours"], hours.items(), strict=True):
            mean = sum(part[index] for part in parts) / len(parts)
            kwh += mean * sum(part[2] for part in parts) / 3.6e6
            assert hour["avg_power_w"] == pytest.approx(mean)
            clock = start.astimezone(BRUSSELS).hour
            usual = median(shares[clock] for shares in before if clock in shares)
            assert hour["usual_share_pct"] == pytest.approx(100 * index + (1 - 2 * index) * usual)
        assert string["energy_kwh"] == pytest.approx(kwh, rel=1e-6)
        assert string["max_power_w"] == pytest.approx(
            max(part[index] for parts in hours.values() for part in parts)
        )
    shares = [hour["share_pct"] for hour in first["hours"]]
    assert shares == pytest.approx(list(true_shares(samples, SUMMER).values()))


def test_what_is_not_known_is_null(home: Home) -> None:
    """Fewer than seven days, a string that was not read, an hour without power."""
    home.insert(
        "roof",
        ("2026-06-01T04:00", two(0.0, 0.0)),
        ("2026-06-01T10:00", two(300.0, 100.0)),
        ("2026-06-01T10:01", two(900.0, 500.0, sample_count=2)),
        ("2026-06-01T11:00", two(None, 200.0)),
        ("2026-06-02T11:00", two(None, None)),
    )
    first, second = told(home, "2026-06-01")
    night = {"avg_power_w": 0.0, "share_pct": None, "usual_share_pct": None}
    assert first["hours"][0] == {"bucket": "2026-06-01T04:00:00+02:00", **night}
    assert [hour["avg_power_w"] for hour in first["hours"][1:]] == [700.0, None]
    assert [hour["share_pct"] for hour in first["hours"][1:]] == [
        pytest.approx(100 * 7 / 10.667, abs=0.01),
        None,
    ]
    assert second["hours"][2]["avg_power_w"] == 200.0
    assert first["energy_kwh"] == pytest.approx(0.07)  # 700 W for 60 s and 300 s
    assert (first["verdict"], first["since"], second["max_power_w"]) == ("unknown", None, 500.0)
    first, _ = told(home, "2026-06-02")
    assert (first["energy_kwh"], first["max_power_w"]) == (None, None)
    [hour] = first["hours"]
    assert set(list(hour.values())[1:]) == {None}
    assert [string["hours"] for string in told(home, "2026-06-03")] == [[], []]


def test_an_inverter_with_one_string_has_one(home: Home) -> None:
    """Whether its other input reads nothing or is not read; it is never dead for that."""
    lonely = [(at, sample | {"mppt2_current_a": 0.0}) for at, sample in days_of(SUMMER, 10)]
    home.insert("roof", *lonely)
    unread = [(at, sample | {"mppt2_current_a": None}) for at, sample in lonely]
    home.insert("shed", *unread)
    last = SUMMER + timedelta(days=9)
    for device_id in ("roof", "shed"):
        [string] = told(home, last, device_id)
        assert (string["string"], string["verdict"]) == (1, "ok")
        assert {hour["share_pct"] for hour in string["hours"]} == {100.0}


def test_the_night_that_has_one_hour_twice(home: Home) -> None:
    """Each of the two is told apart."""
    home.insert(
        "roof", *((f"2025-10-26T02:10{offset}", two(50, 30)) for offset in ("+02:00", "+01:00"))
    )
    first, _ = told(home, "2025-10-26")
    assert [hour["bucket"][11:] for hour in first["hours"]] == ["02:00:00+02:00", "02:00:00+01:00"]


def test_a_sample_ahead_of_the_clock_has_given_nothing_yet(home: Home) -> None:
    """It speaks for no time, and takes none from those before it."""
    now = datetime(2025, 6, 20, 12, 1, tzinfo=UTC)
    home.insert("roof", (now + timedelta(minutes=4), two(3000, 1000)))
    answer = strings.answer(Store(home.url), "roof", SUMMER, BRUSSELS, now)
    assert [string["energy_kwh"] for string in answer["strings"]] == [0.0, 0.0]


@pytest.mark.slow
def test_a_dead_string_is_told_with_its_moment(home: Home) -> None:
    """On that day and on all that follow, also those that tell nothing; its neighbour is well."""
    died = datetime(2025, 6, 20, 11, 7, tzinfo=UTC)
    samples = [
        (at, sample | {"mppt2_current_a": 0.0} if at >= died else sample)
        for at, sample in days_of(SUMMER - timedelta(days=20), 22)
    ]
    home.insert("roof", *samples)
    moment = next(at for at, _ in samples if at >= died)
    for days in (0, 1, 2, 9):
        first, second = told(home, SUMMER + timedelta(days=days))
        assert (second["verdict"], first["verdict"]) == ("dead", "ok")
        assert datetime.fromisoformat(second["since"]) == moment
        assert second["since"].endswith("+02:00")
    [_, second] = told(home, SUMMER - timedelta(days=1))
    assert (second["verdict"], second["since"]) == ("ok", None)
    with psycopg2.connect(home.url) as conn, conn.cursor() as cursor:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        verdicts = strings.verdict(cursor, "roof", SUMMER, BRUSSELS, now)
    conn.close()
    assert (verdicts[1].word, verdicts[2]) == ("ok", ("dead", moment))


@pytest.mark.slow
def test_a_weak_string_is_told_with_its_first_day(home: Home) -> None:
    """On its third bright day."""
    began = datetime(2025, 6, 20, tzinfo=UTC)
    samples = [
        (at, sample | {"mppt1_voltage_v": 40.0} if at >= began else sample)
        for at, sample in days_of(SUMMER - timedelta(days=20), 24)
    ]
    home.insert("roof", *samples)
    words = [told(home, SUMMER + timedelta(days=days))[0] for days in range(4)]
    assert [word["verdict"] for word in words] == ["ok", "ok", "weak", "weak"]
    assert {word["since"] for word in words} == {None, "2025-06-20"}
