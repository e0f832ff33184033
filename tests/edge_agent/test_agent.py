"""The running agent: it works, it stops in every state, and it does not hang unnoticed."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent import __version__, config
from edge_agent.agent import Agent
from edge_agent.health import Systemd
from edge_agent.shared.loops import LoopFailed
from edge_agent.spool.queue import Spool
from tests.simulators.homewizard import MeterSimulator
from tests.simulators.ingest_server import ACCEPT, IngestServer, Reply
from tests.support.agent import TOKEN, CountingMeter, left_spool, p1_environ, reading
from tests.support.servers import EdgeAgent, free_port, wait_until

pytestmark = pytest.mark.slow

MONTH_PEAK = b"0-0:98.1.0(1)(1-0:1.6.0)(1-0:1.6.0)(261101000000W)(261014124500S)(04.928*kW)\r\n"


@pytest.fixture
def meter() -> Iterator[MeterSimulator]:
    with MeterSimulator(CountingMeter()) as meter:
        yield meter


@pytest.fixture
def agent(tmp_path, meter, server, ca) -> Iterator[EdgeAgent]:
    agent = EdgeAgent(tmp_path / "agent", p1_environ(meter.port, server.port, ca.file))
    yield agent
    agent.kill()


def events(agent):
    """Its log lines by event, each line checked."""
    lines = [json.loads(line) for line in agent.log().splitlines()]
    assert all(line.keys() >= {"ts", "level", "logger", "event", "msg"} for line in lines)
    return [line["event"] for line in lines]


def check_ledger(agent, meter, server, unaccepted=0):
    """Every reading the meter served is in the database or the spool, exactly once."""
    agent.env["BATCH_SIZE"] = "1000"
    spool = left_spool(agent.folder / "spool.db")
    left = [reading(entry.sample) for entry in spool.peek(1000)]
    spool.close()
    stored = [reading(sample) for sample in server.stored.values()]
    assert len(stored) == len(set(stored))
    found = set(stored) | set(left)
    assert len(set(range(1, meter.measure.served + 1)) - found) <= unaccepted
    return left


def test_readings_go_all_the_way_and_a_stop_leaves_nothing_behind(agent, meter, server):
    agent.env["LOG_LEVEL"] = "DEBUG"
    meter.telegram = (200, MONTH_PEAK)
    agent.start()
    wait_until(lambda: len(server.stored) >= 2, 15, "samples in the database")
    wait_until(lambda: any("peaks" in r.agent for r in server.requests), 15, "the month peaks")
    wait_until(lambda: agent.health().get("last_upload_ts"), 5, "health to know it")
    started = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - started < 5
    assert check_ledger(agent, meter, server) == []
    told = events(agent)
    assert (told[0], told[-1]) == ("start", "stop")
    assert {"poll_ok", "upload_ok"} <= set(told)
    assert TOKEN not in agent.log()
    assert agent.health()["source_ok"] is True
    reports = [request.agent for request in server.requests]
    (peaks,) = [report.pop("peaks") for report in reports if "peaks" in report]
    assert peaks == [{"month": "2026-10", "w": 4928, "ts": "2026-10-14T10:45:00Z"}]
    assert 0 < reports[-1].pop("uptime_s") < 60
    assert reports[-1].pop("spool_count") >= 0
    assert {report.pop("oldest_ts") for report in reports} - {None}
    assert "clock_warning" in reports[0]
    assert reports[-1] == {
        "version": __version__,
        "poll_interval_s": 1,
        "set_aside_count": 0,
        "thinned": 0,
        "dropped": 0,
        "lost": 0,
        "clock_warning": None,
        "last_error": None,
    }


def catches_signals(pid):
    """Whether a process already handles SIGTERM: before that nobody can."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_first_moments_ends_with_0_and_writes_nothing_odd(
    tmp_path, meter, server, ca, number
):
    env = p1_environ(meter.port, server.port, ca.file)
    agents = [EdgeAgent(tmp_path / str(delay), env) for delay in range(12)]
    for delay, agent in enumerate(agents):
        agent.launch()
        wait_until(lambda a=agent: catches_signals(a.pid), 10, "the handler")
        time.sleep(0.03 * delay)
        os.kill(agent.pid, number)
    for agent in agents:
        assert agent.process.wait(12) == 0
        # The kernel of the machine may not have been told the time.
        assert set(events(agent)) <= {"start", "stop", "upload_ok", "clock_distrusted"}
    assert sum("stop" in events(agent) for agent in agents) < len(agents)


def test_interrupts_stop_it_as_well(agent, server):
    agent.start()
    wait_until(lambda: server.stored, 15, "samples in the database")
    os.kill(agent.pid, signal.SIGINT)
    assert agent.process.wait(12) == 0


def test_in_every_state_it_is_out_within_12_seconds_with_its_spool_intact(tmp_path, tls, ca):
    """Polling a device that hangs; uploading into a black hole; waiting after failures."""
    states = {
        "hung device": ("hang", None),
        "black hole": (None, Reply(silent=True)),
        "backing off": (None, Reply(503)),
        "told to wait": (None, Reply(503, b"", {"Retry-After": "600"})),
        "login refused": (None, Reply(401)),
        "all at once": ("hang", Reply(silent=True)),
    }
    with ExitStack() as stack:
        running = []
        for name, (fault, reply) in states.items():
            meter = stack.enter_context(MeterSimulator(CountingMeter()))
            server = stack.enter_context(IngestServer(tls))
            if reply:
                server.rule = lambda request, reply=reply: reply
            env = p1_environ(
                meter.port, server.port, ca.file, HW_P1_TIMEOUT_S=30, MAX_BACKOFF_S=300
            )
            agent = EdgeAgent(tmp_path / name, env)
            stack.callback(agent.kill)
            agent.launch()
            running.append((agent, meter, server, fault, reply))
        for _, meter, server, fault, _ in running:
            wait_until(
                lambda m=meter: m.measure.served >= 3, 20, "polls, and the telegram with the second"
            )
            wait_until(lambda s=server: s.requests, 20, "uploads")
            meter.fault = fault
        time.sleep(1.5)
        started = time.monotonic()
        for agent, *_ in running:
            agent.process.send_signal(signal.SIGTERM)
        for agent, meter, server, fault, reply in running:
            assert agent.process.wait(12 - (time.monotonic() - started)) == 0
            left = check_ledger(agent, meter, server, unaccepted=int(fault is not None))
            assert bool(left) is bool(reply)
            assert events(agent)[-1] == "stop"


def test_it_ends_non_zero_when_a_thread_hangs(tmp_path, meter, server, ca):
    env = p1_environ(meter.port, server.port, ca.file, HW_P1_TIMEOUT_S=30)
    settings = config.load(env | {"SPOOL_PATH": str(tmp_path / "spool.db")})
    meter.fault = "hang"
    spool = Spool(settings.spool_path)
    agent = Agent(settings, spool, Systemd({}), pass_s=1)
    try:
        with pytest.raises(LoopFailed, match="poll hangs"):
            agent.run(lambda seconds: agent.stop.wait(0.1))
    finally:
        meter.hang_up()
        spool.close()


def test_systemd_is_told_that_it_is_ready_alive_and_stopping(agent, tmp_path, server):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        agent.env |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        agent.launch()
        heard = []
        while heard.count("WATCHDOG=1") < 3 or not server.stored:
            heard.append(manager.recv(4096).decode())
        assert agent.stop() == 0
        manager.setblocking(False)
        while not heard[-1].startswith("STOPPING"):
            heard.append(manager.recv(4096).decode())
    assert heard.count("READY=1") == 1
    statuses = [line for line in heard if line.startswith("STATUS=")]
    assert "samples in the spool; last poll 2" in statuses[-1]


def test_the_server_may_be_away_and_the_upload_goes_on_when_it_is_back(tmp_path, meter, tls, ca):
    port = free_port()
    agent = EdgeAgent(tmp_path / "agent", p1_environ(meter.port, port, ca.file))
    with agent:
        wait_until(lambda: agent.health().get("spool_count", 0) >= 2, 15, "a backlog")
        wait_until(lambda: "refused" in (agent.health()["last_error"] or ""), 5, "the cause")
        with IngestServer(tls, port) as server:
            wait_until(lambda: len(server.stored) >= 3, 15, "the backlog to arrive")
            wait_until(lambda: agent.health()["last_error"] is None, 5, "no error")
            agent.stop()
            assert check_ledger(agent, meter, server) == []


def test_a_running_agent_takes_set_aside_samples_back_when_asked(agent, meter, server):
    detail = [{"loc": ["samples", 0, "power_w"], "msg": "no", "type": "value"}]
    refuses = True

    def rule(request):
        first = request.samples[0]["energy_import_kwh"] if request.samples else None
        return Reply(422, {"detail": detail}) if refuses and first == 0.001 else ACCEPT

    server.rule = rule
    agent.start()
    # The sample is alone at first, and waits for a newer one that the server takes.
    wait_until(lambda: agent.health().get("set_aside_count"), 15, "a refused sample")
    wait_until(lambda: server.stored, 15, "a newer sample in the database")
    refuses = False
    assert agent.ask("--spool-retry").returncode == 0
    wait_until(lambda: agent.health()["set_aside_count"] == 0, 5, "the agent to notice")
    agent.stop()
    assert check_ledger(agent, meter, server) == []


def test_it_stays_small(agent, server):
    agent.start()
    wait_until(lambda: len(server.requests) >= 3, 15, "uploads")
    lines = Path(f"/proc/{agent.pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    assert int(status["VmRSS"].split()[0]) < 45_000
    assert int(status["Threads"]) == 3
