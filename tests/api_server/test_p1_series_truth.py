"""Every frame of a meter's series against a computation that shares nothing with the server's."""

import random
from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest

from edge_agent.samples import parse_time
from tests.api_server.test_capacity_truth import (
    BRUSSELS,
    DEVICE,
    TOKEN,
    client,  # noqa: F401 - a fixture
    local,
    run_refresh_policies,
    sample,
)

MAX_POWER_W, TICK_KWH = 100_000, 0.001
WIDTHS = {
    "day": ("day", "hour"),
    "week": ("week", "day"),
    "month": ("month", "week"),
    "year": ("year", "month"),
}


def awkward_readings(seed: int) -> list[dict]:
    """Some weeks around the autumn's change of clocks: gaps, a new meter, a jump, a lost export."""
    chance = random.Random(seed)
    now, made = local("2026-09-21T21:00:00"), []
    imported, exported = 1594.842, 2355.869
    while now < local("2026-11-09T08:00:00"):
        step = timedelta(seconds=chance.uniform(30, 900))
        if chance.random() < 0.01:
            step = timedelta(hours=chance.uniform(1, 60))
        power = chance.randrange(-4000, 4000)
        now += step
        imported += max(power, 0) * step.total_seconds() / 3.6e6
        exported += max(-power, 0) * step.total_seconds() / 3.6e6
        if len(made) == 1500:
            imported, exported = 0.5, 0.0  # a new meter
        if len(made) == 2500:
            imported += 5_000_000  # and a broken one, for a while
        if len(made) == 2600:
            imported -= 5_000_000
        known = {"energy_import_kwh": round(imported, 3), "energy_export_kwh": round(exported, 3)}
        if 700 < len(made) < 1100 or chance.random() < 0.02:
            del known["energy_export_kwh"]
        made.append(sample(now.replace(microsecond=0), power, **known))
    return made


class Line:
    """A counter's rise since its first reading, straight between any two readings."""

    def __init__(self, made: list[dict], field: str):
        readings = [(parse_time(one["ts"]), one[field]) for one in made if field in one]
        self.times, self.rise = [readings[0][0]], [0.0]
        for (before, low), (after, high) in pairwise(readings):
            possible = MAX_POWER_W * (after - before).total_seconds() / 3.6e6 + TICK_KWH
            self.times.append(after)
            self.rise.append(self.rise[-1] + (high - low if 0 <= high - low <= possible else 0))

    def at(self, moment: datetime) -> float:
        """The rise until then."""
        after = bisect_right(self.times, moment)
        if after in (0, len(self.times)):
            return self.rise[0 if after == 0 else -1]
        share = (moment - self.times[after - 1]) / (self.times[after] - self.times[after - 1])
        return self.rise[after - 1] + share * (self.rise[after] - self.rise[after - 1])

    def energy(self, start: datetime, end: datetime) -> float | None:
        """What passed in a stretch of time, if it is known."""
        unknown = end <= self.times[0] or start > self.times[-1]
        return None if unknown else self.at(end) - self.at(start)


def midnight(day: date) -> datetime:
    """The instant a Belgian day begins."""
    return datetime.combine(day, time(), BRUSSELS).astimezone(UTC)


def next_edge(start: datetime, width: str) -> datetime:
    """Where the bucket that begins here ends, if nothing cuts it."""
    if width == "hour":
        return start + timedelta(hours=1)
    day = start.astimezone(BRUSSELS).date()
    if width == "day":
        return midnight(day + timedelta(days=1))
    if width == "week":
        return midnight(day + timedelta(days=7 - day.weekday()))
    return midnight((day.replace(day=1) + timedelta(days=32)).replace(day=1))


def span(frame: str, day: date) -> tuple[datetime, datetime]:
    """The frame that a day lies in."""
    if frame == "day":
        return midnight(day), midnight(day + timedelta(days=1))
    if frame == "week":
        monday = day - timedelta(days=day.weekday())
        return midnight(monday), midnight(monday + timedelta(days=7))
    if frame == "month":
        first = day.replace(day=1)
        return midnight(first), midnight((first + timedelta(days=32)).replace(day=1))
    return midnight(date(day.year, 1, 1)), midnight(date(day.year + 1, 1, 1))


def assert_buckets(
    told: list[dict], made: list[dict], lines: dict, bounds: tuple, width: str
) -> None:
    """Compare the buckets of an answer with the truth."""
    times, watts = [parse_time(one["ts"]) for one in made], [one["power_w"] for one in made]
    start, stop = bounds
    expected = []
    while start < stop:
        end = min(next_edge(start, width), stop)
        powers = watts[bisect_left(times, start) : bisect_left(times, end)]
        energies = {field: line.energy(start, end) for field, line in lines.items()}
        if powers or any(value and value > 5e-7 for value in energies.values()):
            expected.append((start, powers, energies))
        start = end
    assert [parse_time(one["bucket"]) for one in told] == [one[0] for one in expected]
    for bucket, (start, powers, energies) in zip(told, expected, strict=True):
        assert bucket["sample_count"] == len(powers), start
        assert bucket["max_power_w"] == (max(powers) if powers else None)
        if powers:
            assert abs(bucket["avg_power_w"] - sum(powers) / len(powers)) <= 0.5 + 1e-9
        for field, value in energies.items():
            assert bucket[field] == (None if value is None else pytest.approx(value, abs=0.001))


def test_every_frame_of_an_awkward_meter_is_as_by_hand(client):  # noqa: F811
    asking, server, url = client
    made = awkward_readings(seed=11)
    lines = {field: Line(made, field) for field in ("energy_import_kwh", "energy_export_kwh")}
    shuffled = random.Random(2).sample(made, len(made))
    for part in (shuffled[: len(made) // 2], shuffled[len(made) // 2 :]):
        asking.post(part)
        run_refresh_policies(server, url)
    days = ["2026-09-21", "2026-10-04", "2026-10-24", "2026-10-25", "2026-10-26", "2026-11-08"]
    for day in map(date.fromisoformat, days):
        for frame, (_, width) in WIDTHS.items():
            told = {"day": day, "week": day, "month": f"{day:%Y-%m}", "year": day.year}[frame]
            for each in {width, "day", "hour"} if frame != "year" else {width, "week"}:
                answer = ask(asking, f"frame={frame}&date={told}&bucket={each}")
                assert_buckets(answer, made, lines, span(frame, day), each)
    for each in ("month", "week", "day", "hour"):
        answer = ask(asking, f"frame=all&bucket={each}")
        first = parse_time(made[0]["ts"]).astimezone(BRUSSELS).date()
        begin = {
            "month": first.replace(day=1),
            "week": first - timedelta(days=first.weekday()),
        }.get(each, first)
        assert_buckets(answer, made, lines, (midnight(begin), datetime.now(UTC)), each)


def ask(asking, query: str) -> list[dict]:
    """The buckets of one answer."""
    status, answer = asking.api.get(f"/v1/series?device_id={DEVICE}&{query}", TOKEN)
    assert status == 200, answer
    return answer["series"]
