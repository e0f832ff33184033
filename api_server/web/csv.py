"""Answers as CSV by RFC 4180: CRLF, a header even without rows, the values as JSON writes them."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask import Response


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
