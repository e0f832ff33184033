"""The simulated meter is a meter: it agrees with its house, and its program serves it."""

import http.client
import json
import ssl
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from tests.simulators.belgian import BRUSSELS, QUARTER, BelgianMeter, as_v1
from tests.simulators.house import House
from tests.support.servers import Simulator

START = datetime(2026, 10, 31, 20, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def house() -> House:
    """The house of the inverter as well."""
    return House(7)


def test_registers_and_power_are_those_of_the_house(house):
    meter = BelgianMeter(house, START)
    before = {"energy_import_kwh": 0, "energy_export_kwh": 0}
    for minute in range(0, 26 * 60, 7):
        moment = START + timedelta(minutes=minute, seconds=minute % 60)
        body, state = meter.measurement(moment), house.at(moment)
        assert body["power_w"] == -round(state.export_w)
        for way in ("import", "export"):
            total = body[f"energy_{way}_kwh"]
            assert 0 <= getattr(state, f"{way}_kwh") - total < 0.001 + 1e-9
            assert total >= before[f"energy_{way}_kwh"]
            tariffs = body[f"energy_{way}_t1_kwh"] + body[f"energy_{way}_t2_kwh"]
            assert tariffs == pytest.approx(total, abs=1e-6)
        before = body


def test_the_quarter_climbs_to_its_mean_and_the_highest_of_the_month_is_kept(house):
    meter = BelgianMeter(house, START)
    month_end = datetime(2026, 11, 1, tzinfo=BRUSSELS).astimezone(UTC)
    last = meter.measurement(month_end - timedelta(seconds=1))
    means = {}
    start = datetime(2026, 10, 1, tzinfo=BRUSSELS).astimezone(UTC)
    while start + QUARTER < month_end:
        imported = house.at(start + QUARTER).import_kwh - house.at(start).import_kwh
        means[start + QUARTER] = imported * 4000
        start += QUARTER
    ended = max(means, key=means.get)
    assert last["monthly_power_peak_w"] == round(means[ended])
    stamp = ended.astimezone(BRUSSELS).strftime("%Y-%m-%dT%H:%M:%S")
    assert last["monthly_power_peak_timestamp"] == stamp
    # The last quarter of October ends in November, and only the first one of November resets.
    assert meter.measurement(month_end + QUARTER)["monthly_power_peak_timestamp"] == (
        "2026-11-01T00:15:00"
    )
    assert meter.measurement(month_end + QUARTER)["average_power_15m_w"] == 0


def test_v1_tells_the_same_under_its_own_names(house):
    body = as_v1(BelgianMeter(house, START).measurement(START))
    assert body["total_power_import_kwh"] > body["total_power_import_t2_kwh"] - 1
    assert 261001000000 < body["montly_power_peak_timestamp"] <= 261101000000
    assert "timestamp" not in body
    assert body["active_tariff"] == 2  # a Saturday


def test_the_program_serves_the_meter_and_its_button(tmp_path):
    with Simulator(tmp_path, "meter", "--folder", str(tmp_path), "--seed", "7") as program:
        told = program.told
        context = ssl.create_default_context(cafile=told["ca_file"])
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = False

        def ask(path: str, body: dict | None = None, token: str = "") -> dict:
            request = urllib.request.Request(
                f"https://127.0.0.1:{told['port']}{path}",
                None if body is None else json.dumps(body).encode(),
                {"Authorization": f"Bearer {token}"},
            )
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )
            with opener.open(request, timeout=10) as answer:
                return json.loads(answer.read())

        assert ask("/api", token=told["token"])["serial"] == told["serial"]
        assert ask("/simulator", {"press": True}) == {"fault": None}
        token = ask("/api/user", {"name": "local/test"})["token"]
        assert "power_w" in ask("/api/measurement", token=token)


def test_the_program_can_tell_a_recording_over_v1(tmp_path):
    recording = tmp_path / "body.json"
    recording.write_text('{"active_power_w": 5}')
    options = ("--folder", str(tmp_path), "--api", "v1", "--recording", str(recording))
    with Simulator(tmp_path, "meter", *options) as program:
        assert program.told["ca_file"] is None
        connection = http.client.HTTPConnection("127.0.0.1", program.told["port"], timeout=10)
        connection.request("GET", "/api/v1/data")
        assert json.loads(connection.getresponse().read()) == {"active_power_w": 5}
        connection.close()
