"""Whether everything works: devices, their agents, the gaps of today, open alerts."""

from datetime import UTC, datetime, timedelta
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
    parts, settings, now = current_app.extensions, page.settings(), datetime.now(UTC)
    known = g.caller.devices
    found = devices.answer(
        parts["store"],
        parts["agents"],
        known.values(),
        settings.sites,
        auth.readable_sites().values(),
        now,
    )
    day = now.astimezone(settings.site_timezone).date()
    language = page.language()
    shown = []
    for one in found["devices"]:
        device = known[one["device_id"]]
        complete = completeness.answer(parts["store"], one["agent"], device, day, settings, now)
        times = {name: _told(language, one, name) for name in ("reported_ts", "oldest_ts")}
        shown.append({**one, **_day(language, complete, now), **times})
    return page.render(
        "health.html",
        tab="health",
        devices=shown,
        alerts=_open_alerts(language, list(known)),
        silent_s=flows.SILENT_S,
        agent_texts=AGENT_TEXTS,
        agent_numbers=AGENT_NUMBERS,
    )


def _day(language: Language, complete: dict[str, Any], now: datetime) -> dict[str, Any]:
    """A device's day with its gaps, the longest as text, all as a line."""
    zone = page.zone()
    day = now.astimezone(zone).date()
    start, end = periods.midnight(day, zone), periods.midnight(day + timedelta(days=1), zone)
    spans = [
        (gap, datetime.fromisoformat(gap["from"]), datetime.fromisoformat(gap["to"]))
        for gap in complete["gaps"]
    ]
    longest = sorted(spans, key=lambda one: -one[0]["missing_s"])[:SHOWN]
    return {
        "day": complete,
        "line": gauges.draw_gaps(
            language, [(begin, stop) for _, begin, stop in spans], start, end, now, zone
        ),
        "gaps": [
            (gap, f"{begin:%H:%M:%S}", f"{stop:%H:%M:%S}")
            for gap, begin, stop in sorted(longest, key=lambda one: one[1])
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
