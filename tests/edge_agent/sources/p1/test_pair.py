"""Pairing with the button, and every way in which it can fail."""

import io
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_agent.sources.p1 import pair as pairing
from edge_agent.sources.p1.pair import pair
from tests.simulators.appliances import SERIAL, ApplianceCa
from tests.simulators.homewizard import MeterSimulator
from tests.support.p1 import BODY, Bodies
from tests.support.servers import ROOT, wait_until


@pytest.fixture
def meter(appliances):
    """A device that can be paired."""
    with MeterSimulator(Bodies(BODY), appliances[1]) as device:
        yield device


def environment(folder: Path, port: int, appliances, **more: str) -> dict[str, str]:
    return {
        "HW_P1_HOST": "127.0.0.1",
        "HW_P1_PORT": str(port),
        "HW_P1_CA_FILE": str(appliances[0].file),
        "HW_P1_TOKEN_FILE": str(folder / "token"),
        **more,
    }


def attempt(environ: dict[str, str], ask_for_s: float = 0) -> tuple[int, str]:
    out = io.StringIO()
    return pair(environ, out, ask_for_s), out.getvalue()


def press_once_asked(meter: MeterSimulator) -> threading.Thread:
    """Press the button as soon as the device was asked for a token."""

    def press() -> None:
        wait_until(lambda: meter.requests, 20, "the device to be asked")
        meter.press_button()

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_the_button_gives_a_token_that_only_its_owner_can_read(tmp_path, meter, appliances):
    presser = press_once_asked(meter)
    code, said = attempt(environment(tmp_path, meter.port, appliances), 20)
    presser.join()
    assert code == 0, said
    token = (tmp_path / "token").read_text().strip()
    assert token in meter.users.values()
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["token"]
    assert token not in said
    assert "Press its button" in said
    for needed in (f"HW_P1_SERIAL={SERIAL}", f"{tmp_path}/token", "--once", "restart"):
        assert needed in said
    assert [(method, path) for method, path, _ in meter.requests] == [("POST", "/api/user")] * 2


def test_the_name_is_valid_the_same_again_and_another_elsewhere(tmp_path, meter, appliances):
    environ = environment(tmp_path, meter.port, appliances)
    (tmp_path / "other").mkdir()
    names = []
    for path in (tmp_path / "token", tmp_path / "token", tmp_path / "other" / "token"):
        meter.press_button()
        known = set(meter.users)
        assert attempt({**environ, "HW_P1_TOKEN_FILE": str(path)})[0] == 0
        names += set(meter.users) - known
    assert len(names) == 2  # the second pairing replaced the first one's token
    for name in names:
        assert re.fullmatch(r"local/[a-zA-Z0-9\-_/\\# ]{1,40}", name)
        assert name.startswith("local/sunspool-")


def test_an_older_token_is_replaced_through_its_link_and_keeps_its_owner(
    tmp_path, meter, appliances
):
    real = tmp_path / "real"
    real.write_text("OLD")
    if os.geteuid() == 0:
        os.chown(real, 12345, 12345)
    owner = real.stat().st_uid
    (tmp_path / "token").symlink_to(real)
    meter.press_button()
    environ = environment(tmp_path, meter.port, appliances, HW_P1_TOKEN="0" * 32)
    code, said = attempt(environ)
    assert code == 0, said
    assert "Remove HW_P1_TOKEN" in said
    assert real.read_text().strip() in meter.users.values()
    assert (real.stat().st_uid, stat.S_IMODE(real.stat().st_mode)) == (owner, 0o600)
    assert (tmp_path / "token").is_symlink()


@pytest.mark.slow
def test_nobody_presses(tmp_path, meter, appliances):
    (tmp_path / "token").write_text("OLD")
    code, said = attempt(environment(tmp_path, meter.port, appliances), 1.5)
    assert code == pairing.NOT_PRESSED
    assert "nobody pressed" in said
    assert (tmp_path / "token").read_text() == "OLD"
    assert os.listdir(tmp_path) == ["token"]
    assert 2 <= len(meter.requests) <= 4  # about once a second


def test_nothing_is_asked_of_the_user_before_all_else_is_in_order(tmp_path, meter, appliances):
    environ = environment(tmp_path, meter.port, appliances)
    (tmp_path / "folder").mkdir()
    for change, hint in (
        ({"HW_P1_TOKEN_FILE": ""}, "HW_P1_TOKEN_FILE is required"),
        ({"HW_P1_HOST": ""}, "HW_P1_HOST is required"),
        ({"HW_P1_HOST": "http://meter/"}, "HW_P1_HOST must be"),
        ({"HW_P1_SERIAL": "xyz"}, "HW_P1_SERIAL must be"),
        ({"HW_P1_API": "v1"}, "nothing to pair"),
        ({"HW_P1_TOKEN_FILE": str(tmp_path / "missing" / "token")}, "create it first"),
        ({"HW_P1_TOKEN_FILE": str(tmp_path / "folder")}, "must name a file"),
        ({"HW_P1_TOKEN_FILE": "/dev/null"}, "must name a file"),
    ):
        code, said = attempt({**environ, **change})
        assert (code, hint in said) == (pairing.CONFIG, True), said
    assert meter.requests == []


def test_a_folder_that_can_not_be_written(tmp_path, meter, appliances):
    code, said = attempt(
        environment(tmp_path, meter.port, appliances, HW_P1_TOKEN_FILE="/proc/token")
    )
    assert code == pairing.CANNOT_STORE
    assert "/proc" in said
    assert meter.requests == []


def test_nobody_there_or_a_firmware_without_v2(tmp_path, meter, appliances):
    meter.stop()
    code, said = attempt(environment(tmp_path, meter.port, appliances))
    assert code == pairing.UNAVAILABLE
    assert "6.00" in said
    assert os.listdir(tmp_path) == []


def test_a_device_that_only_speaks_http(tmp_path, appliances):
    with MeterSimulator(Bodies(BODY)) as v1_only:
        code, said = attempt(environment(tmp_path, v1_only.port, appliances))
        assert (code, v1_only.requests) == (pairing.UNAVAILABLE, [])
        assert "6.00" in said


def test_the_wrong_meter_gets_no_request(tmp_path, meter, appliances):
    environ = environment(tmp_path, meter.port, appliances, HW_P1_SERIAL="5c2fafddeeff")
    code, said = attempt(environ)
    assert code == pairing.WRONG_METER
    assert SERIAL in said
    other_ca = ApplianceCa(tmp_path / "other")
    code, said = attempt({**environ, "HW_P1_CA_FILE": str(other_ca.file), "HW_P1_SERIAL": ""})
    assert code == pairing.WRONG_METER
    assert "certificate" in said
    assert meter.requests == []


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((400, {"error": "user:no-storage"}), "delete unused"),
        ((403, {"error": "user:no-storage"}), "delete unused"),
        ((404, {"error": "request:not-found"}), "6.00"),
        ((400, {"error": "request:api-version-not-supported"}), "api-version-not-supported"),
        ((400, {"error": "<script>"}), "answered 400."),
        ((302, b""), "answered 302."),
        ((200, {"token": "short"}), "no token"),
        ((200, {"token": None}), "no token"),
        ((200, b"<html>"), "no token"),
    ],
)
def test_answers_that_asking_again_does_not_change(tmp_path, meter, appliances, answer, hint):
    meter.scripted = answer
    code, said = attempt(environment(tmp_path, meter.port, appliances), 30)
    assert code == pairing.REFUSED
    assert hint in said
    assert "<script>" not in said
    assert len(meter.requests) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_device_that_is_away_for_a_moment_is_asked_again(tmp_path, meter, appliances):
    def stumble() -> None:
        for fault in (None, 503, "close", None):
            meter.fault = fault
            asked = len(meter.requests)
            wait_until(lambda asked=asked: len(meter.requests) > asked, 20, "the next request")
        meter.press_button()

    thread = threading.Thread(target=stumble)
    thread.start()
    code, said = attempt(environment(tmp_path, meter.port, appliances), 30)
    thread.join()
    assert code == 0, said


def test_ctrl_c_leaves_nothing_behind(tmp_path, meter, appliances):
    program = (
        "import os, signal, sys; from edge_agent.sources.p1.pair import pair;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # whatever was inherited
        "sys.exit(pair(os.environ, sys.stdout))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment(tmp_path, meter.port, appliances)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: meter.requests, 20, "the device to be asked")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == pairing.INTERRUPTED
    assert said.splitlines()[-1] == "Not paired: interrupted."
    assert os.listdir(tmp_path) == []


def test_a_device_that_hangs_is_given_up(tmp_path, appliances):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = environment(tmp_path, silent.getsockname()[1], appliances, HW_P1_TIMEOUT_S="1")
        code, said = attempt(environ)
    assert code == pairing.UNAVAILABLE
    assert "no answer in 1 s" in said
