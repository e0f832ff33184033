"""Logging in with a read token, and the cookie that remembers it.

The cookie is good for reading pages only: no other path, and no other method, looks at it.
"""

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from flask import Response, current_app, g, request

from api_server.data import page_key
from api_server.devices import digest
from api_server.pages import page, session
from api_server.pages.page import blueprint
from api_server.web import auth, bodies, limits
from api_server.web.errors import Answer, abort_with

MAX_FORM_BYTES = 4096
OPEN = ("pages.login", "pages.enter", "pages.leave", "pages.static", "pages.folder")
NEXT = re.compile(r"/ui/[\w?&=%.+:/-]*", re.ASCII)


@blueprint.before_request
def require_login() -> Response | None:
    """Know who reads, or lead to the form."""
    if request.endpoint in OPEN:
        return None
    reader = _reader()
    if reader is not None:
        limits.count_request(reader)
        g.caller = current_app.extensions["callers"].get(reader)
        return None
    if request.endpoint in ("pages.live", "pages.today"):  # the script then loads the whole page
        abort_with(401, "Log in first.", WWW_Authenticate="Bearer")
    cross_site = request.headers.get("Sec-Fetch-Site") == "cross-site"
    if cross_site and session.COOKIE not in request.cookies:
        # A strict cookie does not come along from another site's link; it does on the next step.
        return page.render("again.html")
    return page.go(page.address("login", next=page.here()))


@blueprint.get("")
def folder() -> Answer:
    """The address without its last slash."""
    return page.go(page.FOLDER)


@blueprint.get("/login")
def login() -> Response:
    """The form; whoever has logged in already goes on."""
    if _reader() is not None:
        return page.go(_next())
    return _form()


@blueprint.post("/login")
def enter() -> Response:
    """Take the form: 303 with a cookie for a read token, else the form again and why."""
    _refuse_other_sites()
    token = _token(bodies.read(MAX_FORM_BYTES))
    known = digest(token.encode("utf-8", "replace"))
    if known in page.settings().read_tokens:
        answer = page.go(_next())
        value = session.make(_key(), known, datetime.now(UTC))
        _set_cookie(answer, value, session.LIFE_S)
        return answer
    if known in page.settings().device_tokens:
        return _form(403, "login_device")
    if not token:
        return _form(401, "login_missing")
    limits.count_failed_login(auth.address())
    return _form(401, "login_wrong")


@blueprint.post("/logout")
def leave() -> Response:
    """Forget the cookie."""
    _refuse_other_sites()
    answer = page.go(page.address("login"))
    _set_cookie(answer, "", 0)
    return answer


def _form(status: int = 200, why: str | None = None) -> Response:
    form = page.render("login.html", status, why=why)
    if status == 401:
        form.headers["WWW-Authenticate"] = "Bearer"
    return form


def _token(body: bytes) -> str:
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20)
    except ValueError:
        abort_with(400, "The form has too many fields.")
    return fields.get("token", [""])[0].strip()


def _next() -> str:
    """Where a login leads: a page of ours only."""
    wanted = request.args.get("next", "")
    return wanted if NEXT.fullmatch(wanted) else page.address("now")


def _refuse_other_sites() -> None:
    """No other site logs a browser in or out; browsers that do not say where from are believed."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        abort_with(403, "This form was sent from another site.")


def _set_cookie(answer: Response, value: str, seconds: int) -> None:
    answer.set_cookie(
        session.COOKIE,
        value,
        max_age=seconds,
        path="/",  # as its prefix demands
        secure=True,
        httponly=True,
        samesite="Strict",
    )


def _reader() -> bytes | None:
    """The digest of the token that this browser logged in with."""
    cookie = request.cookies.get(session.COOKIE)
    if not cookie or request.method not in ("GET", "HEAD"):
        return None
    return session.read(_key(), cookie, page.settings().read_tokens, datetime.now(UTC))


def _key() -> bytes:
    extensions: dict[str, Any] = current_app.extensions
    if "page_key" not in extensions:
        extensions["page_key"] = extensions["store"].run(page_key.read)
    return extensions["page_key"]
