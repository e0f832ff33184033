"""The README's sensors for Home Assistant, against answers of the API."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from jinja2 import Environment

from tests.support.home import Home
from tests.support.servers import ROOT, Postgres, Redis

UNITS = {"power": "W", "battery": "%"}


class Loader(yaml.SafeLoader):
    """Reads secrets as their names."""


Loader.add_constructor("!secret", lambda loader, node: loader.construct_scalar(node))


def resources() -> list[dict[str, Any]]:
    """What the README gives, as Home Assistant reads it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^```yaml\n(rest:.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return yaml.load(text, Loader)["rest"]  # noqa: S506 - a safe loader


def render(template: str, answer: dict[str, Any]) -> str:
    """A template, as far as it is plain Jinja."""
    return Environment(autoescape=False).from_string(template).render(value_json=answer)  # noqa: S701


@pytest.fixture(scope="module")
def home(postgres: Postgres, redis: Redis) -> Iterator[Home]:
    """A site without samples yet."""
    home = Home(postgres, redis.url)
    yield home
    home.close()


def read(home: Home, resource: dict[str, Any]) -> dict[str, Any]:
    """What the sensors of a resource show, by name; "unavailable" as Home Assistant has it."""
    url = urlsplit(resource["resource"])
    assert resource["headers"] == {"Authorization": "sunspool"}
    answer = home.ask(url.path, **dict(parse_qsl(url.query))).json
    shown = {}
    for sensor in resource["sensor"] + resource.get("binary_sensor", []):
        available = render(sensor["availability"], answer) == "True"
        value = render(sensor["value_template"], answer)
        shown[sensor["name"]] = value if available else "unavailable"
    return shown


def test_they_show_what_the_api_says_and_nothing_that_is_unknown(home: Home) -> None:
    balance, capacity = resources()
    assert {*read(home, balance).values(), *read(home, capacity).values()} == {"unavailable"}
    now = datetime.now(UTC)
    home.insert("meter", (now, {"power_w": 700, "import_power_w": 700}))
    home.insert("roof", (now, {"pv_power_w": 1200.5, "battery_power_w": -300.0}))
    partly = read(home, balance)
    assert partly["Solar power"] == partly["Home power"] == "unavailable"
    assert partly["Grid power"] == "700"
    sample = {"pv_power_w": 99.5, "battery_power_w": 0.0, "battery_soc_pct": 64.0}
    home.insert("shed", (now, sample))
    for device_id in ("meter", "roof", "shed"):
        home.app.extensions["cache"].forget({device_id: []})
    assert read(home, balance) == {
        "Solar power": "1300.0",
        "Battery power": "-300.0",
        "Grid power": "700",
        "Home power": "2300.0",
        "Battery charge": "64.0",
    }
    quarter = read(home, capacity)
    told = home.get("/v1/capacity/now", device_id="meter")
    assert quarter == {
        "Quarter as projected": str(told["projected_w"]),
        "Room in this quarter": str(told["headroom_w"]),
        "New month peak": str(told["new_peak"]),
    }


def test_each_has_its_unit_and_an_id_of_its_own() -> None:
    sensors = [sensor for resource in resources() for sensor in resource["sensor"]]
    for sensor in sensors:
        assert sensor["unit_of_measurement"] == UNITS[sensor["device_class"]]
        assert sensor["state_class"] == "measurement"
    binary = resources()[1]["binary_sensor"]
    identities = [sensor["unique_id"] for sensor in sensors + binary]
    assert len(set(identities)) == len(identities) == 8
    assert len({sensor["name"] for sensor in sensors}) == len(sensors)
