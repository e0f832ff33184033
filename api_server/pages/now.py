"""The page to keep open: what flows now, the running quarter, and today so far.

Its living parts are fetched alone: `live` every 5 s, `today` every minute.
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from flask import Response, current_app

from api_server.data import battery, flows, periods, quarter
from api_server.data import today as todays
from api_server.devices import Site
from api_server.pages import formats, page
from api_server.pages.page import blueprint
from api_server.pages.svg import bars, gauges
from api_server.pages.svg import curve as drawn_curve
from api_server.web import auth
from api_server.web.errors import abort_with

IDLE_W = 10  # less is noise of the measurement, not a direction


@blueprint.get("/")
def now() -> Response:
    """The whole page."""
    site = page.find_site()
    if site is None:
        return page.nothing()
    at = datetime.now(UTC)
    values = {**_live(site, at), **_today(site, at)}
    return page.render("now.html", tab="now", sites=list(auth.readable_sites()), **values)


@blueprint.get("/live")
def live() -> Response:
    """The part that is renewed every 5 s."""
    return page.render("live.html", **_live(_site(), datetime.now(UTC)))


@blueprint.get("/today")
def today() -> Response:
    """The part that is renewed every minute."""
    return page.render("today.html", **_today(_site(), datetime.now(UTC)))


def _site() -> Site:
    site = page.find_site()
    if site is None:
        abort_with(404, "There is no site.")
    return site


def _live(site: Site, at: datetime) -> dict[str, Any]:
    servers = current_app.extensions["store"], current_app.extensions["cache"]
    found = flows.answer(*servers, site, at, partial(battery.has_told, *servers))
    running = quarter.read(*servers, page.settings(), site.meter, at)
    end = running and datetime.fromisoformat(running["quarter_end"])
    return {
        "site": site,
        "now": found,
        "level": gauges.draw_level(found and found["battery_soc_pct"]),
        "quarter": running,
        "quarter_end": end and formats.clock(end),
        "quarter_bar": running and gauges.draw_quarter(page.language(), running),
        "silent_s": flows.SILENT_S,
        "idle_w": IDLE_W,
    }


def _today(site: Site, at: datetime) -> dict[str, Any]:
    servers = current_app.extensions["store"], current_app.extensions["cache"]
    zone, language = page.zone(), page.language()
    day = at.astimezone(zone).date()
    start = periods.midnight(day, zone)
    end = periods.midnight(day + timedelta(days=1), zone)
    bucket, points = todays.read(*servers, site, zone, at)
    return {
        "site": site,
        "today": bucket,
        "splits": bucket
        and [
            gauges.draw_split([(name, bucket[field]) for name, field in parts])
            for parts in (bars.SOURCES, bars.USES)
        ],
        "curve": drawn_curve.draw(language, points, start, end, zone),
        "charge": drawn_curve.draw_charge(language, points, start, end),
    }
