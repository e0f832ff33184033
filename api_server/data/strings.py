"""What each string of an inverter's panels gave in a day, and whether that is its usual share."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from functools import cache
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from api_server.data import verdicts
from api_server.data.database import HISTORY_S, Store
from api_server.data.periods import midnight
from api_server.data.string_history import History, Hour
from api_server.data.verdicts import KNOWN_DAYS, ONCE_PCT, USUAL_DAYS, Quarter, Verdict, share
from edge_agent.shared.samples import EARLIEST


def answer(
    store: Store, device_id: str, day: date, zone: ZoneInfo, now: datetime
) -> dict[str, Any]:
    """The strings of an inverter on a local day: none of an inverter that never told of any."""

    def work(cursor: Any) -> list[dict[str, Any]]:
        if day < EARLIEST.date() or midnight(day, zone) > now:
            return []
        history = History(cursor, device_id, day, zone, now)
        return [_printed(history, string, day, zone) for string in range(len(history.fitted))]

    strings = store.run(work, HISTORY_S)
    return {"device_id": device_id, "date": day.isoformat(), "strings": strings}


def verdict(
    cursor: Any, device_id: str, day: date, zone: ZoneInfo, now: datetime
) -> dict[int, Verdict]:
    """The verdict on each string of an inverter at the end of a local day, by its number."""
    history = History(cursor, device_id, day, zone, now)
    return {number + 1: judge(history, n, day) for n, number in enumerate(history.fitted)}


def judge(history: History, string: int, day: date) -> Verdict:
    """The verdict on the fitted string of this index on a day, the last that the history knows."""
    died = None
    alive, until = verdicts.find_turn(history.days, string)
    if alive and until:

        @cache  # rarely needed, and then again
        def usual() -> dict[int, float]:
            return _usual_shares(history.hours_before(alive), alive, string)

        def in_sun(quarter: Quarter) -> bool:
            return usual().get(quarter.hour, 0.0) >= ONCE_PCT

        quarters = [*history.quarters(alive, until)]
        if until < day:  # which may still be running
            quarters += history.quarters(day, day)
        died = verdicts.find_death(history.days, string, alive, quarters, in_sun)
    found = verdicts.judge(history.days, day, string, died)
    if found.word == "dead":
        return Verdict("dead", history.silenced(string, found.since))
    return found


def _usual_shares(hours: Iterable[Hour], day: date, string: int) -> dict[int, float]:
    """A string's usual share at each hour of the clock, by the 30 days before a day."""
    shares: dict[int, list[float]] = defaultdict(list)
    for hour in hours:
        if day - USUAL_DAYS <= hour.date < day:
            part = share(hour.power_w, string)
            if part is not None:
                shares[hour.hour].append(part)
    return {hour: median(parts) for hour, parts in shares.items() if len(parts) >= KNOWN_DAYS}


def _printed(history: History, string: int, day: date, zone: ZoneInfo) -> dict[str, Any]:
    hours = [hour for hour in history.hours if hour.date == day]
    usual = _usual_shares(history.hours, day, string)
    kwh = [hour.kwh[string] for hour in hours if hour.kwh[string] is not None]
    tops = [one.max_w[string] for one in history.days if one.date == day]
    word, since = judge(history, string, day)
    if isinstance(since, datetime):
        since = since.astimezone(zone)
    return {
        "string": history.fitted[string] + 1,
        "energy_kwh": round(sum(kwh), 6) if kwh else None,
        "max_power_w": _clean(tops[0]) if tops else None,
        "hours": [
            {
                "bucket": hour.start.astimezone(zone).isoformat(),
                "avg_power_w": _clean(hour.power_w[string]),
                "share_pct": _clean(share(hour.power_w, string)),
                "usual_share_pct": _clean(usual.get(hour.hour)),
            }
            for hour in hours
        ],
        "verdict": word,
        "since": since and since.isoformat(),
    }


def _clean(value: float | None) -> float | None:
    """A mean without the noise in its last digits."""
    return None if value is None else float(f"{value:.12g}")
