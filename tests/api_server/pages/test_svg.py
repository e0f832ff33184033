"""Drawings: where things stand, that stacks add up, and that the unknown is not drawn."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest

from api_server.pages.languages import load
from api_server.pages.svg import bars, curve, elements, gauges, quarters

EN = load()["en"]
BRUSSELS = ZoneInfo("Europe/Brussels")
START = datetime(2026, 6, 1, tzinfo=BRUSSELS).astimezone(UTC)
DAY = timedelta(days=1)


def parse(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)  # noqa: S314 - our own drawing


def share(text: str) -> float:
    assert text.endswith("%")
    return float(text[:-1])


def test_text_is_escaped_and_numbers_are_short():
    made = elements.tag("text", "<1 & 2>", x=1.5, y=2.0, dy=-0.001, class_='a"b', rx=None)
    assert made == '<text x="1.5" y="2" dy="0" class="a&#34;b">&lt;1 &amp; 2&gt;</text>'


@pytest.mark.parametrize(
    ("span", "step"), [(0, 1), (3, 1), (4, 1), (5, 2), (4100, 2000), (900, 500), (0.3, 0.1)]
)
def test_steps_of_an_axis_are_round(span, step):
    assert elements.round_step(span) == pytest.approx(step)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([], 0, 1000), ([4100.0], 0, 6000), ([-1500.0, 3000.0], -2000, 4000), ([-5.0], -500, 1000)],
)
def test_an_axis_shows_every_value_and_zero(values, low, high):
    assert elements.scale(values, 1000)[:2] == (low, high)


def test_a_line_is_lifted_where_nothing_is_known():
    assert elements.path([(0, 1), (1, 2.5), (2, None), (3, 4)]) == "M0 1L1 2.5M3 4"
    assert elements.path([(0, None)]) == ""


def period(number: int, pv: float | None, **others: float | None) -> dict:
    names = ("home_power_w", "battery_power_w", "grid_power_w", "battery_soc_pct")
    start = START + number * curve.PERIOD
    return {"start": start.timestamp(), "pv_power_w": pv, **dict.fromkeys(names), **others}


class TestCurve:
    """Today's power."""

    def lines(self, periods: list[dict], end: datetime = START + DAY) -> dict[str, str]:
        drawn = parse(curve.draw(EN, periods, START, end, BRUSSELS))
        return {one.get("class"): one.get("d") for one in drawn.iter("path")}

    def test_each_period_stands_in_its_middle(self):
        lines = self.lines([period(0, 1000), period(1, 0.0), period(3, 500)])
        assert lines["line pv"] == "M0.5 0L1.5 200M3.5 100"
        assert lines["line home"] == ""

    def test_the_sun_is_filled_down_to_zero(self):
        lines = self.lines([period(0, 1000), period(1, 500), period(5, 1000)])
        assert lines["area pv"] == "M0.5 200L0.5 0L1.5 100L1.5 200ZM5.5 200L5.5 0L5.5 200Z"

    def test_below_zero_is_below_the_line_of_zero(self):
        lines = self.lines([period(0, 1000, battery_power_w=-1000)])
        assert lines["line battery"] == "M0.5 200"
        assert lines["line pv"] == "M0.5 0"

    @pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25)])
    def test_a_day_of_another_length_has_its_hours_in_place(self, day, hours):
        start = datetime(*day, tzinfo=BRUSSELS).astimezone(UTC)
        drawn = parse(curve.draw(EN, [], start, start + timedelta(hours=hours), BRUSSELS))
        places = {one.text: share(one.get("x")) for one in drawn.iter("text") if ":" in one.text}
        six = (6 + hours - 24) / hours * 100
        assert places["06:00"] == pytest.approx(six, abs=0.01)
        assert places["18:00"] == pytest.approx(six + 12 / hours * 100, abs=0.01)


BUCKET = {
    "bucket": "2026-06-01T00:00:00+02:00",
    "pv_kwh": 6.0,
    "discharge_kwh": 2.0,
    "grid_import_kwh": 2.0,
    "consumption_kwh": 5.0,
    "charge_kwh": 3.0,
    "grid_export_kwh": 2.0,
}


class TestBars:
    """Energy from and to."""

    def bars(self, *buckets: dict) -> list[tuple[str, float, float, float]]:
        """The class, left edge, beginning and length of every rectangle; upwards is negative."""
        drawn = bars.draw(EN, buckets, [""] * len(buckets), [None] * len(buckets))
        found = []
        for path in parse(drawn).iter("path"):
            for x, y, height in re.findall(r"M([\d.]+) ([\d.]+)h0.78v(-?[\d.]+)h", path.get("d")):
                found.append((path.get("class"), float(x), float(y), float(height)))
        return found

    def test_both_directions_are_stacked_without_a_gap_and_equally_high(self):
        found = self.bars(BUCKET)
        assert [one[0] for one in found] == ["pv", "battery", "grid", "home", "battery", "grid"]
        up, down = found[:3], found[3:]
        assert up[0][2] == down[0][2] == 465
        for stack in (up, down):
            for (_, _, y, height), (_, _, next_y, _) in pairwise(stack):
                assert y + height == pytest.approx(next_y, abs=0.02)
        heights = [sum(height for *_, height in stack) for stack in (up, down)]
        assert heights == pytest.approx([-445, 445], abs=0.05)

    def test_each_bucket_has_its_place(self):
        assert [one[1] for one in self.bars(BUCKET, BUCKET) if one[0] == "pv"] == [0.11, 1.11]

    def test_stacks_add_up(self):
        assert bars.stack(BUCKET, bars.SOURCES)[-1] == ("grid", 8.0, 10.0)
        assert bars.stack(BUCKET, bars.USES)[-1] == ("grid", 8.0, 10.0)

    def test_what_is_not_known_is_not_drawn(self):
        unknown = {**BUCKET, **dict.fromkeys(name for _, name in bars.SOURCES)}
        assert len(self.bars(unknown)) == 3
        assert self.bars({**unknown, **dict.fromkeys(n for _, n in bars.USES)}) == []

    def test_a_bucket_leads_to_what_is_inside(self):
        drawn = bars.draw(EN, [BUCKET], ["1"], ["/ui/history?a=1&b=2"])
        assert next(parse(drawn).iter("a")).get("href") == "/ui/history?a=1&b=2"


class TestQuarters:
    """The month's quarters and the year's months."""

    start = START.timestamp()

    def test_neighbours_of_one_height_are_one_step(self):
        peaks = [(self.start + n * 900, w) for n, w in enumerate((0, 0, 3000, 1500))]
        peaks.append((self.start + 9 * 900, 3000))
        drawn = quarters.draw_month(EN, peaks, peaks[2][0], START, START + 30 * DAY, BRUSSELS)
        path = next(parse(drawn).iter("path")).get("d")
        assert path == "M0 200V200h2V0h1V100h1V200M9 200V0h1V200"
        mark = next(parse(drawn).iter("circle"))
        assert share(mark.get("cx")) == pytest.approx(2 / (30 * 96) * 100, abs=0.01)
        assert share(mark.get("cy")) == 0

    def test_a_month_of_quarters_is_small(self):
        peaks = [(self.start + n * 900, n * 37 % 5000) for n in range(31 * 96)]
        drawn = quarters.draw_month(EN, peaks, None, START, START + 31 * DAY, BRUSSELS)
        assert len(drawn) < 30_000

    def test_a_month_without_a_figure_has_no_bar(self):
        months = [{"month": "2026-01", "peak_w": None, "billed_w": None}]
        months.append({"month": "2026-02", "peak_w": 3000, "billed_w": 3000})
        drawn = parse(quarters.draw_year(EN, months, 3000.0))
        assert [one.get("class") for one in drawn.iter("rect")] == ["billed", "peak"]
        assert {"Jan", "Feb"} <= {one.text for one in drawn.iter("text")}


class TestGauges:
    """Drawings of one line."""

    @pytest.mark.parametrize(
        ("charge", "width"), [(63.4, "63.4%"), (None, "0%"), (100.0, "100%"), (120.0, "100%")]
    )
    def test_a_battery_is_filled_so_far(self, charge, width):
        assert next(parse(gauges.draw_level(charge)).iter("rect")).get("width") == width

    def test_a_quarter_shows_its_mean_its_end_and_its_limit(self):
        quarter = {"average_w": 1000, "projected_w": 2000, "limit_w": 4000, "new_peak": False}
        drawn = parse(gauges.draw_quarter(EN, quarter))
        widths = {one.get("class"): one.get("width") for one in drawn.iter("rect")}
        assert widths == {"track": "100%", "projected": "40%", "average": "20%"}
        assert next(drawn.iter("line")).get("x1") == "80%"
        over = gauges.draw_quarter(EN, {**quarter, "projected_w": 5000, "new_peak": True})
        assert re.search(r'class="drawing quarter over"', over)

    def test_gaps_stand_where_they_were(self):
        gap = (START + timedelta(hours=6), START + timedelta(hours=12))
        until = START + timedelta(hours=18)
        drawn = parse(gauges.draw_gaps(EN, [gap], START, START + DAY, until, BRUSSELS))
        assert next(drawn.iter("path")).get("d") == "M180 0h180v44h-180z"
        covered = [one for one in drawn.iter("rect") if one.get("class") == "covered"]
        assert covered[0].get("width") == "75%"

    def test_a_day_full_of_gaps_is_small(self):
        ten = timedelta(seconds=10)
        gaps = [(START + 2 * n * ten, START + (2 * n + 1) * ten) for n in range(4000)]
        drawn = gauges.draw_gaps(EN, gaps, START, START + DAY, START + DAY, BRUSSELS)
        assert len(drawn) < 2000
