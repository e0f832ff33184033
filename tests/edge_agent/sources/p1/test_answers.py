"""What a P1 meter may answer: every recording, nonsense, and a sick device or network."""

import contextlib
import json
import socket
import time
from itertools import count
from pathlib import Path

import pytest

from edge_agent.sources import SourceError
from tests.simulators.homewizard import MeterSimulator
from tests.simulators.proxy import NONE, Fault, FaultProxy
from tests.support.p1 import BODY, Bodies, refusal, source

RECORDINGS = Path(__file__).parents[3] / "recordings" / "homewizard"


def recordings() -> list[tuple[str, dict, object]]:
    """Name, what is expected and the answer, for each answer in the recordings."""
    cases = []
    for path in sorted(RECORDINGS.glob("*.expected.json")):
        expected = json.loads(path.read_text())
        answer = json.loads(path.with_name(path.name.replace(".expected", "")).read_text())
        if "reasons" not in expected:
            cases.append((path.name, expected, (200, answer)))
            continue
        for exchange, why in zip(answer["exchanges"], expected["reasons"], strict=True):
            case = {"api": expected["api"], "reason": why}
            cases.append((exchange["request"], case, (exchange["status"], exchange["body"])))
    return cases


@pytest.mark.parametrize(
    ("name", "expected", "answer"), recordings(), ids=lambda case: str(case)[:30]
)
def test_every_recording_gives_its_sample_or_says_why_not(
    appliances, tmp_path, name, expected, answer
):
    ca, certificate = appliances
    is_v2 = expected["api"] == "v2"
    with MeterSimulator(Bodies(None), certificate if is_v2 else None) as meter:
        meter.scripted = answer
        reader = source(tmp_path, meter, ca.file if is_v2 else None)
        if "sample" in expected:
            made = reader.read()[0]
            assert made == {"device_id": "p1", "ts": "2026-11-21T14:00:00Z", **expected["sample"]}
        else:
            assert expected["reason"] in str(refusal(reader))
        reader.close()


BROKEN = {
    "cut": b'{"power_w": 77, "energy_impor',
    "one brace": b"{",
    "empty": b"",
    "HTML": b"<html><body>502</body></html>",
    "NaN": b'{"power_w": NaN}',
    "infinity": b'{"power_w": 1, "voltage_v": -Infinity}',
    "array": b'[{"power_w": 77}]',
    "null": b"null",
    "number": b"77",
    "not UTF-8": b'{"power_w": 77, "meter_model": "\xff\xfe"}',
    "two bodies": b'{"power_w": 77}{"power_w": 77}',
    "a long number": b'{"power_w": ' + b"9" * 5000 + b"}",
    "deep": b'{"power_w": ' + b"[" * 60_000,
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_body_that_is_no_object_is_no_sample_and_the_next_one_is(v2, body):
    meter, reader = v2
    meter.scripted = (200, body)
    error = refusal(reader)
    assert "not a JSON object" in str(error)
    assert error.wait_s == 5
    meter.scripted = None
    assert reader.read()[0]["power_w"] == 77


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("hang", "gave no answer in 1 s"),
        ("drip", "gave no answer in 1 s"),
        ("trickle", "gave no answer in 1 s"),
        ("cut", "41 bytes of the answer are missing"),
        ("chunks cut", "IncompleteRead"),
        ("close", "without response"),
        ("huge", "not a JSON object"),
        ("endless", "100 headers"),
        ("endless chunks", "not a JSON object"),
        ("endless patience", "longer than 131072 bytes"),
        ("long line", "header line"),
        ("garbage", "SIP/2.0"),
        ("html", "not a JSON object"),
        (302, "answered 302"),
        (404, "answered 404"),
        (429, "answered 429"),
        (500, "answered 500"),
        (503, "answered 503"),
    ],
)
def test_a_sick_device_ends_one_request_in_time_and_backs_off(appliances, tmp_path, fault, cause):
    ca, certificate = appliances
    with MeterSimulator(Bodies(BODY), certificate) as meter:
        reader = source(tmp_path, meter, ca.file, HW_P1_TIMEOUT_S="1")
        meter.fault = fault
        began = time.monotonic()
        error = refusal(reader)
        assert time.monotonic() - began < 10  # the device would go on for minutes
        assert cause in str(error)
        assert error.wait_s == 5
        assert len(meter.requests) == 1
        meter.fault = None
        assert reader.read()[0]["power_w"] == 77
        reader.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut_after=100),
        Fault(cut_after=1500),
        Fault(reset=True),
        Fault(corrupt_at=1200),
        Fault(black_hole=True),
        Fault(drip_s=0.05),
    ],
    ids=str,
)
def test_a_sick_network_costs_one_reading_on_a_new_connection_and_on_a_kept_one(
    appliances, tmp_path, fault
):
    ca, certificate = appliances
    bodies = ({**BODY, "timestamp": str(number)} for number in count())
    with MeterSimulator(lambda: next(bodies), certificate) as meter, FaultProxy(meter.port) as way:
        port = {"HW_P1_PORT": str(way.port), "HW_P1_TIMEOUT_S": "1"}
        reader = source(tmp_path, meter, ca.file, **port)
        for _ in ("new", "kept"):
            way.down = fault
            if fault.cut_after is None and fault.corrupt_at is None:
                refusal(reader)
            else:  # counted per connection: a kept one may be past it, or is replaced at once
                with contextlib.suppress(SourceError):
                    reader.read()[0]
            way.down = NONE
            assert reader.read()[0]["power_w"] == 77
        reader.close()


def test_65536_bytes_are_read_and_one_more_is_not(v2):
    meter, reader = v2
    body = json.dumps(BODY).encode()
    meter.scripted = (200, body + b" " * (65_536 - len(body)))
    assert reader.read()[0]["power_w"] == 77
    meter.scripted = (200, body + b" " * (65_537 - len(body)))
    assert "not a JSON object" in str(refusal(reader))


def test_a_stranger_that_stalls_the_handshake_ends_in_time(tmp_path, appliances):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        meter = type("Silent", (), {"port": silent.getsockname()[1]})
        reader = source(tmp_path, meter, appliances[0].file, HW_P1_TIMEOUT_S="1")
        assert "gave no answer in 1 s" in str(refusal(reader))
