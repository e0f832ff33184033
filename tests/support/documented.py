"""Holds answers against the API's own OpenAPI document."""

import json
from functools import cache
from typing import Any

from flask import Flask
from jsonschema import Draft202012Validator
from werkzeug.exceptions import HTTPException

from api_server import create_app

SETTINGS = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
    "REDIS_URL": "redis://127.0.0.1:9",
    "DEVICE_TOKENS": "token-of-roof:roof,token-of-meter:meter:p1",
}


@cache
def app() -> Flask:
    """An app that never connects anywhere."""
    return create_app(SETTINGS)


@cache
def document() -> dict[str, Any]:
    """The document, as it is answered."""
    answer = app().test_client().get("/v1/openapi.json")
    assert answer.status_code == 200
    return json.loads(answer.text)


def check(method: str, path: str, status: int, content_type: str, text: str) -> None:
    """Raise AssertionError for an answer that the document does not have."""
    operation = _operation(method, path)
    if operation is None:
        return
    responses = operation["responses"]
    assert str(status) in responses, f"{method} {path}: {status} is not documented"
    content = responses[str(status)].get("content")
    if content is None:
        return
    kind = content_type.partition(";")[0]
    assert kind in content, f"{method} {path}: {status} as {kind} is not documented"
    if kind == "application/json":
        errors = list(_validator(json.dumps(content[kind]["schema"])).iter_errors(json.loads(text)))
        assert not errors, f"{method} {path}: {errors[0].json_path}: {errors[0].message}"


def _operation(method: str, path: str) -> dict[str, Any] | None:
    """What the document says of a request; None for what is no documented route."""
    try:
        adapter = app().url_map.bind("127.0.0.1")
        rule, _ = adapter.match(path.partition("?")[0], method=method, return_rule=True)
    except HTTPException:  # no such route, or another method
        return None
    template = rule.rule.replace("<", "{").replace(">", "}")
    return document()["paths"].get(template, {}).get(method.lower())


@cache
def _validator(schema: str) -> Draft202012Validator:
    whole = {**json.loads(schema), "components": document()["components"]}
    return Draft202012Validator(whole)
