"""The P1 meter as a source, against a device on a real socket."""

import logging

import pytest

from edge_agent.sources import NothingNew
from edge_agent.sources.p1.meter import HUMAN_WAIT_S
from tests.simulators.appliances import SERIAL
from tests.simulators.homewizard import TOKEN, MeterSimulator
from tests.support.p1 import BODY, TELEGRAM, Bodies, refusal, source


def test_v2_asks_as_documented_over_one_kept_connection(v2):
    meter, reader = v2
    for second in range(5):
        meter.measure.body = {**BODY, "timestamp": f"2026-11-21T15:00:0{second}"}
        assert reader.read()[0]["power_w"] == 77
    method, path, headers = meter.requests[0]
    assert (method, path) == ("GET", "/api/measurement")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["X-Api-Version"] == "2"
    paths = [path for _, path, _ in meter.requests]
    assert (
        paths
        == ["/api/measurement", "/api/measurement", "/api/telegram"] + ["/api/measurement"] * 3
    )
    assert meter.connections == 1


def test_v1_asks_without_a_token_over_one_kept_connection(v1):
    meter, reader = v1
    assert [reader.read()[0]["power_w"] for _ in range(3)] == [77] * 3
    assert meter.connections == 1
    paths = [path for _, path, _ in meter.requests]
    data, telegram = "/api/v1/data", "/api/v1/telegram"
    assert paths == [data, "/api", data, telegram, data]
    assert not any("Authorization" in headers for _, _, headers in meter.requests)


def test_a_kept_connection_that_the_device_closed_costs_nothing(v2):
    meter, reader = v2
    reader.read()[0]
    meter.hang_up()
    meter.measure.body = {**BODY, "timestamp": "2026-11-21T15:00:01"}
    assert reader.read()[0]["power_w"] == 77
    assert meter.connections == 2


def test_failures_wait_longer_and_longer_until_an_answer_comes(v2):
    meter, reader = v2
    meter.fault = 503
    assert [refusal(reader).wait_s for _ in range(5)] == [5, 20, 45, 90, 90]
    meter.fault = None
    reader.read()[0]
    meter.fault = "close"
    assert refusal(reader).wait_s == 5


def test_nobody_there_is_said_with_host_and_port(tmp_path, v2):
    meter, reader = v2
    reader.read()[0]
    meter.stop()
    error = refusal(reader)
    assert f"127.0.0.1:{meter.port}" in str(error)
    assert error.wait_s == 5


def test_a_name_that_does_not_exist_is_no_crash(tmp_path, v2, appliances):
    for host in ("no-such-meter.invalid", "a" * 80 + ".invalid"):
        reader = source(tmp_path, v2[0], appliances[0].file, HW_P1_HOST=host)
        assert refusal(reader).wait_s == 5


def test_a_refused_token_waits_for_somebody_to_pair_again(v2):
    meter, reader = v2
    meter.users = {}
    error = refusal(reader)
    assert error.wait_s == HUMAN_WAIT_S
    assert "--pair" in str(error)
    assert TOKEN not in str(error)


def test_a_local_api_that_is_off_waits_for_somebody_to_switch_it_on(v1):
    meter, reader = v1
    meter.api_v1_enabled = False
    error = refusal(reader)
    assert error.wait_s == HUMAN_WAIT_S
    assert "app" in str(error)


def test_no_power_yet_is_no_sample_and_the_same_telegram_counts_once_it_has(v2):
    meter, reader = v2
    meter.measure.body = {"timestamp": TELEGRAM}
    error = refusal(reader)
    assert "no electricity data yet" in str(error)
    assert error.wait_s == 5
    meter.measure.body = BODY
    assert reader.read()[0]["power_w"] == 77


def test_a_telegram_is_taken_once_and_a_frozen_meter_is_said_to_be_frozen(v2):
    meter, reader = v2
    reader.read()[0]
    with pytest.raises(NothingNew):
        reader.read()[0]
    reader._monotonic.seconds += 60
    with pytest.raises(NothingNew):
        reader.read()[0]
    reader._monotonic.seconds += 1
    error = refusal(reader)
    assert "frozen" in str(error)
    assert TELEGRAM in str(error)
    meter.measure.body = {**BODY, "timestamp": "2026-11-21T15:01:02"}
    assert reader.read()[0]["power_w"] == 77
    with pytest.raises(NothingNew):
        reader.read()[0]


def test_the_clocks_going_back_are_no_repetition(v2):
    meter, reader = v2
    for told in ("2026-10-25T02:59:59", "2026-10-25T02:00:00", "2026-10-25T02:00:01"):
        meter.measure.body = {**BODY, "timestamp": told}
        assert reader.read()[0]["power_w"] == 77


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_without_timestamps_a_standstill_only_warns_and_only_once(version, request, caplog):
    meter, reader = request.getfixturevalue(version)
    meter.measure.body = {"power_w": 77, "active_power_w": 77}
    for _ in range(4):
        assert reader.read()[0]["power_w"] == 77
        reader._monotonic.seconds += 59
    assert [record.event for record in caplog.records].count("meter_standstill") == 1


def test_a_clock_that_is_off_is_said_once(v2, caplog):
    meter, reader = v2
    for told in ("2026-11-21T15:00:15", "2026-11-21T15:00:16", "2026-11-21T15:00:20"):
        meter.measure.body = {**BODY, "timestamp": told}
        reader.read()[0]
    (warning,) = [record for record in caplog.records if record.event == "meter_clock"]
    assert warning.fields == {"offset_s": 16}


def test_another_device_on_the_same_paths_is_refused_over_v1(v1):
    meter, reader = v1
    meter.device["product_type"] = "HWE-KWH1"
    for _ in range(2):
        error = refusal(reader)
        assert "HWE-KWH1" in str(error)
        assert error.wait_s == HUMAN_WAIT_S
    meter.device = {}
    assert reader.read()[0]["power_w"] == 77


def test_proxies_of_the_environment_are_not_asked(v1, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert v1[1].read()[0]["power_w"] == 77


def test_the_first_meter_that_answers_well_is_the_only_one_from_then_on(
    appliances, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    ca, certificate = appliances
    pin = tmp_path / "spool.db.p1-serial"
    with MeterSimulator(Bodies(BODY), certificate) as meter:
        meter.users = {}
        reader = source(tmp_path, meter, ca.file)
        refusal(reader)
        assert not pin.exists()  # it does not know our token: maybe it is not ours
        meter.users = {"local/simulator": TOKEN}
        reader.read()[0]
        reader.close()
    assert pin.read_text() == SERIAL + "\n"
    stranger = ca.issue("appliance/p1dongle/5c2fafddeeff")
    with MeterSimulator(Bodies(BODY), stranger) as meter:
        restarted = source(tmp_path, meter, ca.file)
        assert f"not {SERIAL}" in str(refusal(restarted))
        assert meter.requests == []
        told = source(tmp_path, meter, ca.file, HW_P1_SERIAL="5C2FAFDDEEFF")
        assert told.read()[0]["power_w"] == 77
        told.close()
    assert pin.read_text() == SERIAL + "\n"
    assert [record.event for record in caplog.records].count("meter_pinned") == 1


def test_one_running_agent_stays_with_its_meter_where_nothing_can_be_remembered(
    appliances, tmp_path, caplog
):
    ca, certificate = appliances
    with MeterSimulator(Bodies(BODY), certificate) as meter:
        reader = source(tmp_path / "missing", meter, ca.file)
        assert reader.read()[0]["power_w"] == 77
    assert "cannot remember" in caplog.text
    with MeterSimulator(Bodies(BODY), ca.issue("appliance/p1dongle/5c2fafddeeff"), port=meter.port):
        assert f"not {SERIAL}" in str(refusal(reader))
    reader.close()


def test_a_spoilt_memory_trusts_nobody_and_says_which_file(v2, tmp_path):
    meter, reader = v2
    (tmp_path / "spool.db.p1-serial").write_bytes(b"\xff\n")
    assert "spool.db.p1-serial" in str(refusal(reader))
    assert meter.requests == []
