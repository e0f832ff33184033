"""The document: valid, held against the routes, and without a fault to programs that read it."""

import json
import subprocess
import sys
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.support.client import INVERTER, METER, Client
from tests.support.documented import app, check, document
from tests.support.servers import ROOT, Api


def test_it_is_valid_openapi_and_needs_no_token(roof: Client, shared_api: Api) -> None:
    answer = Client(shared_api.url, None).get("/v1/openapi.json")
    assert answer.status == 200
    validate(answer.json)
    assert answer.json == document()
    assert answer.json["openapi"].startswith("3.1")


def test_it_has_every_route_of_ours_and_no_other() -> None:
    routes = {
        (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
        for rule in app().url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule in ("/", "/health") or rule.rule.startswith("/v1/")
    }
    documented = {
        (path, method) for path, methods in document()["paths"].items() for method in methods
    }
    assert documented == routes
    assert len(documented) >= 16


def schemas(node: Any) -> Any:
    """Every schema of an object in a part of the document."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            yield node
        for part in node.values():
            yield from schemas(part)
    elif isinstance(node, list):
        for part in node:
            yield from schemas(part)


def test_every_answer_lists_its_properties_and_allows_no_others() -> None:
    found = [
        schema
        for methods in document()["paths"].values()
        for operation in methods.values()
        for schema in schemas(operation["responses"])
    ]
    assert len(found) >= 30
    for schema in found:
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
        for name, said in schema["properties"].items():
            assert {"type", "anyOf", "$ref"} & said.keys(), name
            if name.endswith(("_w", "_kwh", "_pct", "_s", "_eur")):
                assert "x-unit" in said, name


def test_a_broken_answer_would_be_noticed() -> None:
    good = {"inserted": 1, "received": 1, "duplicates": 0}
    check("POST", "/v1/ingest", 200, "application/json", json.dumps(good))
    for bad in ({**good, "more": 1}, {"inserted": 1}, {**good, "inserted": "1"}):
        with pytest.raises(AssertionError):
            check("POST", "/v1/ingest", 200, "application/json", json.dumps(bad))
    with pytest.raises(AssertionError):
        check("GET", "/v1/devices", 418, "application/json", "{}")


@pytest.fixture
def house(shared_api: Api) -> str:
    """An API with some samples; its address."""
    assert Client(shared_api.url).post(INVERTER).status == 200
    assert Client(shared_api.url, "meter-token").post(METER).status == 200
    return shared_api.url


@pytest.mark.slow
@pytest.mark.parametrize(
    "examples", [4, pytest.param(150, marks=pytest.mark.full)], ids=["some", "many"]
)
def test_schemathesis_finds_no_fault(house: str, examples: int, tmp_path) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{house}/v1/openapi.json"),
            *("--header", "Authorization: Bearer roof-token", "--phases", "examples,fuzzing"),
            *("--max-examples", str(examples), "--seed", "1", "--suppress-health-check", "all"),
            *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
            *("--checks", "response_schema_conformance,response_headers_conformance"),
            "--no-color",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=500,
        check=False,
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    assert "passed" in result.stdout


def test_the_readme_names_it() -> None:
    assert "/v1/openapi.json" in (ROOT / "README.md").read_text()
