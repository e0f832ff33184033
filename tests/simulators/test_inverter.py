"""The simulated inverter says what its house does, and misbehaves only as a real one would."""

import contextlib
import json
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from pymodbus.client import ModbusTcpClient

from tests.simulators.house import INVERTER_ZONE, House
from tests.simulators.inverter import InverterSimulator
from tests.simulators.inverter_words import RECORDINGS, SERIAL, HouseWords
from tests.simulators.misbehaviour import Misbehaviour
from tests.support.servers import ROOT
from tests.support.sungrow import CAPTURE, source

pytestmark = pytest.mark.slow

START = datetime(2026, 6, 21, 5, 0, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def house():
    return House(1)


@pytest.fixture(scope="module")
def words(house):
    words = HouseWords(house)
    words.at(START)  # the years before take a moment
    return words


def test_what_the_agent_reads_is_what_the_house_does(house, words):
    moment = START
    with InverterSimulator(lambda: words.at(moment)) as simulator, source(simulator.port) as made:
        for _ in range(48):
            moment += timedelta(minutes=37)
            sample, now = made.read()[0], house.at(moment)
            assert sample["pv_power_w"] == pytest.approx(now.pv_w, abs=1)
            assert sample["battery_power_w"] == pytest.approx(now.battery_w, abs=1)
            assert sample["load_power_w"] == pytest.approx(now.load_w, abs=1)
            assert sample["export_power_w"] == pytest.approx(now.export_w, abs=1)
            assert sample["battery_soc_pct"] == pytest.approx(now.soc_pct, abs=0.11)
            for ours, theirs in (("pv", "pv"), ("import", "import"), ("discharge", "discharge")):
                counted = getattr(now, f"{theirs}_kwh")
                assert 0 <= counted - sample[f"{ours}_total_kwh"] < 0.1001, "a step of 0.1 kWh"


def test_the_yield_of_the_day_begins_at_the_inverters_midnight(house, words):
    midnight = datetime(2026, 6, 22, tzinfo=INVERTER_ZONE)
    late, early = (words.at(midnight + timedelta(seconds=s))[13001] for s in (-1, 1))
    assert (late > 50, early) == (True, 0)
    day = house.at(midnight).pv_kwh - house.at(midnight - timedelta(days=1)).pv_kwh
    assert late / 10 == pytest.approx(day, abs=0.1)


def test_other_programs_may_read_its_settings_and_nobody_writes_them(words):
    with InverterSimulator(lambda: words.at(START)) as simulator:
        client = ModbusTcpClient("127.0.0.1", port=simulator.port, retries=0)
        try:
            before = datetime.now().replace(microsecond=0)
            clock = client.read_holding_registers(4999, count=10).registers
            assert before <= datetime(*clock[:6]) <= datetime.now()
            settings = client.read_holding_registers(13000, count=100).registers
            assert (settings[50], settings[57], settings[58]) == (0xCC, 1000, 50)
            assert client.read_holding_registers(33046, count=2).exception_code == 2
            assert client.write_register(13050, 0xAA).exception_code == 1
            assert client.read_holding_registers(13050).registers == [0xCC]
        finally:
            client.close()


def test_reads_that_begin_where_nothing_is_documented_are_refused(words):
    with InverterSimulator(lambda: words.at(START)) as simulator:
        client = ModbusTcpClient("127.0.0.1", port=simulator.port, retries=0)
        try:
            for address in (2612, 2628, 5006, 5008, 5083, 5740, 6099, 13014, 13043, 13047):
                answer = client.read_input_registers(address, count=2)
                assert (answer.isError(), answer.exception_code) == (True, 2)
            whole = client.read_input_registers(13001, count=46).registers
            assert whole[13013 - 13001 + 1] == 0, "but inside of a block they are 0"
            for address in (5114, 13199, 13249, 13279):
                assert not client.read_input_registers(address, count=2).isError()
        finally:
            client.close()


@pytest.mark.parametrize("recorded", [True, False], ids=["a recording", "a house"])
def test_the_command_says_its_port_and_serves(recorded):
    what = ["--words", str(RECORDINGS / f"{CAPTURE}.json")] if recorded else ["--seed", "2"]
    command = [sys.executable, "-m", "tests.simulators.inverter", *what, "--refuse", "5600-5638"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = json.loads(process.stdout.readline())["port"]
            client = ModbusTcpClient("127.0.0.1", port=port, retries=0)
            serial = client.read_input_registers(4989, count=10).registers
            text = b"".join(word.to_bytes(2, "big") for word in serial).rstrip(b"\0").decode()
            assert text == ("" if recorded else SERIAL)
            assert client.read_input_registers(5600, count=2).isError()
            client.close()
        finally:
            process.terminate()
            assert process.wait(10) == 0


def test_the_command_misbehaves_as_it_is_told():
    options = ("--refuse", "5600-5638", "--close", "5241", "--short-exceptions", "--number", "2")
    command = [sys.executable, "-m", "tests.simulators.inverter", "--seed", "2", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = json.loads(process.stdout.readline())["port"]
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(bytes.fromhex("0004 0000 0006 01 04 15E0 0027"))
                assert connection.recv(99) == bytes.fromhex("0004 0000 0002 01 84 02")
                connection.sendall(bytes.fromhex("0005 0000 0006 01 04 145D 001D"))
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(99) == b"", "it hangs up"
            with source(port) as made:
                sample = made.read()[0]
            assert sample["battery_soc_pct"] is sample["load_power_w"] is None, (
                "the second has none"
            )
        finally:
            process.terminate()
            assert process.wait(10) == 0


def test_a_dongle_that_misbehaves_by_itself_is_read_on(words):
    dongle = Misbehaviour(lambda: words.at(START), 4)
    with InverterSimulator(dongle) as simulator:
        dongle.take(simulator)
        with source(simulator.port) as made:
            samples = [made.read()[0] for _ in range(10)]
    assert {sample["pv_power_w"] for sample in samples} == {samples[0]["pv_power_w"]}
