"""The command from outside: its options, what it prints where, and its exit codes."""

import json

import pytest

from edge_agent import __version__
from tests.simulators.homewizard import MeterSimulator
from tests.support.agent import TOKEN, CountingMeter, environ, p1_environ, sample, settings
from tests.support.servers import EdgeAgent, free_port, wait_until

pytestmark = pytest.mark.usefixtures("ca")


@pytest.fixture
def meter():
    with MeterSimulator(CountingMeter()) as meter:
        yield meter


@pytest.fixture
def agent(tmp_path, meter, ca):
    return EdgeAgent(tmp_path / "agent", p1_environ(meter.port, free_port(), ca.file))


def logged(done):
    """The log lines of a command, each checked to be what every line must be."""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(line.keys() >= {"ts", "level", "logger", "event", "msg"} for line in lines)
    return lines


def refuse_one(folder):
    """Make a spool with one pending and one set-aside sample, as an agent leaves it."""
    from edge_agent.spool.queue import Spool

    spool = Spool(settings(folder).spool_path)
    for number in range(2):
        spool.enqueue(sample(number))
    spool.set_aside([(spool.peek(1)[0].id, "pv_power_w: is bad")])
    spool.close()


def test_check_prints_the_settings_with_secrets_masked_and_exits_0(agent):
    done = agent.ask("--check")
    assert done.returncode == 0
    assert TOKEN not in done.stdout + done.stderr
    assert "VPS_DEVICE_TOKEN=***\n" in done.stdout
    assert "POLL_INTERVAL_S=1.0\n" in done.stdout
    assert done.stderr == ""
    assert not (agent.folder / "spool.db").exists()


def test_check_lists_every_problem_at_once_and_exits_78(agent):
    agent.env |= {"BATCH_SIZE": "0", "VPS_INGEST_URL": "http://host", "HW_P1_TIMEOUT_S": "99"}
    done = agent.ask("--check")
    assert done.returncode == 78
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert [line.split()[1] for line in problems] == [
        "HW_P1_TIMEOUT_S",
        "VPS_INGEST_URL",
        "BATCH_SIZE",
    ]
    assert [line["event"] for line in logged(done)] == ["wrong_settings"] * 3


def test_check_tells_of_readings_that_a_changed_device_id_left_behind(agent, tmp_path):
    agent.env |= {"SPOOL_PATH": str(tmp_path / "meter" / "spool.db")}
    assert "warning" not in agent.ask("--check").stdout
    refuse_one(tmp_path / "house")
    done = agent.ask("--check")
    assert done.returncode == 0
    (warning,) = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert f"{tmp_path}/house/spool.db holds 1 readings that no agent sends" in warning
    assert "DEVICE_ID=house" in warning


@pytest.mark.parametrize("options", [[], ["--once"]])
def test_wrong_settings_end_everything_else_before_it_starts(agent, meter, options):
    agent.env |= {"BATCH_SIZE": "0", "DEVICE_ID": "a/b"}
    done = agent.ask(*options)
    assert done.returncode == 78
    assert done.stdout == ""
    told = " ".join(line["msg"] for line in logged(done))
    assert "BATCH_SIZE" in told
    assert "DEVICE_ID" in told
    assert meter.connections == 0


def test_once_prints_one_sample_and_spools_nothing(agent, meter):
    done = agent.ask("--once")
    assert done.returncode == 0
    printed = json.loads(done.stdout)
    assert (printed["device_id"], printed["energy_import_kwh"]) == ("meter", 0.001)
    assert len(meter.requests) <= 2  # the reading, and which product it is
    assert not (agent.folder / "spool.db").exists()


def test_once_exits_69_when_the_device_gives_no_sample(agent):
    agent.env["HW_P1_PORT"] = str(free_port())
    done = agent.ask("--once")
    assert (done.returncode, done.stdout) == (69, "")
    assert [line["event"] for line in logged(done)] == ["poll_failed"]


@pytest.mark.slow
def test_beside_a_running_agent_once_and_a_second_agent_exit_75(agent, meter):
    with agent:
        wait_until(agent.health, 15, "the agent to work")
        agent_reads = len(meter.requests)
        for options in (["--once"], []):
            done = agent.ask(*options)
            assert (done.returncode, done.stdout) == (75, "")
            assert "another agent" in logged(done)[-1]["msg"]
        assert agent.running
        assert len(meter.requests) - agent_reads <= 4
    assert agent.ask("--once").returncode == 0


def test_spool_needs_to_know_only_where_it_is(tmp_path):
    refuse_one(tmp_path)
    agent = EdgeAgent(tmp_path / "elsewhere", {"SPOOL_PATH": environ(tmp_path)["SPOOL_PATH"]})
    done = agent.ask("--spool")
    assert done.returncode == 0
    status = json.loads(done.stdout)
    assert (status["pending"], status["set_aside"], status["thinned"]) == (1, 1, 0)
    assert status["oldest_ts"] == sample(1)["ts"]
    assert status["rejected"] == [
        {"ts": sample(0)["ts"], "reason": "pv_power_w: is bad", "sample": sample(0)}
    ]


def test_the_spool_of_an_agent_that_never_ran_is_empty(tmp_path):
    agent = EdgeAgent(tmp_path, {})
    assert agent.spool()["pending"] == 0
    assert not (tmp_path / "spool.db").exists()


def test_spool_retry_brings_the_set_aside_back(tmp_path):
    refuse_one(tmp_path)
    agent = EdgeAgent(tmp_path, {})
    assert agent.ask("--spool-retry").returncode == 0
    assert agent.spool()["pending"] == 2
    assert agent.spool()["set_aside"] == 0


@pytest.mark.parametrize("option", ["--spool", "--spool-retry"])
def test_without_any_setting_the_spool_is_not_found(tmp_path, option):
    agent = EdgeAgent(tmp_path, {"SPOOL_PATH": ""})
    done = agent.ask(option)
    assert (done.returncode, done.stdout) == (78, "")
    assert "SPOOL_PATH or DEVICE_ID" in logged(done)[0]["msg"]


def test_a_spool_that_can_not_be_made_is_said(agent, tmp_path):
    (tmp_path / "file").write_text("")
    agent.env["SPOOL_PATH"] = str(tmp_path / "file" / "spool.db")
    done = agent.ask()
    assert done.returncode == 73
    assert "spool" in logged(done)[-1]["msg"]


@pytest.mark.slow
def test_unknown_options_are_refused_and_the_version_is_told(agent):
    assert agent.ask("--unknown").returncode == 2
    assert agent.ask("--check", "--once").returncode == 2
    assert agent.ask("--version").stdout == f"sunspool {__version__}\n"
    assert "--spool-retry" in agent.ask("--help").stdout


def test_pairing_is_part_of_the_command(agent):
    agent.env = {"HW_P1_HOST": "127.0.0.1"}
    done = agent.ask("--pair")
    assert done.returncode not in (0, 1, 2)
    assert "HW_P1_TOKEN_FILE" in done.stdout + done.stderr
