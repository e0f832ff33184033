"""When something is wrong with a device: pure functions over what the database says, and a table.

A rule looks at the facts of one device and at the alert that is not closed, if there is one. What
it finds must hold for `open_s` before an alert opens, and its end for `close_s` before it closes:
by the samples themselves where they tell (`held_s`), else by the looks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from api_server.data.alerts import COUNTERS
from edge_agent.shared.alarms import FAULT_STATES

HOUR_S = 3600
LOSS_LASTS = timedelta(hours=24)
WEARS_PCT = 3.0
PEAK_TRUSTED_S = 180  # of its quarter, before a projection counts
LATE = timedelta(seconds=20)  # how long a quarter's last readings are waited for as a rule
LATEST = timedelta(minutes=15)  # and how long if nothing has come since it ended


@dataclass(frozen=True)
class Finding:
    """What a rule says of a device now; `held_s` is how long it has been so, if the samples tell.

    `is_wrong` and `is_over` may both be False: then an alert neither opens nor closes.
    """

    is_wrong: bool
    is_over: bool
    held_s: float | None = None
    value: float | None = None
    words: dict[str, Any] = field(default_factory=dict)  # for its text
    detail: dict[str, Any] = field(default_factory=dict)  # kept with the alert


@dataclass(frozen=True)
class Facts:
    """What the database says of one device; None where it says nothing."""

    device_id: str
    kind: str
    was_away: bool = False  # the node of the database that has its samples, just now
    newest: dict[str, Any] | None = None  # the newest sample's ts, and what rules need of it
    first_newer_ts: datetime | None = None  # the first sample after a silence
    state_since: datetime | None = None  # since when samples are as faulty, or not, as the newest
    report: dict[str, Any] | None = None  # of the agent
    counted: dict[str, int] | None = None  # what the agent had counted before
    running: dict[str, Any] | None = None  # the running quarter of a meter
    became_w: int | None = None  # what the quarter of the open alert became
    strings: list[dict[str, Any]] | None = None  # yesterday's verdicts
    health: tuple[str, float, float] | None = None  # the battery's: month, its own, the best before


@dataclass(frozen=True)
class Alert:
    """An alert that is not closed, or one that has not held long enough (opened_ts None)."""

    since_ts: datetime
    opened_ts: datetime | None = None
    closing_ts: datetime | None = None
    message_ts: datetime | None = None
    value: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    text: str = ""  # as it opened


@dataclass(frozen=True)
class Limits:
    """The settings that rules need."""

    silence_s: float


def silence(facts: Facts, alert: Alert | None, limits: Limits, now: datetime) -> Finding | None:
    """No sample for too long. A device that never sent is not silent."""
    if facts.newest is None:
        return None
    newest = facts.newest["ts"]
    age_s = (now - newest).total_seconds()
    words = {"since": newest, "age_s": age_s, "limit_s": limits.silence_s, "report": facts.report}
    if age_s > limits.silence_s:
        return Finding(True, False, age_s, round(age_s), words, {"newest": newest.isoformat()})
    held_s = (now - facts.first_newer_ts).total_seconds() if facts.first_newer_ts else None
    return Finding(False, True, held_s, round(age_s), words)


def fault(facts: Facts, alert: Alert | None, limits: Limits, now: datetime) -> Finding | None:
    """The inverter reports alarms, or a running state that is a fault."""
    newest = facts.newest
    if facts.kind != "sungrow" or newest is None:
        return None
    alarms, state = newest["alarms"], newest["running_state"]
    if alarms is None and state is None:
        return None
    wrong = is_faulty(newest)
    if not wrong and alarms is None and alert and alert.detail.get("alarms"):
        return None  # not read, they may still be there
    held_s = (newest["ts"] - facts.state_since).total_seconds() if facts.state_since else 0.0
    since = facts.state_since or newest["ts"]
    if alert and "since" in alert.detail:
        since = datetime.fromisoformat(alert.detail["since"])
    words = {"alarms": alarms or "", "state": state, "since": since}
    detail = {"alarms": alarms, "state": state, "since": since.isoformat()}
    return Finding(wrong, not wrong, held_s, state, words, detail)


def is_faulty(sample: dict[str, Any]) -> bool:
    """Whether an inverter's sample tells alarms, or a running state that is a fault."""
    return bool(sample["alarms"]) or sample["running_state"] in FAULT_STATES


def peak(facts: Facts, alert: Alert | None, limits: Limits, now: datetime) -> Finding | None:
    """The running quarter will be a new month peak; over when it ends."""
    if alert is not None and alert.detail.get("quarter_end"):
        end = datetime.fromisoformat(alert.detail["quarter_end"])
        ended = now >= end + LATE
        if alert.opened_ts is not None:
            is_told = facts.newest is not None and facts.newest["ts"] >= end
            is_over = ended and (is_told or now >= end + LATEST)
            words = {**alert.detail, "became_w": facts.became_w}
            value = facts.became_w if is_over else alert.value
            return Finding(False, is_over, None, value, words, alert.detail)
        if ended:
            return Finding(False, True)
    running = facts.running
    if facts.kind != "p1" or running is None:
        return None
    wrong = bool(running["new_peak"]) and running["elapsed_s"] >= PEAK_TRUSTED_S
    words = {name: running[name] for name in ("projected_w", "limit_w", "headroom_w")}
    words |= {name: running[name] for name in ("quarter_start", "quarter_end")}
    return Finding(wrong, not wrong, None, running["projected_w"], words, words)


def loss(facts: Facts, alert: Alert | None, limits: Limits, now: datetime) -> Finding | None:
    """An agent set samples aside, dropped or lost some, or holds more than an hour's worth."""
    report, counted = facts.report, facts.counted or {}
    if report is None:
        return None
    counts = _counts(facts)
    rose = [name for name in COUNTERS if counts[name] > counted.get(name, 0)]
    fell = [name for name in COUNTERS if counts[name] < counted.get(name, 0)]
    waiting = report.get("spool_count")
    hour = HOUR_S / (report.get("poll_interval_s") or (5 if facts.kind == "sungrow" else 1))
    words = {"counts": counts, "rose": rose, "waiting": waiting, "hour": round(hour)}
    words["since"] = report.get("since")
    if alert is None or alert.opened_ts is None:
        by = "counter" if rose else "spool"
        value = sum(counts[name] - counted.get(name, 0) for name in rose) if rose else waiting
        words["by"] = by
        return Finding(bool(rose) or (waiting or 0) > hour, False, None, value, words, {"by": by})
    by = alert.detail.get("by")
    drained = waiting is not None and waiting < hour
    ended = (fell if by == "counter" else drained) or now - alert.opened_ts >= LOSS_LASTS
    value = sum(counts.values()) if by == "counter" else waiting
    return Finding(not ended, bool(ended), None, value, words | {"by": by}, alert.detail)


def count(facts: Facts, alert: Alert | None) -> dict[str, int]:
    """What an agent has counted as far as `loss` has judged it: what rises while its alert is about
    the spool is told when that is over."""
    counts = _counts(facts)
    if alert is None or alert.opened_ts is None or alert.detail.get("by") != "spool":
        return counts
    return {name: min(counts[name], (facts.counted or {}).get(name, 0)) for name in COUNTERS}


def _counts(facts: Facts) -> dict[str, int]:
    """What an agent counts; a counter that it does not report stands where it was."""
    told = {name: facts.report.get(name) for name in COUNTERS}
    before = facts.counted or {}
    return {name: before.get(name, 0) if told[name] is None else told[name] for name in COUNTERS}


def string(facts: Facts, alert: Alert | None, limits: Limits, now: datetime) -> Finding | None:
    """A string of panels gave too little yesterday, or nothing."""
    if facts.strings is None:
        return None
    bad = [one for one in facts.strings if one["verdict"] in ("weak", "dead")]
    is_over = bool(facts.strings) and all(one["verdict"] == "ok" for one in facts.strings)
    value = bad[0]["string"] if bad else None
    return Finding(bool(bad), is_over, None, value, {"strings": bad})


def battery(facts: Facts, alert: Alert | None, limits: Limits, now: datetime) -> Finding | None:
    """The battery's state of health fell below the best of the twelve months before."""
    if facts.health is None:
        return None
    month, soh_pct, best_pct = facts.health
    wrong = soh_pct <= round(best_pct - WEARS_PCT, 3)
    words = {"month": month, "soh_pct": soh_pct, "best_pct": best_pct, "limit": WEARS_PCT}
    return Finding(wrong, not wrong, None, soh_pct, words)


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    name: str
    judge: Callable[[Facts, Alert | None, Limits, datetime], Finding | None]
    open_s: float = 0
    close_s: float = 0
    repeats: bool = True


RULES = (
    Rule("silence", silence, close_s=60),
    Rule("fault", fault, open_s=60, close_s=60),
    Rule("peak", peak, open_s=30, repeats=False),
    Rule("loss", loss),
    Rule("string", string),
    Rule("battery", battery),
)


def next_step(rule: Rule, finding: Finding, alert: Alert | None, now: datetime) -> str | None:
    """What becomes of an alert: "notice", "forget", "open", "closing", "reopen" or "close"; or
    None for nothing."""
    if alert is None or alert.opened_ts is None:
        if not finding.is_wrong:
            return "forget" if alert is not None else None
        held_s = finding.held_s
        if held_s is None:
            held_s = (now - alert.since_ts).total_seconds() if alert else 0.0
        if round(held_s) >= rule.open_s:  # looks come some milliseconds early or late
            return "open"
        return None if alert is not None else "notice"
    if not finding.is_over:
        return "reopen" if alert.closing_ts is not None else None
    held_s = (now - alert.closing_ts).total_seconds() if alert.closing_ts else 0.0
    if round(max(held_s, finding.held_s or 0.0)) >= rule.close_s:
        return "close"
    return None if alert.closing_ts is not None else "closing"
