"""What the raw telegram tells of past month peaks, however broken it is, and how it is read."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge_agent.shared.samples import format_time, parse_time
from edge_agent.sources.p1 import telegram
from tests.support.p1 import BODY

BRUSSELS = ZoneInfo("Europe/Brussels")
RECORDING = Path(__file__).parents[3] / "recordings" / "homewizard/belgian_telegram_flu5_peak.json"
RECORDED = "\r\n".join(json.loads(RECORDING.read_text())["lines"]) + "\r\n"
PEAK = {"month": "2023-01", "w": 3332, "ts": "2023-01-14T11:45:00Z"}
IDS = "(1-0:1.6.0)(1-0:1.6.0)"


def history(*months: str, count: str | None = None) -> str:
    return f"0-0:98.1.0({count or len(months)}){IDS}" + "".join(months)


def peaks(text: str) -> list[dict]:
    return telegram.month_peaks(text, BRUSSELS)


def test_the_recorded_telegram_has_one_past_month_and_the_running_peak():
    assert peaks(RECORDED) == [PEAK]
    moment = telegram.running_peak(RECORDED, BRUSSELS)
    assert moment.naive == datetime(2023, 2, 1, 2, 0)
    assert format_time(moment.instant) == "2023-02-01T01:00:00Z"


def test_thirteen_months_come_oldest_first_across_both_changes_of_the_clocks():
    ends = [datetime(2025 + month // 12, month % 12 + 1, 1, tzinfo=BRUSSELS) for month in range(13)]
    months = []
    for number, end in enumerate(ends):
        season = "S" if end.dst() else "W"
        before = end - timedelta(days=3)
        peak_season = "S" if before.dst() else "W"
        months.append(
            f"({end:%y%m%d%H%M%S}{season})({before:%y%m%d%H%M%S}{peak_season})"
            f"({2 + number / 10:06.3f}*kW)"
        )
    found = peaks(history(*reversed(months)))
    assert [one["month"] for one in found] == [f"{(end - timedelta(days=1)):%Y-%m}" for end in ends]
    assert [one["w"] for one in found] == [2000 + 100 * number for number in range(13)]
    expected = [(end - timedelta(days=3)).astimezone(UTC) for end in ends]
    assert [parse_time(one["ts"]) for one in found] == expected


@pytest.mark.parametrize(
    ("season", "instant"), [("S", "2026-10-25T00:15:00Z"), ("W", "2026-10-25T01:15:00Z")]
)
def test_the_letter_tells_the_two_repeated_hours_apart(season, instant):
    month = f"(261101000000W)(261025021500{season})(04.928*kW)"
    assert peaks(history(month)) == [{"month": "2026-10", "w": 4928, "ts": instant}]
    moment = telegram.running_peak(f"1-0:1.6.0(261025021500{season})(04.928*kW)", BRUSSELS)
    assert format_time(moment.instant) == instant


def test_the_last_quarter_of_a_month_ends_at_midnight_and_belongs_to_it():
    months = ("(261101000000W)(261101000000W)(04.928*kW)", "(261001000000S)(260901001500S)(1.5*kW)")
    assert peaks(history(*months)) == [
        {"month": "2026-09", "w": 1500, "ts": "2026-08-31T22:15:00Z"},
        {"month": "2026-10", "w": 4928, "ts": "2026-10-31T23:00:00Z"},
    ]


GOOD = "(230201000000W)(230114124500W)(03.332*kW)"


@pytest.mark.parametrize(
    "broken",
    [
        "(230301000000W)(230230124500W)(03.332*kW)",  # no such day
        "(230301000000W)(230214996000W)(03.332*kW)",
        "(230301000000W)(632525252525W)(03.332*kW)",
        "(230301000000W)()(03.332*kW)",
        "()()()",
        "(230301000000W)(230214124500)(03.332*kW)",  # no season
        "(230301000000W)(230214124500W)(03.332*kWh)",
        "(230301000000W)(230214124500W)(3332)",
        "(230301000000W)(230214124500W)(999.999*kW)",
        "(230301000000W)(230214124500W)(nan*kW)",
        "(230302000000W)(230214124500W)(03.332*kW)",  # a month ends on the 1st
        "(230301001500W)(230214124500W)(03.332*kW)",
        "(230301000000W)(230301001500W)(03.332*kW)",  # a peak of the next month
        "(230301000000W)(230201000000W)(03.332*kW)",  # and of the one before
        "(230301000000W)(230214124500W",
        "\x00\xff",
    ],
)
def test_a_broken_month_costs_no_other(broken):
    assert peaks(history(broken, GOOD)) == [PEAK]
    assert peaks(history(GOOD, broken)) == [PEAK]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "telegram:no-telegram-received",
        RECORDED.replace("0-0:98.1.0(1)", "0-0:98.1.0()"),
        RECORDED.replace("0-0:98.1.0", "0-0:98.2.0"),
        RECORDED.replace(GOOD, ""),
        RECORDED[: RECORDED.index("(230114124500W)")],
        "x" * 60_000,
        "(230201000000W)" * 4000,
    ],
)
def test_a_telegram_without_a_history_has_none(text):
    assert peaks(text) == []


def read(meter, reader, seconds=1):
    """Let the device send its next telegram, and read."""
    reader._monotonic.seconds += seconds
    meter.measure.body = {**meter.measure.body, "timestamp": str(reader._monotonic.seconds)}
    return reader.read()[0]


def asked(meter):
    """How often the telegram was asked for."""
    return sum(path.endswith("/telegram") for _, path, _ in meter.requests)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_agent_reads_it_once_a_day_from_the_second_sample_on(version, request):
    meter, reader = request.getfixturevalue(version)
    meter.telegram = (200, RECORDED.encode())
    read(meter, reader)
    assert (asked(meter), reader.month_peaks) == (0, None)
    read(meter, reader)
    assert (asked(meter), reader.month_peaks) == (1, [PEAK])
    first = reader.month_peaks
    for _ in range(23):
        read(meter, reader, seconds=3600)
    assert asked(meter) == 1
    read(meter, reader, seconds=3600)
    assert (asked(meter), reader.month_peaks) == (2, [PEAK])
    assert reader.month_peaks is not first


@pytest.mark.parametrize(
    "answer",
    [
        (503, b"telegram:no-telegram-received"),
        (404, b"{}"),
        (200, b""),
        (200, b"\xff" * 70_000),
        (500, b"<html>"),
    ],
)
def test_without_a_telegram_nothing_else_is_missing_and_it_is_asked_again_in_an_hour(v2, answer):
    meter, reader = v2
    meter.telegram = answer
    for _ in range(5):
        assert read(meter, reader)["power_w"] == 77
    assert (asked(meter), reader.month_peaks) == (1, None)
    meter.telegram = (200, RECORDED.encode())
    read(meter, reader, seconds=3600)
    assert (asked(meter), reader.month_peaks) == (2, [PEAK])


def test_a_telegram_that_hangs_costs_a_second_and_no_sample(v2):
    meter, reader = v2
    meter.telegram = None
    read(meter, reader)
    assert read(meter, reader)["power_w"] == 77
    assert read(meter, reader)["power_w"] == 77
    assert asked(meter) == 1


def test_the_letter_of_the_running_peak_corrects_its_time(v2):
    meter, reader = v2
    meter.measure.body = {**BODY, "monthly_power_peak_timestamp": "2026-10-25T02:15:00"}
    assert read(meter, reader)["monthly_power_peak_ts"] == "2026-10-25T01:15:00Z"
    meter.telegram = (200, b"1-0:1.6.0(261025021500S)(04.928*kW)\r\n")
    assert read(meter, reader)["monthly_power_peak_ts"] == "2026-10-25T00:15:00Z"
    assert read(meter, reader)["monthly_power_peak_ts"] == "2026-10-25T00:15:00Z"
