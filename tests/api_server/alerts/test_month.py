"""What a person is told in a month of one house with the faults of real life, and what is not."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from api_server.alerts.facts import Gatherer
from api_server.alerts.look import Look
from api_server.alerts.rules import RULES, Limits
from api_server.alerts.texts import Texts
from api_server.config import load
from api_server.data.agents import Agents
from api_server.data.cache import Cache
from api_server.data.database import Store
from edge_agent.shared.samples import parse_time
from tests.simulators.house import House
from tests.simulators.plan import INVERTER_ZONE, Plan
from tests.simulators.year import inverter_samples, meter_samples

pytestmark = pytest.mark.slow

ZONE = ZoneInfo("Europe/Brussels")
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
OVEN_S = 900  # the whole quarter
NIGHT, ROUTER = timedelta(hours=3), timedelta(hours=19, minutes=2)  # of the day
BLIP = "13051.8"  # what the inverter tells for a moment when it restarts


@dataclass(frozen=True)
class Story:
    """What happens, by local days from `first` until before `last`."""

    first: date
    last: date
    string_dies: date
    bms_lost: date
    set_aside: datetime
    ovens: dict[datetime, int] = field(default_factory=dict)  # start of a quarter: watts


def local(day: date, hour: int, minute: int = 0) -> datetime:
    """A local time, in UTC."""
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZONE).astimezone(UTC)


def story(first: date, days: int, dies: int, bms: int, aside: int, ovens: list) -> Story:
    """A story of so many days; its events by their day."""

    def day(number: int) -> date:
        return first + timedelta(days=number)

    return Story(
        first,
        day(days),
        day(dies),
        day(bms),
        local(day(aside), 15),
        {local(day(number), 13): watts for number, watts in ovens},
    )


def _every(step: timedelta, begin: datetime, end: datetime) -> Iterator[datetime]:
    while begin < end:
        yield begin
        begin += step


class Life:
    """The database as it fills, looked at with the times of the story."""

    def __init__(self, settings: dict[str, str], told: Story, silence_s: float, hold: bool):
        self.story, self.url = told, settings["DATABASE_URL"]
        alarms = {told.bms_lost: "13065.14"}
        self.house = House(1, Plan(string_dies=told.string_dies, alarms=alarms))
        self._samples = sorted(self._arrivals(self.house), key=lambda one: one[0])
        self._connection = psycopg2.connect(self.url)
        self._connection.autocommit = True
        parsed = load({**settings, "ALERT_LANG": "en"})
        store, cache = (
            Store(self.url),
            Cache(parsed.redis_url, parsed.cache_ttl_s, parsed.database_name),
        )
        rules = RULES if hold else [replace(rule, open_s=0, close_s=0) for rule in RULES]
        self._look = Look(
            store,
            Gatherer(store, cache, Agents(store, cache), parsed),
            Texts("en", ZONE),
            ["channel"],
            Limits(silence_s),
            timedelta(hours=24),
            rules,
        )
        self.messages: list[tuple[datetime, str]] = []

    def run(self) -> list[tuple[datetime, str]]:
        """All that is told, and when."""
        done = 0
        for now in self._looks():
            new = done
            while new < len(self._samples) and self._samples[new][0] <= now:
                new += 1
            self._store(self._samples[done:new])
            done = new
            self._report(now)
            self.messages += [(now, text) for text in self._look.run(now, judge_silence=True)]
        self._connection.close()
        return self.messages

    def _store(self, arrived: list[tuple[datetime, str, dict[str, Any]]]) -> None:
        with self._connection.cursor() as cursor:
            for kind in ("p1", "sungrow"):
                rows = [sample for _, of, sample in arrived if of == kind]
                if rows:
                    cursor.execute(
                        f"INSERT INTO {kind}_samples SELECT * FROM"
                        f" json_populate_recordset(NULL::{kind}_samples, %s)",
                        (json.dumps(rows, default=str),),
                    )

    def _report(self, now: datetime) -> None:
        aside = 1 if now >= self.story.set_aside else 0
        report = {"set_aside_count": aside, "spool_count": 3, "poll_interval_s": 5}
        with self._connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO agents VALUES ('meter', %s, %s, '{}') ON CONFLICT (device_id)"
                " DO UPDATE SET reported_ts = excluded.reported_ts, report = excluded.report",
                (now, json.dumps(report)),
            )

    def _looks(self) -> list[datetime]:
        """Every half hour, and often where something happens."""
        first, last, lost = self.story.first, self.story.last, self.story.bms_lost
        times = set(_every(30 * MINUTE, local(first, 0), local(last, 0)))
        for number in range((last - first).days):
            day = local(first + timedelta(days=number), 0)
            times.update(_every(MINUTE, day + NIGHT, day + NIGHT + 6 * MINUTE))
            times.update(_every(2 * MINUTE, day + ROUTER, day + ROUTER + 16 * MINUTE))
        for start in self.story.ovens:
            times.update(_every(15 * SECOND, start + 3 * MINUTE, start + 17 * MINUTE))
        ten = datetime(lost.year, lost.month, lost.day, 10, tzinfo=INVERTER_ZONE).astimezone(UTC)
        for begin in (ten, ten + timedelta(hours=1)):
            times.update(_every(15 * SECOND, begin, begin + 5 * MINUTE))
        return sorted(times)

    def _arrivals(self, house: House) -> Iterator[tuple[datetime, str, dict[str, Any]]]:
        """When each sample reaches the database, its kind, and the sample."""
        before = local(self.story.first - timedelta(days=10), 0)
        start, end = local(self.story.first, 0) - 10 * MINUTE, local(self.story.last, 0)
        for begin, stop, every in ((before, start, 5 * MINUTE), (start, end, MINUTE)):
            for sample in inverter_samples(house, "roof", begin, stop, every):
                yield from self._on_its_way("sungrow", sample)
        edges = [before, start]
        for oven in sorted(self.story.ovens):
            edges += [oven - 5 * MINUTE, oven + 20 * MINUTE]
        paces = [5 * MINUTE] + [MINUTE, 10 * SECOND] * len(self.story.ovens) + [MINUTE]
        for begin, stop, every in zip(edges, [*edges[1:], end], paces, strict=True):
            for sample in meter_samples(house, "meter", begin, stop, every):
                yield from self._on_its_way("p1", self._with_ovens(sample))

    def _with_ovens(self, sample: dict[str, Any]) -> dict[str, Any]:
        at = parse_time(sample["ts"])
        for start, watts in self.story.ovens.items():
            on_s = min(max((at - start).total_seconds(), 0), OVEN_S)
            sample["energy_import_kwh"] += watts * on_s / 3_600_000
            sample["power_w"] += watts if 0 <= (at - start).total_seconds() < OVEN_S else 0
        sample["import_power_w"] = max(sample["power_w"], 0)
        return sample | {"monthly_power_peak_w": None, "monthly_power_peak_ts": None}

    def _on_its_way(
        self, kind: str, sample: dict[str, Any]
    ) -> Iterator[tuple[datetime, str, dict[str, Any]]]:
        at = parse_time(sample["ts"])
        today = local(at.astimezone(ZONE).date(), 0)
        night, router = (at - today - since for since in (NIGHT, ROUTER))
        if at < local(self.story.first, 0):
            yield at, kind, sample | {"ts": at}
        elif not timedelta(0) <= night < 3 * MINUTE:  # else its agent is being restarted
            if kind == "sungrow" and 3 * MINUTE <= night < 4 * MINUTE:
                sample["alarms"] = BLIP
            late = timedelta(0) <= router < 10 * MINUTE
            arrives = today + ROUTER + 10 * MINUTE if late else at
            yield arrives + 5 * SECOND, kind, sample | {"ts": at}


TWO_DAYS = story(date(2026, 6, 9), 2, 0, bms=1, aside=1, ovens=[(0, 4500)])
MONTH = story(date(2026, 6, 1), 30, 24, bms=4, aside=10, ovens=[(1, 3800), (8, 5200), (19, 6600)])
STORIES = [TWO_DAYS, pytest.param(MONTH, marks=pytest.mark.full)]
# Silence is judged after the interval of the samples twice, instead of 15 minutes.
SHORT_S = 120
MARKS = {
    "heading for": "peak",
    "became": "peak over",
    "BMS lost": "fault",
    "no fault any more": "fault over",
    "set aside": "loss",
    "counts nothing new": "loss over",
    "string 2 gives nothing": "string",
    "sent nothing": "silence",
    "sends again": "silence over",
    "grid": "blip",
}


def expected(told: Story) -> list[tuple[str, str]]:
    """The minute and the subject of each message that a person should get."""
    end = local(told.last, 0)
    found = [
        (local(told.bms_lost, 11, 1), "fault"),
        (local(told.bms_lost, 12, 1), "fault over"),
        (told.set_aside, "loss"),
        (told.set_aside + timedelta(days=1), "loss over"),
    ]
    for start in told.ovens:
        found += [(start + 3 * MINUTE, "peak"), (start + 15 * MINUTE, "peak over")]
    days = (told.last - told.string_dies).days
    for number in range(1, days):
        day = told.string_dies + timedelta(days=number)
        found.append((local(day, 0), "still string" if number > 1 else "string"))
    return [(_minute(at), about) for at, about in sorted(found) if at < end]


def subjects(messages: list[tuple[datetime, str]]) -> list[tuple[str, str]]:
    """The same of the messages that came."""
    found = []
    for at, text in messages:
        [about] = [about for mark, about in MARKS.items() if mark in text]
        found.append((_minute(at), f"still {about}" if text.startswith("Still") else about))
    return found


def _minute(at: datetime) -> str:
    return f"{at.astimezone(ZONE):%d %H:%M}"


@pytest.mark.parametrize("told", STORIES)
def test_each_message_is_right_and_none_is_missing(settings, told):
    life = Life(settings, told, 900, hold=True)
    messages = life.run()
    print(*(f"{_minute(at)} {text}" for at, text in messages), sep="\n")
    assert subjects(messages) == expected(told)
    assert len(messages) <= 20
    became = [int(text.split("became ")[1].split()[0]) for _, text in messages if "became" in text]
    for (start, watts), said_w in zip(sorted(told.ovens.items()), became, strict=True):
        assert said_w == pytest.approx(watts + 4000 * life.house.quarter_import_kwh(start), abs=8)


@pytest.mark.parametrize("told", STORIES)
def test_what_hold_times_keep_from_being_told(settings, told):
    """Restarts at night, the router's evenings, and what an inverter tells for a moment."""
    counts = Counter(
        about for _, about in subjects(Life(settings, told, SHORT_S, hold=False).run())
    )
    print(sum(counts.values()), counts)
    nights = (told.last - told.first).days
    # Two devices, each night and each evening; the inverter tells that its own moment is over.
    assert counts["silence"] == counts["silence over"] == 4 * nights
    assert counts["blip"] == nights
    assert counts["fault over"] == nights + 1
