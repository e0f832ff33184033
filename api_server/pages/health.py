"""Whether everything works: devices, their agents, the gaps of today, open alerts."""

from datetime import UTC, datetime, timedelta
from heapq import nlargest
from typing import Any

from flask import Response, current_app, g

from api_server.data import alerts, completeness, devices, flows, periods
from api_server.pages import formats, page
from api_server.pages.languages import Language
from api_server.pages.page import blueprint
from api_server.pages.svg import gauges
from api_server.web import auth

SHOWN = 10  # gaps as numbers, the longest; all of them are drawn
AGENT_TEXTS = ("version", "clock_warning", "last_error")
AGENT_NUMBERS = (
    "poll_interval_s",
    "uptime_s",
    "spool_count",
    "set_aside_count",
    "thinned",
    "dropped",
    "lost",
)


@blueprint.get("/health")
def health() -> Response:
    """The page."""
    parts, now = current_app.extensions, datetime.now(UTC)
    known = g.caller.devices
    found = devices.answer(
        parts["store"],
        parts["agents"],
        known.values(),
        page.settings().sites,
        auth.readable_sites().values(),
        now,
    )
    today, language = now.astimezone(page.zone()).date(), page.language()
    shown = []
    for one in found["devices"]:
        device = known[one["device_id"]]
        servers = parts["store"], parts["cache"]
        day = completeness.read(*servers, one["agent"], device, today, page.zone(), now)
        times = {name: _told(language, one, name) for name in ("reported_ts", "oldest_ts")}
        shown.append({**one, **_day(language, day, now), **times})
    return page.render(
        "health.html",
        tab="health",
        devices=shown,
        alerts=_open_alerts(language, list(known)),
        silent_s=flows.SILENT_S,
        agent_texts=AGENT_TEXTS,
        agent_numbers=AGENT_NUMBERS,
    )


def _day(language: Language, found: completeness.Day, now: datetime) -> dict[str, Any]:
    """A device's day with its gaps, the longest as text, all as a line."""
    zone = page.zone()
    day = now.astimezone(zone).date()
    start, end = periods.midnight(day, zone), periods.midnight(day + timedelta(days=1), zone)
    longest = nlargest(SHOWN, found.gaps, key=found.missing)
    return {
        "day": found.numbers(),
        "line": gauges.draw_gaps(language, found.gaps, start, end, now, zone),
        "gap_count": len(found.gaps),
        "gaps": [
            (found.tell(gap, zone), *(f"{at.astimezone(zone):%H:%M:%S}" for at in gap))
            for gap in sorted(longest)
        ],
    }


def _open_alerts(language: Language, device_ids: list[str]) -> list[tuple[dict[str, Any], str]]:
    """The alerts that are open, and since when."""
    store = current_app.extensions["store"]
    listed = store.run(lambda cursor: alerts.answer(cursor, device_ids))["alerts"]
    return [
        (one, _moment(language, one["opened_ts"])) for one in listed if one["closed_ts"] is None
    ]


def _told(language: Language, one: dict[str, Any], name: str) -> str | None:
    """A time that its agent told."""
    text = one["agent"] and one["agent"].get(name)
    return text and _moment(language, text)


def _moment(language: Language, text: str) -> str:
    when = datetime.fromisoformat(text).astimezone(page.zone())
    return f"{formats.short_day(language, when)} {formats.clock(when)}"
