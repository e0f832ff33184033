"""Gathers what the rules need, by ranges of devices, in few statements."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from time import monotonic
from typing import Any

from api_server.alerts.rules import LATE, Alert, Facts, is_faulty
from api_server.config import Settings
from api_server.data import alerts, battery, capacity, samples, strings
from api_server.data.agents import Agents
from api_server.data.cache import Cache
from api_server.data.database import DatabaseUnavailable, Store
from api_server.data.periods import midnight, quarter_start
from api_server.devices import Device
from edge_agent.shared import logs
from edge_agent.shared.samples import KINDS, parse_time

RANGE = 200  # devices at once
LOOK_BACK_S = 0.05  # of a look, for judging inverters' yesterdays; at least one gets its turn
LOOK_BACK_MOST_S = 20.0
STEADY = timedelta(seconds=60)  # so long what is read must have been there to judge a silence
RETRY = timedelta(hours=1)  # after trouble with that
LIKELY = 0.95  # of its limit; a quarter that comes to less at most needs no closer look
FIELDS = {
    "sungrow": ("alarms", "running_state"),
    "p1": ("monthly_power_peak_w", "monthly_power_peak_ts"),
}

log = logging.getLogger(__name__)
Known = dict[str, Alert]  # by the name of the rule


@dataclass
class Gatherer:
    """The facts of all devices of this server."""

    store: Store
    cache: Cache
    agents: Agents
    settings: Settings
    _due: dict[str, datetime] = field(default_factory=dict)  # when an inverter is next judged
    _due_once_written: dict[str, datetime] = field(default_factory=dict)
    _missed: dict[str, datetime] = field(default_factory=dict)  # when a device could not be read

    def gather(self, now: datetime) -> Iterator[tuple[Facts, Known]]:
        """The facts of each device that can be read now, and its alerts that are not closed."""
        devices = sorted(set(self.settings.device_tokens.values()), key=lambda one: one.device_id)
        left_s, self._due_once_written = LOOK_BACK_S, {}
        for first in range(0, len(devices), RANGE):
            for facts, known in self._read(self._near(devices[first : first + RANGE], now), now):
                is_due = facts.kind == "sungrow" and now >= self._due.get(facts.device_id, now)
                if is_due and left_s > 0 and facts.newest is not None:
                    began = monotonic()
                    facts = self._with_yesterday(facts, now)
                    left_s -= monotonic() - began
                yield facts, known

    def settle(self) -> None:
        """What was found is written: who was judged is not before its time comes again."""
        self._due |= self._due_once_written

    def _near(self, devices: list[Device], now: datetime) -> list[Device]:
        """Those that can be read: where they are on several nodes, one may be away."""
        near = set(samples.reachable(self.store, [device.device_id for device in devices]))
        self._missed |= {one.device_id: now for one in devices if one.device_id not in near}
        return [device for device in devices if device.device_id in near]

    def _read(self, devices: list[Device], now: datetime) -> Iterator[tuple[Facts, Known]]:
        ids = [device.device_id for device in devices]
        newest: dict[str, dict[str, Any]] = {}
        for kind, fields in FIELDS.items():
            if of_kind := [device.device_id for device in devices if device.kind == kind]:
                newest |= samples.newest_of(self.store, KINDS[kind], of_kind, fields, now)
        reports = self.agents.read(ids)
        known, counted = self.store.run(
            lambda cursor: (
                _by_device(alerts.read_not_closed(cursor, ids)),
                alerts.read_counters(cursor, ids),
            )
        )
        likely = self._find_likely_peaks(newest, known, now)
        for device in devices:
            device_id = device.device_id
            facts = Facts(
                device_id,
                device.kind,
                newest=newest.get(device_id),
                report=_aged(reports.get(device_id), now),
                counted=counted.get(device_id),
                was_away=now - self._missed.get(device_id, now - STEADY) < STEADY,
            )
            of_device = known.get(device_id, {})
            facts = self._with_samples(facts, of_device)
            if device.kind == "p1" and device_id in likely:
                facts = self._with_quarter(facts, of_device.get("peak"), now)
            yield facts, of_device

    def _find_likely_peaks(
        self, newest: dict[str, dict[str, Any]], known: dict[str, Known], now: datetime
    ) -> set[str]:
        """Devices to look at closely: their quarter may be a peak, or an alert about it is open."""
        start, zone = quarter_start(now), self.settings.site_timezone
        limits_w = {
            device_id: max(
                capacity.own_peak_w(
                    sample["monthly_power_peak_w"], sample["monthly_power_peak_ts"], start, zone
                )
                or 0,
                capacity.FLOOR_W,
            )
            for device_id, sample in newest.items()
            if sample["ts"] >= start and "monthly_power_peak_w" in sample
        }
        most_w: dict[str, float] = {}
        if limits_w:
            most_w = self.store.run(lambda cursor: alerts.read_most(cursor, list(limits_w), start))
        likely = {name for name, watts in most_w.items() if watts > LIKELY * limits_w[name]}
        return likely | {device_id for device_id, rules in known.items() if "peak" in rules}

    def _with_quarter(self, facts: Facts, alert: Alert | None, now: datetime) -> Facts:
        if alert and alert.opened_ts:
            if now < datetime.fromisoformat(alert.detail["quarter_end"]) + LATE:
                return facts
            start = datetime.fromisoformat(alert.detail["quarter_start"])
            became_w = capacity.became_w(self.store, self.settings, facts.device_id, start)
            return replace(facts, became_w=became_w)
        running = capacity.now(self.store, self.cache, self.settings, facts.device_id, now)
        return replace(facts, running=running)

    def _with_samples(self, facts: Facts, known: Known) -> Facts:
        """Since when the newest state holds, and when a silence ended, where a rule asks for it."""
        newest, device_id = facts.newest, facts.device_id
        if newest is None:
            return facts
        if silent := known.get("silence"):
            last = datetime.fromisoformat(silent.detail["newest"])
            if newest["ts"] > last:
                first = self.store.run(
                    lambda cursor: alerts.find_first_newer(cursor, facts.kind, device_id, last)
                )
                facts = replace(facts, first_newer_ts=first)
        if facts.kind == "sungrow":
            faulty = is_faulty(newest)
            if faulty != ("fault" in known and known["fault"].opened_ts is not None):
                state = newest["ts"], faulty, bool(newest["alarms"])
                since = self.store.run(
                    lambda cursor: alerts.find_state_since(cursor, device_id, *state)
                )
                facts = replace(facts, state_since=since)
        return facts

    def _with_yesterday(self, facts: Facts, now: datetime) -> Facts:
        """What a longer look says; trouble with it must not keep a fault from being told."""
        zone = self.settings.site_timezone
        today = now.astimezone(zone).date()
        try:
            facts = self._look_back(facts, today, now)
            self._due_once_written[facts.device_id] = midnight(today + timedelta(days=1), zone)
        except DatabaseUnavailable as error:
            self._due[facts.device_id] = now + RETRY
            logs.event(log, logging.WARNING, "look_back_failed", str(error), device=facts.device_id)
        return facts

    def _look_back(self, facts: Facts, today: date, now: datetime) -> Facts:
        zone = self.settings.site_timezone
        yesterday = today - timedelta(days=1)
        verdicts, months = self.store.run(
            lambda cursor: (
                strings.verdict(cursor, facts.device_id, yesterday, zone, now),
                battery.read_health(cursor, facts.device_id, today, zone),
            ),
            LOOK_BACK_MOST_S,
        )
        told = [
            {"string": string, "verdict": verdict.word, "since": verdict.since}
            for string, verdict in verdicts.items()
        ]
        return replace(facts, strings=told, health=_health(months))


def _health(months: list[tuple[str, float]]) -> tuple[str, float, float] | None:
    """The newest month and its state of health, and the best of the twelve months before it."""
    if not months:
        return None
    month, soh_pct = months[-1]
    earliest = f"{int(month[:4]) - 1}{month[4:]}"
    before = [percent for name, percent in months[:-1] if name >= earliest]
    return (month, soh_pct, max(before)) if before else None


def _by_device(rows: dict[tuple[str, str], tuple]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for (device_id, rule), values in rows.items():
        known.setdefault(device_id, {})[rule] = Alert(*values)
    return known


def _aged(report: dict[str, Any] | None, now: datetime) -> dict[str, Any] | None:
    if report is None:
        return None
    since = parse_time(report["reported_ts"])
    return report | {"since": since, "age_s": (now - since).total_seconds()}
