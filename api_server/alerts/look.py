"""One look at all devices: what each rule finds, what becomes of its alert, and the messages."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from api_server.alerts.facts import Gatherer
from api_server.alerts.rules import RULES, Alert, Facts, Finding, Limits, Rule, count, next_step
from api_server.alerts.texts import Texts
from api_server.data import alerts
from api_server.data.alerts import Change
from api_server.data.database import Store

MANY = 5  # from so many openings or closings of a rule on, one message names all devices


@dataclass(frozen=True)
class _Turn:
    """An alert that a look opens, repeats or closes."""

    rule: Rule
    facts: Facts
    finding: Finding | None  # None where a repeated one has nothing new to say
    alert: Alert
    step: str


class Look:
    """Looks at devices and writes what it finds; `channels` are the keys of where messages go."""

    def __init__(
        self,
        store: Store,
        gatherer: Gatherer,
        texts: Texts,
        channels: list[str],
        limits: Limits,
        repeat: timedelta,
        rules: Iterable[Rule] = RULES,
    ):
        self._store = store
        self._gatherer = gatherer
        self._texts = texts
        self._channels = channels
        self._limits = limits
        self._repeat = repeat
        self._rules = tuple(rules)

    def run(self, now: datetime, judge_silence: bool) -> list[str]:
        """Look once; returns the texts of new messages. Raises DatabaseUnavailable."""
        changes: list[Change] = []
        turns: list[_Turn] = []
        counters: dict[str, dict[str, int]] = {}
        for facts, known in self._gatherer.gather(now):
            for rule in self._rules:
                if rule.name == "silence" and (facts.was_away or not judge_silence):
                    continue
                self._judge(rule, facts, known.get(rule.name), now, changes, turns)
            if facts.report is not None:
                counts = count(facts, known.get("loss"))
                if counts != facts.counted:
                    counters[facts.device_id] = counts
        messages = list(self._tell(turns, now))
        changes += [change for change, _ in messages]
        if (changes or counters) and not self._store.transaction(
            lambda cursor: alerts.write(cursor, changes, counters)
        ):
            return []
        self._gatherer.settle()
        return list(dict.fromkeys(text for _, text in messages))

    def _judge(
        self,
        rule: Rule,
        facts: Facts,
        alert: Alert | None,
        now: datetime,
        changes: list[Change],
        turns: list[_Turn],
    ) -> None:
        finding = rule.judge(facts, alert, self._limits, now)
        step = finding and next_step(rule, finding, alert, now)
        if step is None and self._repeats(rule, alert, now):
            step = "repeat"
        alert = alert or Alert(since_ts=now)
        key = (facts.device_id, rule.name, alert.since_ts)
        if step in ("open", "close", "repeat"):
            turns.append(_Turn(rule, facts, finding, alert, step))
        elif step == "forget":
            changes.append(Change(*key, {}, forget=True))
        elif step == "closing":
            changes.append(Change(*key, {"closing_ts": now}))
        elif step in ("notice", "reopen"):
            changes.append(Change(*key, {"closing_ts": None, "detail": finding.detail}))

    def _repeats(self, rule: Rule, alert: Alert | None, now: datetime) -> bool:
        if alert is None or alert.opened_ts is None or alert.closing_ts is not None:
            return False
        told = alert.message_ts or alert.opened_ts
        return bool(rule.repeats and self._repeat and now - told >= self._repeat)

    def _tell(self, turns: list[_Turn], now: datetime) -> Iterator[tuple[Change, str]]:
        groups: dict[tuple[str, str], list[_Turn]] = {}
        for turn in turns:
            groups.setdefault((turn.rule.name, turn.step), []).append(turn)
        for (rule, step), group in groups.items():
            many = None
            if len(group) >= MANY:
                text = self._texts.many(
                    rule, [turn.facts.device_id for turn in group], step == "close"
                )
                many = (str(uuid.uuid4()), self._texts.still(text) if step == "repeat" else text)
            for turn in group:
                text = self._text(turn)
                message_id, sent = many or (str(uuid.uuid4()), text)
                title = self._texts.title(rule, closed=step == "close")
                yield self._change(turn, text, title, sent, message_id, now), sent

    def _text(self, turn: _Turn) -> str:
        rule, device_id, finding = turn.rule.name, turn.facts.device_id, turn.finding
        if turn.step == "close":
            return self._texts.closed(rule, device_id, finding.words)
        if finding and finding.is_wrong:
            text = self._texts.opened(rule, device_id, finding.words)
        else:
            text = turn.alert.text
        return self._texts.still(text) if turn.step == "repeat" else text

    def _change(
        self, turn: _Turn, text: str, title: str, sent: str, message_id: str, now: datetime
    ) -> Change:
        columns: dict[str, Any] = {"message_id": message_id, "message_ts": now}
        if turn.step == "open":
            columns |= {"opened_ts": now, "detail": turn.finding.detail}
        if turn.step == "close":
            columns["closed_ts"] = now
        if turn.step != "repeat":
            columns |= {"text": text, "value": turn.finding.value}
        message = {
            "message_id": message_id,
            "created_ts": now,
            "title": title,
            "text": sent,
            "channels": len(self._channels),
            "waiting": self._channels,
        }
        key = (turn.facts.device_id, turn.rule.name, turn.alert.since_ts)
        return Change(*key, columns, message=message)
