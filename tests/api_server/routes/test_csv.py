"""Answers as CSV hold what the JSON says, for whoever reads them: Python's csv, and pandas."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api_server.data.test_rollups import refresh
from tests.support.history import insert
from tests.support.home import BUILT, KINDS, Home, make_samples
from tests.support.servers import Postgres

pytestmark = pytest.mark.slow

ANSWERS = [
    ("/v1/series", "series", {"device_id": "roof", "frame": "month", "date": "2025-01"}),
    ("/v1/series", "series", {"device_id": "meter", "frame": "day", "date": "2025-01-02"}),
    ("/v1/balance", "series", {"site": "home", "frame": "month", "date": "2025-01"}),
    ("/v1/capacity/month/2025-01", "peaks", {"device_id": "meter"}),
    ("/v1/cost", "months", {"device_id": "meter", "frame": "month", "date": "2025-01"}),
]
SPAN = {"device_id": "roof", "from": "2025-01-01", "to": "2025-01-03"}


@pytest.fixture(scope="module")
def home(postgres: Postgres) -> Iterator[Home]:
    """A site with an awkward month."""
    home = Home(postgres, GRID_AREA="west")
    for device_id, made in make_samples(BUILT, 30, seed=3).items():
        insert(home.url, KINDS[device_id], made)
    refresh(home.url)
    yield home
    home.close()


def both(home: Home, path: str, rows: str, asked: dict[str, str]) -> tuple[list, str]:
    """The rows of the JSON, and the CSV."""
    answer = home.ask(path, format="csv", **asked)
    assert answer.content_type == "text/csv; charset=utf-8"
    name = answer.headers["Content-Disposition"].partition("filename=")[2].strip('"')
    assert name.endswith(".csv")
    assert all(part in name for part in asked.values())
    told = home.get(path, **asked)[rows]
    assert told
    return told, answer.get_data().decode()


def as_text(value: Any) -> str:
    """A value as a field of CSV."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(("path", "rows", "asked"), ANSWERS)
def test_python_reads_what_the_json_says(
    home: Home, path: str, rows: str, asked: dict[str, str]
) -> None:
    told, text = both(home, path, rows, asked)
    header, *read = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == list(told[0])
    assert read == [[as_text(value) for value in row.values()] for row in told]
    assert home.ask(path, format="xlsx", **asked).status_code == 422


@pytest.mark.parametrize(("path", "rows", "asked"), ANSWERS)
def test_pandas_reads_what_the_json_says(
    home: Home, path: str, rows: str, asked: dict[str, str]
) -> None:
    import pandas  # takes a second, which the collecting of every other test would wait for

    told, text = both(home, path, rows, asked)
    frame = pandas.read_csv(io.StringIO(text))
    assert list(frame.columns) == list(told[0])
    for name in frame.columns:
        values = [None if pandas.isna(value) else value for value in frame[name]]
        texts = isinstance(told[0][name], list)
        expected = [as_text(row[name]) or None if texts else row[name] for row in told]
        assert values == expected, name


def test_samples_are_the_same_in_both_formats(home: Home) -> None:
    text = home.ask("/v1/samples", **SPAN).get_data().decode()
    lines = home.ask("/v1/samples", format="ndjson", **SPAN).get_data().decode().splitlines()
    told = [json.loads(line) for line in lines]
    assert len(told) > 200
    header, *read = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == list(told[0])
    for row, fields in zip(told, read, strict=True):
        for value, field in zip(row.values(), fields, strict=True):
            assert (float(field) if isinstance(value, float) else field) == (
                value if isinstance(value, float) else as_text(value)
            )
