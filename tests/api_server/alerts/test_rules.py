"""When each rule opens and closes; every time is given."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_server.alerts.rules import RULES, Alert, Facts, Limits, count, next_step

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIMITS = Limits(silence_s=900)
BY_NAME = {rule.name: rule for rule in RULES}


def step(name: str, facts: Facts, alert: Alert | None = None, now: datetime = NOW) -> str | None:
    """What a rule makes of the facts."""
    finding = BY_NAME[name].judge(facts, alert, LIMITS, now)
    return None if finding is None else next_step(BY_NAME[name], finding, alert, now)


def inverter(age_s: float, **changes: Any) -> Facts:
    """An inverter whose newest sample is so old."""
    newest = {"ts": NOW - timedelta(seconds=age_s), "alarms": "", "running_state": 0}
    return Facts("roof", "sungrow", newest=newest | changes.pop("newest", {}), **changes)


def opened(age_s: float = 3600, **changes: Any) -> Alert:
    """An alert that opened so long ago."""
    at = NOW - timedelta(seconds=age_s)
    return Alert(at, opened_ts=at, message_ts=at, **changes)


def ago(seconds: float) -> datetime:
    """A time before now."""
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("facts", "alert", "expected"),
    [
        (Facts("roof", "sungrow"), None, None),
        (inverter(900), None, None),
        (inverter(901), None, "open"),
        (inverter(5000), opened(), None),
        (inverter(5, first_newer_ts=ago(30)), opened(), "closing"),
        (inverter(5, first_newer_ts=ago(60)), opened(), "close"),
        (inverter(5), opened(closing_ts=ago(59)), None),
        (inverter(5), opened(closing_ts=ago(60)), "close"),
        (inverter(950), opened(closing_ts=ago(30)), "reopen"),
    ],
)
def test_silence(facts, alert, expected):
    assert step("silence", facts, alert) == expected


@pytest.mark.parametrize(
    ("newest", "held_s", "alert", "expected"),
    [
        ({}, 600, None, None),
        ({"alarms": "13065.14"}, 59, None, "notice"),
        ({"alarms": "13065.14"}, 60, None, "open"),
        ({"running_state": 0x5500}, 60, None, "open"),
        ({"running_state": 0x0100, "alarms": None}, 60, None, "open"),
        ({"running_state": 0x8100}, 600, None, None),
        ({"running_state": 0x8200}, 600, None, None),
        ({"running_state": 64}, 600, None, None),
        ({"alarms": None, "running_state": None}, 600, None, None),
        ({"alarms": None, "running_state": None}, 600, opened(), None),
        ({}, 59, opened(), "closing"),
        ({}, 60, opened(), "close"),
        ({"alarms": None}, 600, opened(detail={"alarms": "13065.14"}), None),
        ({"alarms": None}, 600, opened(detail={"alarms": None, "state": 0x5500}), "close"),
        ({}, 0, Alert(ago(30)), "forget"),
        ({"alarms": "13051.8"}, 0, opened(closing_ts=ago(20)), "reopen"),
    ],
)
def test_fault(newest, held_s, alert, expected):
    facts = inverter(5, newest=newest, state_since=ago(5 + held_s))
    assert step("fault", facts, alert) == expected


def test_a_silent_inverter_opens_no_fault_by_growing_old():
    facts = inverter(5000, newest={"alarms": "13051.8"}, state_since=ago(5000))
    assert step("fault", facts) == "notice"
    assert step("fault", facts, Alert(ago(4000))) is None


def running(elapsed_s: float, new_peak: bool = True) -> dict[str, Any]:
    """What capacity/now says."""
    start = NOW - timedelta(seconds=elapsed_s)
    return {
        "elapsed_s": elapsed_s,
        "new_peak": new_peak,
        "projected_w": 4200,
        "limit_w": 3100,
        "headroom_w": 900,
        "quarter_start": start.isoformat(),
        "quarter_end": (start + timedelta(minutes=15)).isoformat(),
    }


OF_QUARTER = {name: running(400)[name] for name in ("quarter_start", "quarter_end", "limit_w")}


@pytest.mark.parametrize(
    ("quarter", "alert", "expected"),
    [
        (None, None, None),
        (running(179), None, None),
        (running(180), None, "notice"),
        (running(400, new_peak=False), None, None),
        (running(400), Alert(ago(29), detail=OF_QUARTER), None),
        (running(400), Alert(ago(30), detail=OF_QUARTER), "open"),
        (running(400, new_peak=False), Alert(ago(10), detail=OF_QUARTER), "forget"),
        (running(400, new_peak=False), opened(60, detail=OF_QUARTER), None),
    ],
)
def test_peak(quarter, alert, expected):
    assert step("peak", Facts("meter", "p1", running=quarter), alert) == expected


def test_a_peak_closes_with_its_quarter_and_says_what_it_became():
    alert = opened(60, detail=OF_QUARTER)
    end = datetime.fromisoformat(OF_QUARTER["quarter_end"])
    facts = Facts("meter", "p1", newest={"ts": end}, running=running(10), became_w=3950)
    assert step("peak", facts, alert, end + timedelta(seconds=19)) is None
    assert step("peak", facts, alert, end + timedelta(seconds=20)) == "close"
    finding = BY_NAME["peak"].judge(facts, alert, LIMITS, end + timedelta(seconds=20))
    assert (finding.value, finding.words["became_w"], finding.words["limit_w"]) == (
        3950,
        3950,
        3100,
    )
    assert step("peak", facts, Alert(ago(1), detail=OF_QUARTER), end + LATE) == "forget"


LATE = timedelta(seconds=20)


def test_a_peak_waits_for_its_readings_but_not_for_ever():
    alert = opened(60, detail=OF_QUARTER)
    end = datetime.fromisoformat(OF_QUARTER["quarter_end"])
    facts = Facts("meter", "p1", newest={"ts": end - timedelta(seconds=1)})
    assert step("peak", facts, alert, end + timedelta(seconds=899)) is None
    assert step("peak", facts, alert, end + timedelta(seconds=900)) == "close"


def meter(counted: dict[str, int] | None = None, **report: Any) -> Facts:
    """A meter whose agent reports."""
    return Facts("meter", "p1", report=report, counted=counted)


@pytest.mark.parametrize(
    ("facts", "alert", "expected"),
    [
        (Facts("meter", "p1"), None, None),
        (meter(set_aside_count=0, dropped=None), None, None),
        (meter(set_aside_count=1), None, "open"),
        (meter({"set_aside_count": 1}, set_aside_count=1), None, None),
        (meter({"set_aside_count": 1}, set_aside_count=1, lost=1), None, "open"),
        (meter(spool_count=3600, poll_interval_s=1), None, None),
        (meter(spool_count=3601), None, "open"),
        (meter(spool_count=361, poll_interval_s=10), None, "open"),
        (meter(set_aside_count=1), opened(detail={"by": "counter"}), None),
        (meter({"dropped": 4}, dropped=0), opened(detail={"by": "counter"}), "close"),
        (meter({"dropped": 4}), opened(detail={"by": "counter"}), None),
        (meter({"dropped": 4}, dropped=4), None, None),
        (meter(), opened(detail={"by": "spool"}), None),
        (meter(spool_count=3600), opened(detail={"by": "spool"}), None),
        (meter(spool_count=3599), opened(detail={"by": "spool"}), "close"),
        (meter(spool_count=9999), opened(24 * 3600 - 1, detail={"by": "spool"}), None),
        (meter(spool_count=9999), opened(24 * 3600, detail={"by": "spool"}), "close"),
    ],
)
def test_loss(facts, alert, expected):
    assert step("loss", facts, alert) == expected


def test_a_counter_that_is_not_reported_stands_where_it_was():
    assert count(meter({"dropped": 4}, lost=1), None) == {
        "set_aside_count": 0,
        "dropped": 4,
        "lost": 1,
    }


@pytest.mark.parametrize(
    ("verdicts", "alert", "expected"),
    [
        (None, None, None),
        (["ok", "ok"], None, None),
        (["ok", "unknown"], None, None),
        (["ok", "weak"], None, "open"),
        (["dead", "ok"], None, "open"),
        (["dead", "ok"], opened(), None),
        (["unknown", "ok"], opened(), None),
        (["ok", "ok"], opened(), "close"),
        ([], opened(), None),
    ],
)
def test_string(verdicts, alert, expected):
    strings = None
    if verdicts is not None:
        strings = [
            {"string": number, "verdict": verdict, "energy_kwh": 1.5}
            for number, verdict in enumerate(verdicts, 1)
        ]
    assert step("string", Facts("roof", "sungrow", strings=strings), alert) == expected


@pytest.mark.parametrize(
    ("health", "alert", "expected"),
    [
        (None, None, None),
        (("2026-11", 97.0, 99.9), None, None),
        (("2026-11", 96.9, 99.9), None, "open"),
        (("2026-11", 96.9, 99.9), opened(), None),
        (("2026-11", 97.0, 99.9), opened(), "close"),
    ],
)
def test_battery(health, alert, expected):
    assert step("battery", Facts("roof", "sungrow", health=health), alert) == expected
