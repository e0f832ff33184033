"""Gathers what the rules need, by ranges of devices, in few statements."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from api_server.alerts.rules import LATE, Alert, Facts, is_faulty
from api_server.config import Settings
from api_server.data import alerts, battery, capacity, samples, strings
from api_server.data.agents import Agents
from api_server.data.cache import Cache
from api_server.data.capacity import Meter
from api_server.data.database import DatabaseUnavailable, Store
from api_server.devices import Device
from edge_agent.shared import logs
from edge_agent.shared.samples import KINDS, parse_time

RANGE = 200  # devices at once
DAILY_PER_LOOK = 10  # inverters whose yesterday is judged in one look
QUARTER = timedelta(minutes=15)
LIKELY_PEAK_W = 2000.0  # below the least limit; what stays under it needs no closer look
FIELDS = {"sungrow": ("alarms", "running_state"), "p1": ()}
YEAR = timedelta(days=365)

log = logging.getLogger(__name__)
Known = dict[str, Alert]  # by the name of the rule


@dataclass
class Gatherer:
    """The facts of all devices of this server."""

    store: Store
    cache: Cache
    agents: Agents
    settings: Settings
    _judged: dict[str, date] = field(default_factory=dict)  # the day of the last verdicts

    def gather(self, now: datetime) -> Iterator[tuple[Facts, Known]]:
        """The facts of each device, and its alerts that are not closed."""
        devices = sorted(set(self.settings.device_tokens.values()), key=lambda one: one.device_id)
        today = now.astimezone(self.settings.site_timezone).date()
        budget = DAILY_PER_LOOK
        for first in range(0, len(devices), RANGE):
            for facts, known in self._read(devices[first : first + RANGE], now):
                is_due = facts.kind == "sungrow" and self._judged.get(facts.device_id) != today
                if is_due and budget and facts.newest is not None:
                    budget -= 1
                    facts = self._with_yesterday(facts, today, now)
                yield facts, known

    def _read(self, devices: list[Device], now: datetime) -> Iterator[tuple[Facts, Known]]:
        ids = [device.device_id for device in devices]
        newest: dict[str, dict[str, Any]] = {}
        for kind, fields in FIELDS.items():
            if of_kind := [device.device_id for device in devices if device.kind == kind]:
                newest |= samples.newest_of(self.store, KINDS[kind], of_kind, fields, now)
        known, counted = self.store.run(
            lambda cursor: (
                _by_device(alerts.read_not_closed(cursor, ids)),
                alerts.read_counters(cursor, ids),
            )
        )
        reports = self.agents.read(ids)
        likely = self._find_likely_peaks(newest, known, now)
        for device in devices:
            device_id = device.device_id
            facts = Facts(
                device_id,
                device.kind,
                newest=newest.get(device_id),
                report=_aged(reports.get(device_id), now),
                counted=counted.get(device_id),
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
        start = now - (now - datetime(2020, 1, 1, tzinfo=UTC)) % QUARTER
        running = [device_id for device_id, sample in newest.items() if sample["ts"] >= start]
        likely: set[str] = set()
        if running:
            found = self.store.run(
                lambda cursor: alerts.find_may_peak(cursor, running, start, now, LIKELY_PEAK_W)
            )
            likely.update(found)
        return likely | {device_id for device_id, rules in known.items() if "peak" in rules}

    def _with_quarter(self, facts: Facts, alert: Alert | None, now: datetime) -> Facts:
        if alert and alert.opened_ts:
            if now < datetime.fromisoformat(alert.detail["quarter_end"]) + LATE:
                return facts
            start = alert.detail["quarter_start"]
            first = datetime.fromisoformat(start).astimezone(self.settings.site_timezone).date()
            meter = Meter(self.store, self.cache, self.settings, facts.device_id, now)
            month = capacity.month(meter, first.replace(day=1))
            return replace(facts, became_w=_became_w(month["peaks"], start))
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
                since = self.store.run(
                    lambda cursor: alerts.find_state_since(cursor, device_id, newest["ts"], faulty)
                )
                facts = replace(facts, state_since=since)
        return facts

    def _with_yesterday(self, facts: Facts, today: date, now: datetime) -> Facts:
        """What a longer look says; trouble with it must not keep a fault from being told."""
        try:
            facts = self._look_back(facts, today, now)
            self._judged[facts.device_id] = today
        except DatabaseUnavailable as error:
            logs.event(log, logging.WARNING, "look_back_failed", str(error), device=facts.device_id)
        return facts

    def _look_back(self, facts: Facts, today: date, now: datetime) -> Facts:
        zone = self.settings.site_timezone
        yesterday = today - timedelta(days=1)
        verdicts = self.store.run(
            lambda cursor: strings.verdict(cursor, facts.device_id, yesterday, zone, now), 20
        )
        months: list[dict[str, Any]] = []
        for year in (today - YEAR, today):
            told = battery.answer(self.store, facts.device_id, year, None, zone, now)
            months += told["months"]
        told = [
            {"string": string, "verdict": verdict.word, "since": verdict.since}
            for string, verdict in verdicts.items()
        ]
        return replace(facts, strings=told, health=_health(months))


def _health(months: list[dict[str, Any]]) -> tuple[float, float] | None:
    """The state of health of the newest month, and the best of the twelve before it."""
    known = [month["soh_pct"] for month in months[-13:]]
    before = [soh_pct for soh_pct in known[:-1] if soh_pct is not None]
    return (known[-1], max(before)) if before and known[-1] is not None else None


def _became_w(peaks: list[dict[str, Any]], start: str) -> int | None:
    for quarter in peaks:
        if quarter["bucket"] == start:
            register_w = quarter["register_w"]
            return quarter["avg_power_w"] if register_w is None else register_w
    return None


def _by_device(rows: dict[tuple[str, str], tuple]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for (device_id, rule), values in rows.items():
        known.setdefault(device_id, {})[rule] = Alert(*values)
    return known


def _aged(report: dict[str, Any] | None, now: datetime) -> dict[str, Any] | None:
    if report is None:
        return None
    return report | {"age_s": (now - parse_time(report["reported_ts"])).total_seconds()}
