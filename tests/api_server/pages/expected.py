"""What the API answers of the moment in which a page is shown, by what the page's numbers say."""

import json
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tests.api_server.pages.conftest import METER, Reader
from tests.support.page import Page

ZONE = ZoneInfo("Europe/Brussels")
DASH = "\u2013"
FRAMES = ("day", "month", "year", "all")
PAGES = ("/ui/", "/ui/history", "/ui/peaks", "/ui/health")
VIEWS = ("/ui/", *(f"/ui/history?frame={frame}" for frame in FRAMES), "/ui/peaks", "/ui/health")
# What depends on the second in which it is asked.
MOVING = {"age_s", "expected_count", "covered_s", "missing_s"}


# By the field, the device and the bucket that a number says it is of.
Values = dict[tuple[str, str | None, str | None], float | None]


def said(value: float | None) -> str:
    return "" if value is None else json.dumps(value)


def compare(page: Page, expected: Values) -> None:
    """Each number of the page is the API's; `expected` has them by field, device and bucket."""
    for one in page.numbers:
        value = expected[one.field, one.device, one.bucket]
        if one.field in MOVING and value is not None:
            assert float(one.value) == pytest.approx(value, abs=30), one
        else:
            assert one.value == said(value), one
        assert (one.text == DASH) == (value is None), one


def compared(reader: Reader, path: str, show: Callable[[], str]) -> Page:
    """What `show` shows of a page, compared with what the API says of the same moment.

    The house has a sample every 10 s: where one came in between, both are asked again.
    """
    told = of_page(reader, path)
    while True:
        before, page = told, Page(show())
        told = of_page(reader, path)
        names = {(one.field, one.device, one.bucket) for one in page.numbers}
        if all(before.get(name) == told.get(name) for name in names if name[0] not in MOVING):
            break
    compare(page, told)
    return page


def of_rows(rows: list[dict], device: str | None = None) -> Values:
    return {
        (name, device, row.get("bucket", row.get("month"))): value
        for row in rows
        for name, value in row.items()
    }


def of(answer: dict, device: str | None = None) -> Values:
    return {(name, device, None): value for name, value in answer.items()}


def of_page(reader: Reader, path: str) -> Values:
    """Every number that a page may show."""
    page, _, frame = path.partition("?frame=")
    if page == "/ui/history":
        return of_rows(reader.get(f"/v1/balance?site=home&frame={frame}").json["series"])
    return {"/ui/": _now, "/ui/peaks": _peaks, "/ui/health": _health}[page](reader)


def _now(reader: Reader) -> Values:
    now = reader.get("/v1/balance/now?site=home").json
    quarter = reader.get(f"/v1/capacity/now?device_id={METER}")
    running = of(quarter.json, METER) if quarter.status == 200 else {}  # else it just began
    today = reader.get("/v1/balance?site=home&frame=day&bucket=day").json["series"]
    ages = {("age_s", device, None): age for device, age in now["devices"].items()}
    return of(now) | running | of_rows(today) | ages


def _peaks(reader: Reader) -> Values:
    month = datetime.now(ZONE).strftime("%Y-%m")
    answer = reader.get(f"/v1/capacity/month/{month}?device_id={METER}").json
    year = reader.get(f"/v1/capacity/year?device_id={METER}").json
    cost = reader.get(f"/v1/cost?device_id={METER}&frame=year").json
    expected = of(answer, METER) | of(year, METER) | of(cost, METER)
    for rows in (answer["peaks"], year["months"], cost["months"]):
        expected |= of_rows(rows, METER)
    return expected


def _health(reader: Reader) -> Values:
    expected: Values = {}
    for device in reader.get("/v1/devices").json["devices"]:
        name = device["device_id"]
        day = reader.get(f"/v1/completeness?device_id={name}").json
        gaps = [{**gap, "bucket": gap["from"]} for gap in day["gaps"]]
        expected |= of_rows(gaps, name) | of(device["agent"] or {}, name)
        expected |= of(day, name) | of(device, name)
    return expected
