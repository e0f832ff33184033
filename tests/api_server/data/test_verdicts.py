"""The verdicts on two strings through a simulated year: none is false, and none is late."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from api_server.data.string_history import Hour
from api_server.data.strings import judge
from api_server.data.verdicts import USUAL_DAYS, Day, Quarter, Verdict, shares
from tests.support.panels import DAYS, QUARTER, ROOFS, YEAR, Fault, Powers, year

pytestmark = pytest.mark.slow


class Past:
    """What is known of an inverter's strings up to a day, from quarters in memory."""

    fitted = (0, 1)

    def __init__(self, quarters: Sequence[tuple[datetime, Powers]]):
        self._quarters, by_hour = defaultdict(list), defaultdict(list)
        for at, powers in quarters:
            quarter = Quarter(at, at + QUARTER, at.date(), at.hour, powers)
            self._quarters[at.date()].append(quarter)
            by_hour[at.date(), at.hour].append(powers)
        self._days = [day_of(day, parts) for day, parts in self._quarters.items()]
        self._hours = defaultdict(list)
        for (day, hour), parts in by_hour.items():
            self._hours[day].append(hour_of(day, hour, parts))
        self.days = self._days

    def until(self, day: date) -> "Past":
        """Know nothing later."""
        self.days = [one for one in self._days if one.date <= day]
        return self

    def hours_before(self, day: date) -> list[Hour]:
        return [hour for one in dates(day - USUAL_DAYS, day) for hour in self._hours[one]]

    def quarters(self, first: date, last: date) -> list[Quarter]:
        end = last + timedelta(days=1)
        return [quarter for one in dates(first, end) for quarter in self._quarters[one]]

    def silenced(self, string: int, quarter: datetime) -> datetime:
        return quarter


def dates(first: date, end: date) -> list[date]:
    """The days from one to before another."""
    return [first + timedelta(days=number) for number in range((end - first).days)]


def day_of(day: date, quarters: list[Quarter]) -> Day:
    """A whole day."""
    powers = [quarter.power_w for quarter in quarters]
    kwh = tuple(sum(column) / 4000 for column in zip(*powers, strict=True))
    top_w = tuple(map(max, zip(*powers, strict=True)))
    return Day(day, True, sum(kwh), kwh, top_w, shares(kwh))


def hour_of(day: date, hour: int, powers: list[Powers]) -> Hour:
    """A whole hour."""
    means = tuple(sum(column) / 4 for column in zip(*powers, strict=True))
    at = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    return Hour(at, day, hour, 3600, sum(means) / 1000, means)


def broken(string: int, since: datetime, left: float, until: datetime | None = None) -> Fault:
    """A string that gives only a part from a moment on, until it is repaired."""

    def fault(at: datetime, powers: Powers) -> Powers:
        if at < since or (until and at >= until):
            return powers
        return tuple(watts * (left if one == string else 1) for one, watts in enumerate(powers))

    return fault


@pytest.mark.parametrize("roof", ROOFS)
def test_no_verdict_of_a_year_is_false(roof: str) -> None:
    """Through clouds, snow on both strings, a full battery and what may not be fed in."""
    house = Past(list(year(roof, seed=1)))
    words = [
        judge(house.until(YEAR + timedelta(days=n)), string, YEAR + timedelta(days=n)).word
        for n in range(DAYS)
        for string in range(2)
    ]
    assert set(words[:14]) == {"unknown"}
    assert set(words[14:]) == {"ok"}


@pytest.mark.parametrize(
    ("roof", "string", "moment"),
    [
        ("south", 0, "2025-03-20T11:15"),
        ("east and west", 1, "2025-06-21T15:00"),
        ("shaded in the afternoon", 1, "2025-09-05T02:00"),
    ],
)
def test_a_string_that_dies_is_found_within_a_day(roof: str, string: int, moment: str) -> None:
    """With the moment, and it stays dead until it gives something again."""
    died = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    repaired = died + timedelta(days=50)
    house = Past(list(year(roof, 1, broken(string, died, 0.0, repaired))))
    day = died.date()
    assert judge(house.until(day - timedelta(days=1)), string, day - timedelta(days=1)).word == "ok"
    for number in (1, 2, 3, 20, 31, 49):
        asked = day + timedelta(days=number)
        word, since = judge(house.until(asked), string, asked)
        assert word == "dead", asked
        assert timedelta(0) <= since - died < timedelta(hours=10)
    back = repaired.date() + timedelta(days=1)
    assert judge(house.until(back), string, back).word == "ok"
    for number in (0, 1, 2, 40, *range(50, 70, 3)):
        asked = day + timedelta(days=number)
        assert judge(house.until(asked), 1 - string, asked).word == "ok", asked


@pytest.mark.parametrize("roof", ROOFS)
def test_a_string_that_grows_weak_is_found_on_its_third_day(roof: str) -> None:
    """And stays so until a day disproves it, beside the days before it all began."""
    began = datetime(2025, 7, 10, tzinfo=UTC)
    house = Past(list(year(roof, 1, broken(1, began, 0.35, began + timedelta(days=60)))))
    told = [
        judge(house.until(day), 1, day)
        for day in (began.date() + timedelta(days=number) for number in range(64))
    ]
    assert told[:2] == [Verdict("ok")] * 2
    assert set(told[2:60]) == {Verdict("weak", began.date())}
    assert told[-1] == Verdict("ok")


def test_a_string_that_is_only_seen_in_its_shade_is_not_dead() -> None:
    """When nothing is heard of the inverter from early in the morning on, for days."""
    silent = [date(2025, 6, number) for number in range(10, 16)]
    house = Past(
        [
            (at, powers if at.hour > 5 else (powers[0] + 250.0, 0.0))
            for at, powers in year("east and west", 1)
            if at.date() not in silent or at.hour <= 5
        ]
    )
    for day in (*silent, date(2025, 6, 16)):
        assert judge(house.until(day), 1, day).word == "ok", day
    assert house.until(silent[0]).days[-1].alive(1) is False
