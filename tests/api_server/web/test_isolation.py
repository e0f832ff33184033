"""Every row belongs to one device, and no token, parameter, cache or error shows it to another."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
import redis as client

from edge_agent.shared.samples import format_time
from tests.support.client import INVERTER, METER, TOKENS, Client

# Every device has numbers of its own, so that any of them in an answer tells whose row it was.
NUMBERS = {"roof": 11_111, "other": 22_222, "meter": 33_333}
MAY_READ = {
    "roof-token": {"roof"},
    "spare-token": {"roof"},
    "other-token": {"other"},
    "meter-token": {"meter"},
    "reader-token": {"roof", "meter"},
}
QUERIES = [
    "/v1/realtime?device_id={}",
    "/v1/realtime?device_id={}&device_id=roof",
    "/v1/realtime?device_id=roof&device_id={}",
    "/v1/realtime?device_id={}%00",
    "/v1/realtime?device_id=%25&frame={}",
    "/v1/series?device_id={}&frame=day",
    "/v1/series?device_id={}&frame=all",
    "/v1/series?frame=year&device_id={}&bucket=day",
    "/v1/series?device_id={}'%20OR%20'1'='1&frame=day",
    "/v1/daily-energy?device_id={}",
    "/v1/capacity/month/{month}?device_id={}",
    "/v1/capacity/now?device_id={}",
    "/v1/capacity/year?device_id={}",
    "/v1/cost?frame=year&device_id={}",
]


@pytest.fixture(scope="module")
def filled(shared_api):
    """Every device has sent its number."""
    now = datetime.now(UTC)
    for device, number in NUMBERS.items():
        fields = {"power_w": number, "import_power_w": number, "energy_import_kwh": number}
        values = METER | fields if device == "meter" else INVERTER | {"pv_power_w": number}
        samples = [
            values | {"device_id": device, "ts": format_time(now - timedelta(seconds=second))}
            for second in range(5)
        ]
        assert Client(shared_api.url, f"{device}-token").post(*samples).json["inserted"] == 5
    return shared_api


@pytest.mark.slow
def test_no_query_of_any_token_shows_the_number_of_another_device(filled):
    month = f"{datetime.now(UTC):%Y-%m}"
    answers, refusals = 0, set()
    for token, device, query in itertools.product(MAY_READ, [*NUMBERS, "unknown"], QUERIES):
        # Twice: the second may come from the cache.
        for _ in range(2):
            answer = Client(filled.url, token).get(
                query.replace("{month}", month).replace("{}", device)
            )
            answers += 1
            assert answer.status < 500
            hidden = {n for name, n in NUMBERS.items() if name not in MAY_READ[token]}
            assert not [number for number in hidden if str(number) in answer.text], (token, query)
            if answer.status == 200:
                assert answer.json["device_id"] in MAY_READ[token]
            elif answer.status == 403:
                refusals.add(answer.text)
    assert len(refusals) == 1
    assert answers == len(MAY_READ) * 4 * len(QUERIES) * 2


def test_unknown_and_foreign_devices_are_refused_alike(filled):
    for query in ("/v1/realtime?device_id={}", "/v1/capacity/month/2026-01?device_id={}"):
        foreign, unknown = (
            Client(filled.url, "other-token").get(query.format(device))
            for device in ("meter", "unknown")
        )
        assert foreign.status == unknown.status == 403
        assert foreign.text == unknown.text


def test_another_devices_sample_under_ones_own_key_is_not_shown(filled, redis):
    roof = Client(filled.url, "roof-token")
    assert roof.get("/v1/realtime?device_id=roof").json["pv_power_w"] == NUMBERS["roof"]
    Client(filled.url, "other-token").get("/v1/realtime?device_id=other")
    with client.Redis.from_url(redis.url) as direct:
        direct.set("realtime:roof", direct.get("realtime:other"))
    assert roof.get("/v1/realtime?device_id=roof").json["pv_power_w"] == NUMBERS["roof"]


def test_errors_on_ingest_tell_nothing_of_other_devices(filled):
    for token in TOKENS.split(","):
        name, device = token.split(":")[:2]
        others = [other for other in NUMBERS if other != device]
        for other in others:
            answer = Client(filled.url, name).post({**INVERTER, "device_id": other})
            assert answer.status == 403
            assert not [text for text in NUMBERS if text in answer.text]
