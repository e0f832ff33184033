"""What a message says: a rule's words, filled with what it found."""

from collections.abc import Mapping
from datetime import date, datetime
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

from api_server.alerts import words_en, words_nl
from edge_agent.shared import alarms

LANGUAGES: dict[str, ModuleType] = {"en": words_en, "nl": words_nl}


class Texts:
    """Writes messages in one language, with local times."""

    def __init__(self, language: str, zone: ZoneInfo):
        self._language = language
        self._words = LANGUAGES[language]
        self._zone = zone

    @property
    def test(self) -> tuple[str, str]:
        """Title and text of a test message."""
        return self._words.TEST

    def title(self, rule: str, closed: bool = False) -> str:
        """What a message is about, in a few words."""
        title = self._words.TITLES[rule]
        return self._words.OVER.format(title=title) if closed else title

    def opened(self, rule: str, device_id: str, words: Mapping[str, Any]) -> str:
        """What is wrong, since when, the value and its limit, and what to do."""
        template = self._words.OPENED[words.get("by", rule)]
        return template.format(device=device_id, **self._filled(rule, words))

    def closed(self, rule: str, device_id: str, words: Mapping[str, Any]) -> str:
        """That it is over."""
        unknown = rule == "peak" and words["became_w"] is None
        template = self._words.CLOSED["peak_unknown" if unknown else words.get("by", rule)]
        return template.format(device=device_id, **self._filled(rule, words))

    def still(self, text: str) -> str:
        """That it is not over yet."""
        return self._words.STILL.format(text=text)

    def many(self, rule: str, device_ids: list[str], closed: bool) -> str:
        """One text for many devices."""
        hint = "" if closed else self._words.MANY_OPENED.get(rule, "")
        names = ", ".join(device_ids)
        return self._words.MANY.format(count=len(device_ids), devices=names, hint=hint).strip()

    def _filled(self, rule: str, words: Mapping[str, Any]) -> dict[str, Any]:
        filled = {name: self._shown(name, value) for name, value in words.items()}
        more = getattr(self, f"_{rule}", None)
        return filled | (more(words) if more else {})

    def _shown(self, name: str, value: Any) -> Any:
        if value is None:
            return self._words.UNKNOWN
        if name.startswith("quarter_"):
            return datetime.fromisoformat(value).astimezone(self._zone).strftime("%H:%M")
        if isinstance(value, datetime):
            return value.astimezone(self._zone).strftime("%d/%m/%Y %H:%M")
        return value

    def _day(self, since: date | datetime | None) -> str:
        if isinstance(since, datetime):
            since = since.astimezone(self._zone)
        return since.strftime("%d/%m/%Y") if since else self._words.UNKNOWN

    def _silence(self, words: Mapping[str, Any]) -> dict[str, Any]:
        report = words.get("report") or {}
        alive = report.get("age_s") is not None and report["age_s"] < words["limit_s"]
        error = report.get("last_error") or self._words.NO_ERROR
        agent = self._words.OPENED["agent_alive" if alive else "agent_silent"]
        return {
            "agent": agent.format(last_error=error),
            "limit_min": max(1, round(words["limit_s"] / 60)),
        }

    def _fault(self, words: Mapping[str, Any]) -> dict[str, Any]:
        named = alarms.describe_alarms(words["alarms"], self._language)
        state = alarms.FAULT_STATES.get(words["state"])
        if state and not named:
            named = [state[self._language]]
        return {"alarms": "; ".join(named)}

    def _loss(self, words: Mapping[str, Any]) -> dict[str, Any]:
        counts = words["counts"]
        named = [
            template.format(n=counts[name])
            for name, template in self._words.COUNTS.items()
            if counts[name]
        ]
        return {"counts": ", ".join(named)}

    def _string(self, words: Mapping[str, Any]) -> dict[str, Any]:
        named = [
            (self._words.DEAD if one["verdict"] == "dead" else self._words.WEAK).format(
                string=one["string"], since=self._day(one["since"])
            )
            for one in words["strings"]
        ]
        return {"strings": ", ".join(named)}
