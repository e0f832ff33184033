"""What every page shares: its address, its language, its frame, and the headers that guard it."""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, current_app, g, render_template, request, url_for
from markupsafe import Markup, escape

from api_server.config import Settings
from api_server.devices import Site
from api_server.pages import formats
from api_server.pages.languages import Language, choose
from api_server.web import auth
from api_server.web.errors import Answer
from edge_agent import __version__

FOLDER = "/ui/"
KEPT = ("site", "lang")  # a choice stays while one goes from page to page
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
TABS = ("now", "history", "peaks", "health")

blueprint = Blueprint(
    "pages", __name__, url_prefix="/ui", static_folder="static", template_folder="templates"
)


def language() -> Language:
    """The language of this request's answer."""
    if "language" not in g:
        known: Mapping[str, Language] = current_app.extensions["languages"]
        header = request.headers.get("Accept-Language", "")
        g.language = choose(request.args.get("lang"), header, known)
    return g.language


def address(endpoint: str, **changes: str | None) -> str:
    """The address of a page, with the choices of this one unless they are changed."""
    kept = {name: request.args[name] for name in KEPT if name in request.args}
    values = {name: value for name, value in (kept | changes).items() if value is not None}
    return _path(endpoint) + ("?" + urlencode(values) if values else "")


@cache
def _path(endpoint: str) -> str:
    return url_for(f"pages.{endpoint}")


def here(**changes: str | None) -> str:
    """The address of this page with some of its parameters changed."""
    values = {**request.args.to_dict(), **changes}
    given = {name: value for name, value in values.items() if value is not None}
    return request.path + ("?" + urlencode(given) if given else "")


def render(template: str, status: int = 200, **values: Any) -> Response:
    """A page or a part of one, in the language of the request."""
    chosen = language()

    def say(key: str, *values: str, **named: str) -> Markup:
        safe = {name: escape(value) for name, value in named.items()}
        # The words are our own; str.format is far faster than that of Markup.
        return Markup(chosen.words[key].format(*map(escape, values), **safe))  # noqa: S704

    shared = {
        "language": chosen,
        "languages": current_app.extensions["languages"],
        "w": chosen.words,
        "n": partial(formats.element, chosen),
        "cells": partial(formats.cells, chosen),
        "say": say,
        "formats": formats,
        "address": address,
        "here": here,
        "tabs": TABS,
        "tab": None,
        "version": __version__,
        "caller": g.get("caller"),
    }
    return Response(render_template(template, **shared | values), status, mimetype="text/html")


def go(target: str) -> Answer:
    """Send the browser to another address, by GET."""
    return Answer(status=303, headers={"Location": target})


def find_site() -> Site | None:
    """The site of `?site=`, or the first that may be read; None if there is none."""
    if "site" in request.args:
        return auth.readable_site()
    return next(iter(auth.readable_sites().values()), None)


def nothing() -> Response:
    """What is shown to whoever may read no site."""
    return render("nothing.html", tab="now")


def settings() -> Settings:
    """What the API was told."""
    return current_app.config["SETTINGS"]


def zone() -> ZoneInfo:
    """Where days begin."""
    return settings().site_timezone
