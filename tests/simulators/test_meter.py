"""The simulated meter is a meter: it agrees with its house, and its program serves it."""

import http.client
import json
import re
import ssl
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.shared.samples import parse_time
from edge_agent.sources.p1.telegram import month_peaks
from tests.simulators.appliances import ApplianceCa
from tests.simulators.belgian import BRUSSELS, QUARTER, BelgianMeter, as_v1
from tests.simulators.homewizard import TOKEN, MeterSimulator
from tests.simulators.house import House
from tests.simulators.telegram import crc16, telegram
from tests.support.servers import Simulator

pytestmark = pytest.mark.slow

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


def lines_of(meter, now):
    """The telegram of a moment, after its CRC is checked: value by OBIS code."""
    text = telegram(meter, meter.measurement(now), now)
    body, crc = text.split(b"!")
    assert crc == f"{crc16(body + b'!'):04X}\r\n".encode()
    assert body.startswith(b"/FLU5")
    return dict(line.split("(", 1) for line in body.decode().split("\r\n") if "(" in line)


def test_the_crc_is_that_of_dsmr():
    assert crc16(b"123456789") == 0xBB3D


def test_the_telegram_tells_what_the_measurement_tells(house):
    meter = BelgianMeter(house, START)
    now = START + timedelta(minutes=11)
    body, lines = meter.measurement(now), lines_of(meter, now)
    assert lines["0-0:1.0.0"] == "261031211100W)"
    assert lines["1-0:1.8.1"] == f"{body['energy_import_t1_kwh']:010.3f}*kWh)"
    assert lines["1-0:1.8.2"] == f"{body['energy_import_t2_kwh']:010.3f}*kWh)"
    assert lines["1-0:1.4.0"] == f"{body['average_power_15m_w'] / 1000:06.3f}*kW)"
    stamp, kilowatts = lines["1-0:1.6.0"].split(")(")
    assert kilowatts == f"{body['monthly_power_peak_w'] / 1000:06.3f}*kW)"
    assert stamp[:-1] == re.sub(r"\D", "", body["monthly_power_peak_timestamp"])[2:]
    net = float(lines["1-0:1.7.0"][:6]) - float(lines["1-0:2.7.0"][:6])
    assert net == pytest.approx(body["power_w"] / 1000)


def test_the_history_is_of_thirteen_months_and_the_agent_reads_it(house):
    meter = BelgianMeter(house, START)
    meter.measurement(START)
    peaks = month_peaks(telegram(meter, meter.measurement(START), START).decode(), BRUSSELS)
    assert [peak["month"] for peak in peaks] == [
        f"{2025 + (8 + n) // 12}-{(8 + n) % 12 + 1:02}" for n in range(13)
    ]
    start = datetime(2026, 3, 1, tzinfo=BRUSSELS).astimezone(UTC)
    quarters = [start + QUARTER * n for n in range(31 * 96 - 4)]  # an hour is skipped
    imported = [house.at(q + QUARTER).import_kwh - house.at(q).import_kwh for q in quarters]
    highest = max(range(len(quarters)), key=imported.__getitem__)
    march = next(peak for peak in peaks if peak["month"] == "2026-03")
    assert march["w"] == round(imported[highest] * 4000)
    assert parse_time(march["ts"]) == quarters[highest] + QUARTER
    meter.measurement(START + timedelta(days=1))
    assert meter.history[-1][1].astimezone(BRUSSELS).month == 10, "October is over"


def test_v1_tells_its_telegram_while_it_is_enabled():
    with MeterSimulator(lambda: {"power_w": 1}) as meter:
        meter.telegram = lambda: b"/FLU5 telegram"
        assert ask(meter, "GET", "/api/v1/telegram") == (200, b"/FLU5 telegram")
        meter.api_v1_enabled = False
        assert ask(meter, "GET", "/api/v1/telegram")[0] == 403


@pytest.fixture(scope="module")
def v2(tmp_path_factory):
    ca = ApplianceCa(tmp_path_factory.mktemp("ca"))
    with MeterSimulator(lambda: {"power_w": 1}, ca.issue()) as meter:
        yield meter


def ask(meter, method, path, body=None, token=TOKEN):
    """Status and body of one request."""
    if meter.device["api_version"] == "v1":
        connection = http.client.HTTPConnection("127.0.0.1", meter.port, timeout=10)
    else:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", meter.port, timeout=10, context=context
        )
    headers = {"Authorization": f"Bearer {token}"}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_v2_tells_its_system_and_takes_changes(v2):
    status, body = ask(v2, "GET", "/api/system")
    assert status == 200
    assert json.loads(body).keys() >= {"wifi_ssid", "wifi_rssi_db", "uptime_s", "cloud_enabled"}
    assert ask(v2, "PUT", "/api/system", {"api_v1_enabled": False})[0] == 200
    assert json.loads(ask(v2, "GET", "/api/system")[1])["api_v1_enabled"] is False
    assert ask(v2, "PUT", "/api/system", {"nonsense": 1})[0] == 400
    assert ask(v2, "PUT", "/api/system/identify") == (204, b"")
    assert ask(v2, "GET", "/api/system", token="wrong")[0] == 401


def test_v2_has_no_batteries_unless_it_has(v2):
    assert ask(v2, "GET", "/api/batteries")[0] == 404
    v2.batteries = {"mode": "zero", "power_w": -120}
    assert json.loads(ask(v2, "GET", "/api/batteries")[1])["mode"] == "zero"


def test_v2_without_a_telegram_is_unavailable(v2):
    assert ask(v2, "GET", "/api/telegram") == (503, b"telegram:no-telegram-received")


def test_a_removed_token_is_worth_nothing(v2):
    v2.press_button()
    token = json.loads(ask(v2, "POST", "/api/user", {"name": "local/mine"})[1])["token"]
    assert ask(v2, "GET", "/api", token=token)[0] == 200
    users = json.loads(ask(v2, "GET", "/api/user", token=token)[1])
    assert {"name": "local/mine", "current": True} in users
    assert ask(v2, "DELETE", "/api/user", {"name": "local/other"}, token)[0] == 400
    assert ask(v2, "DELETE", "/api/user", {"name": "local/mine"}, token) == (204, b"")
    assert ask(v2, "GET", "/api", token=token)[0] == 401
