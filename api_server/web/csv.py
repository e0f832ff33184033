"""Answers as CSV by RFC 4180: CRLF, a header even without rows, the values as JSON writes them."""

import csv
import io
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

from flask import Response, request

from api_server.web.errors import abort_with

Route = Callable[..., dict[str, Any]]


def tabular(rows: str, columns: Callable[[], Sequence[str]]) -> Callable[[Route], Route]:
    """Let a route's answer also be had as CSV: of its list `rows`, whose columns are `columns`."""

    def decorate(route: Route) -> Route:
        @wraps(route)
        def either(**path: str) -> dict[str, Any] | Response:
            told = route(**path)
            asked = request.args.get("format", "json")
            if asked == "json":
                return told
            if asked != "csv":
                abort_with(422, "The format must be json or csv.")
            return answer(columns(), told[rows], f"{_name()}.csv")

        return either

    return decorate


def _name() -> str:
    """A file's name that tells what is in it: the route, whose, and when."""
    asked = [request.args.get(name) for name in ("device_id", "site", "frame", "date")]
    route = request.path.removeprefix("/v1/").split("/")
    parts = [*route, *filter(None, asked)]
    return "_".join("".join(one for one in part if one in _SAFE) for part in parts)


_SAFE = frozenset(string.ascii_letters + string.digits + "._-")


def answer(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], name: str) -> Response:
    """A file of the given name with these columns of the rows."""
    response = Response(write(columns, rows), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def write(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as text; null is an empty field, a list its entries joined by `; `."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_field(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def _field(value: Any) -> str | float | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return value
