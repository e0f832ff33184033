"""The OpenAPI document: a line for each route, and what all of them have in common."""

from dataclasses import dataclass, field
from typing import Any

from flask import Flask

from api_server.config import Settings
from api_server.openapi import answers, money
from api_server.openapi.schemas import (
    DAY,
    DEVICE,
    MONTH,
    SITE,
    Schema,
    choice,
    listed,
    obj,
    text,
)
from edge_agent import __version__
from edge_agent.shared.samples import KINDS, P1, SUNGROW, Field

_TEXTS = {
    400: "The request is not what it can be; the detail says what would be right.",
    401: "No valid token.",
    403: "The token may not do that.",
    404: "Nothing is there, or nothing is known.",
    405: "Another method.",
    408: "The body did not arrive.",
    411: "Content-Length is missing.",
    413: "Too large.",
    415: "Another encoding.",
    422: "The request is not what it can be; the detail says what would be right.",
    429: "Too many requests.",
    500: "Something went wrong; it has been logged.",
    503: "The database gives no answer now.",
}
_HEADERS = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}
ERROR = {
    "type": "object",
    "description": "Every error.",
    "properties": {
        "detail": {
            "anyOf": [
                text("What is wrong."),
                listed(
                    obj(
                        "What is wrong with one field of one sample.",
                        loc=listed({"type": ["string", "integer"]}),
                        msg=text(),
                        type=text(),
                    )
                ),
            ]
        }
    },
    "required": ["detail"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Operation:
    """What a route takes and answers beside the errors of all."""

    ok: Schema | None = None
    query: dict[str, Schema] = field(default_factory=dict)  # parameters
    required: tuple[str, ...] = ()
    path: dict[str, Schema] = field(default_factory=dict)
    statuses: tuple[int, ...] = ()
    csv: bool = False
    body: Schema | None = None
    also: dict[int, Schema | None] = field(default_factory=dict)  # other answers with a body
    media: dict[str, Schema] = field(default_factory=dict)  # of answers that are not JSON
    headers: dict[str, str] = field(default_factory=dict)


_FRAME = choice(*dict.fromkeys(frame for kind in KINDS.values() for frame in kind.frames))
_DATE = text("A day, month or year, as the frame asks for.", pattern=r"^\d{4}(-\d\d){0,2}$")
_HISTORY = {
    "frame": _FRAME,
    "date": _DATE,
    "bucket": choice("hour", "day", "week", "month"),
    "complete": choice("true", "false"),
}
_DEVICE = {"device_id": DEVICE}
_SITE = {"site": SITE}
_INSTANT = text("An RFC 3339 time with an offset, or a local date.")


def _either(made: Any) -> Schema:
    return {"anyOf": [made(SUNGROW), made(P1)]}


def _of_device(ok: Schema, *statuses: int, **more: Any) -> Operation:
    query = _DEVICE | more.pop("query", {})
    required = ("device_id", *more.pop("required", ()))
    return Operation(ok, query, required, statuses=(403, 422, *statuses), **more)


OPERATIONS = {
    "/": Operation(answers.ROOT, also={303: None}),
    "/health": Operation(
        answers.HEALTH, also={503: {"anyOf": [answers.HEALTH, answers.UNUSABLE, ERROR]}}
    ),
    "/v1/ingest": Operation(answers.INGEST, statuses=(403, 408, 411, 413, 415, 422), body={}),
    "/v1/realtime": _of_device(_either(answers.realtime), 404),
    "/v1/series": _of_device(
        _either(answers.series), 400, query=_HISTORY, required=("frame",), csv=True
    ),
    "/v1/samples": _of_device(
        {},
        query={"from": _INSTANT, "to": _INSTANT, "format": choice("csv", "ndjson")},
        required=("from", "to"),
        media={"text/csv": text(), "application/x-ndjson": text()},
        headers={"Row-Count": "How many rows will come."},
    ),
    "/v1/devices": Operation(answers.DEVICES),
    "/v1/completeness": _of_device(answers.COMPLETENESS, query={"date": DAY}),
    "/v1/balance": Operation(
        answers.BALANCE, _SITE | _HISTORY, ("site", "frame"), statuses=(403, 422), csv=True
    ),
    "/v1/balance/now": Operation(answers.NOW, _SITE, ("site",), statuses=(403, 404, 422)),
    "/v1/battery": _of_device(answers.BATTERY, 404, query={"date": text("", pattern=r"^\d{4}$")}),
    "/v1/strings": _of_device(answers.STRINGS, 404, query={"date": DAY}),
    "/v1/capacity/month/{month}": _of_device(
        money.CAPACITY_MONTH, 400, 404, path={"month": MONTH}, csv=True
    ),
    "/v1/capacity/now": _of_device(money.CAPACITY_NOW, 404),
    "/v1/capacity/year": _of_device(money.CAPACITY_YEAR, 400, 404, query={"until": MONTH}),
    "/v1/cost": _of_device(
        money.COST,
        400,
        404,
        query={"frame": choice("month", "year"), "date": _DATE},
        required=("frame",),
        csv=True,
    ),
    "/v1/daily-energy": _of_device(money.DAILY_ENERGY, 404),
    "/v1/alerts": _of_device(answers.ALERTS),
    "/v1/openapi.json": Operation({"type": "object"}),
}
OPEN = ("/", "/health", "/v1/openapi.json")  # no token


def build(app: Flask, settings: Settings) -> dict[str, Any]:
    """The document of an app: its routes, as they are registered, met with OPERATIONS."""
    paths: dict[str, Any] = {}
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<", "{").replace(">", "}")
        if path in OPERATIONS:
            method = "post" if "POST" in rule.methods else "get"
            summary = (app.view_functions[rule.endpoint].__doc__ or "").partition("\n")[0]
            paths.setdefault(path, {})[method] = _operation(path, summary, settings)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sunspool",
            "version": __version__,
            "description": "Samples of inverters and meters, and what they say of a house.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(path: str, summary: str, settings: Settings) -> dict[str, Any]:
    line = OPERATIONS[path]
    query = dict(line.query)
    if line.csv:
        query["format"] = choice("csv")
    made: dict[str, Any] = {
        "summary": summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": schema}
            for name, schema in line.path.items()
        ]
        + [
            {"name": name, "in": "query", "required": name in line.required, "schema": schema}
            for name, schema in query.items()
        ],
        "responses": _responses(path, line),
        "security": [] if path in OPEN else [{"token": []}],
    }
    if line.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": batch(settings)}},
        }
    return made


def _responses(path: str, line: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": line.ok}}
    if line.csv:
        content["text/csv"] = {"schema": text()}
    if line.media:
        content = {name: {"schema": schema} for name, schema in line.media.items()}
    responses: dict[str, Any] = {"200": {"description": "What was asked for.", "content": content}}
    if line.headers:
        responses["200"]["headers"] = {
            name: {"description": said, "schema": text()} for name, said in line.headers.items()
        }
    common = (405, 500) if path in OPEN else (401, 405, 429, 500, 503)
    error = {"$ref": "#/components/schemas/Error"}
    for status in sorted({*line.statuses, *common}):
        responses[str(status)] = _response(status, error)
    for status, schema in line.also.items():
        responses[str(status)] = _response(status, schema)
    return responses


def _response(status: int, schema: Schema | None) -> dict[str, Any]:
    made: dict[str, Any] = {"description": _TEXTS.get(status, "Somewhere else.")}
    if schema is not None:
        made["content"] = {"application/json": {"schema": schema}}
    if status in _HEADERS:
        made["headers"] = {_HEADERS[status]: {"schema": text()}}
    return made


def batch(settings: Settings) -> Schema:
    """What an ingest takes: samples of one kind, and a report that is read leniently."""
    items = [_given(kind.fields) for kind in KINDS.values()]
    samples = listed({"anyOf": items}, maxItems=settings.max_samples_per_request)
    return {
        "type": "object",
        "properties": {"samples": samples, "agent": {"type": "object"}},
        "required": ["samples"],
    }


def _given(fields: tuple[Field, ...]) -> Schema:
    """A sample as it may come: unknown fields are ignored, and those that are not required may
    be missing."""
    kind = next(kind for kind in KINDS.values() if kind.fields == fields)
    whole = answers.sample(kind)
    required = ["device_id", "ts", *(one.name for one in fields if one.required)]
    return {**whole, "required": required, "additionalProperties": True}
