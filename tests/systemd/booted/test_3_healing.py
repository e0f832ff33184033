"""Whatever is killed, hangs, stops or is replaced: samples go on, and no request is lost."""

import json
import time

import pytest

from edge_agent.clock import is_set_by_kernel
from tests.systemd.booted.installation import (
    AGENT,
    CA,
    CHECKOUT,
    HOST,
    METER,
    NOTHING,
    PYTHON,
    SCRIPTS,
    SECRETS,
    SOCKET,
)

pytestmark = pytest.mark.install

API = "sunspool-api"
TOKENS = f"{SECRETS}/device_tokens"
SERVERS = [AGENT, METER, API, "redis-server", "postgresql@*", "caddy"]


@pytest.mark.parametrize("unit", SERVERS)
def test_what_is_killed_comes_back(site, unit):
    pid = site.main_pid(unit)
    assert pid > 0
    site.ask(f"kill -9 {pid}")
    site.wait_for_another(unit, pid)
    site.wait_for_news("roof")
    assert site.failed_units() == ""


def test_the_agents_unit_lets_it_ask_the_kernel_whether_the_clock_is_set(site):
    if is_set_by_kernel():
        pytest.skip("this machine's clock is set: the agent has nothing to say")
    journal = site.ask(f"journalctl -u {AGENT} --no-pager -o cat")
    assert "nothing has set the clock yet" in journal


def test_a_worker_that_is_killed_comes_back(site):
    master = site.main_pid(API)
    workers = f"pgrep --parent {master}"
    worker = site.ask(f"{workers} | head -n 1")
    site.ask(f"kill -9 {worker}")
    site.wait_for(f"[ $({workers} | grep -vcx {worker}) -eq 2 ]", 20)
    site.wait_for_news("roof")
    assert site.main_pid(API) == master


def test_a_hung_agent_is_restarted_by_the_watchdog(site):
    pid = site.main_pid(AGENT)
    site.ask(f"kill -STOP {pid}")
    began = time.monotonic()
    site.wait_for_another(AGENT, pid, 120)
    site.figures.append(f"a hung agent was replaced after {time.monotonic() - began:.0f} s")
    assert "watchdog" in site.ask(f"journalctl -u {AGENT} -n 80 --no-pager").lower()
    site.wait_for_news("roof")


def test_the_probe_restarts_an_api_that_does_not_answer(site):
    pid = site.main_pid(API)
    site.ask(f"kill -STOP {pid} $(pgrep --parent {pid})")
    site.ask("for _ in 1 2 3; do systemctl start sunspool-api-probe.service; done")
    site.wait_for_another(API, pid, 60)
    site.wait_for_news("roof")
    assert site.failed_units() == ""


def test_the_probe_leaves_an_api_alone_that_waits_for_its_database(site):
    pid = site.main_pid(API)
    site.ask("systemctl stop postgresql")
    try:
        ask = f"curl -s -o /dev/null -w '%{{http_code}}' --unix-socket {SOCKET}"
        site.wait_for(f"[ $({ask} http://localhost/health) = 503 ]")
        site.ask("for _ in 1 2 3 4; do systemctl start sunspool-api-probe.service; done")
        assert site.main_pid(API) == pid
    finally:
        site.ask("systemctl start postgresql")
    site.wait_for_news("roof")
    assert site.main_pid(API) == pid


def test_slow_requests_are_answered_through_a_reload_and_a_stop(site):
    slow = f"{PYTHON} {SCRIPTS}/slow_ingest.py {SOCKET} /root/roof.token"
    reloaded = json.loads(site.ask(f"{slow} 'systemctl reload {API}'"))
    stopped = json.loads(site.ask(f"{slow} 'systemctl stop {API}'"))
    ending = site.ask(f"systemctl show --property=Result,ExecMainStatus {API}")
    site.ask(f"systemctl start {API}")
    assert reloaded == ["200"] * 6
    assert stopped == ["200"] * 6
    assert set(ending.splitlines()) == {"Result=success", "ExecMainStatus=0"}


def test_requests_while_the_api_is_away_spoil_no_later_ones(site):
    _lift_limit(site)
    load = site.machine.start(_load("roof", 6))
    time.sleep(1)
    site.ask(f"systemctl stop {API}; sleep 2; systemctl start {API}")
    assert set(json.loads(load.communicate(timeout=60)[0])) == {"200", "502"}
    assert set(json.loads(site.ask(_load("roof", 5)))) == {"200"}


def test_a_token_is_rotated_under_load_without_a_failed_request(site):
    _lift_limit(site)
    site.ask("cp /root/roof.token /root/load.token; cp /root/roof.token /root/old.token")
    load = site.machine.start(_load("load", 30))
    time.sleep(2)
    site.add_device("roof")
    site.ask(f"install -m 600 /root/roof.token {SECRETS}/edge-roof/vps_device_token")
    site.ask(f"systemctl restart {AGENT}")
    site.ask("cp /root/roof.token /root/load.new; mv /root/load.new /root/load.token")
    time.sleep(2)
    site.ask(f"{CHECKOUT}/systemd/install-api --retire-tokens roof")
    site.wait_for_news("roof", 15)
    counts = json.loads(load.communicate(timeout=60)[0])
    site.figures.append(f"answers while a token was rotated: {counts}")
    assert set(counts) == {"200"}
    assert counts["200"] > 500
    assert site.curl("/v1/ingest", NOTHING, token="old")[0] == 401


def test_tokens_that_are_wrong_do_not_end_the_api(site):
    site.ask(f"cp -p {TOKENS} /root/tokens; echo no-colon >{TOKENS}")
    assert site.run(f"systemctl reload {API}").returncode != 0
    assert site.curl("/v1/ingest", NOTHING)[0] == 200
    site.ask(f"cp -p /root/tokens {TOKENS}; systemctl reload {API}")
    assert site.curl("/v1/ingest", NOTHING)[0] == 200


def test_memory_at_rest_and_under_load(site):
    rest = _sizes(site)
    load = site.machine.start(_load("roof", 10))
    time.sleep(9)
    busy = _sizes(site)
    load.communicate(timeout=60)
    for when, sizes in (("at rest", rest), ("under load", busy)):
        site.figures.append(f"MiB of each process {when}: {sizes}")
        assert max(sizes[AGENT] + sizes[METER]) <= 45
        assert max(sizes[API]) <= 60


def _load(token: str, seconds: int) -> str:
    return f"{PYTHON} {SCRIPTS}/load.py https://{HOST} {CA} /root/{token}.token roof {seconds}"


def _lift_limit(site) -> None:
    """Let a token ask more often than any device would."""
    site.ask(f"echo MAX_REQUESTS_PER_MINUTE=0 >>/etc/sunspool/api.env; systemctl restart {API}")


def _sizes(site) -> dict[str, list[float]]:
    """Resident memory of each process in MiB."""
    sizes = {}
    for unit in (AGENT, METER, API):
        group = site.ask(f"systemctl show --property=ControlGroup --value {unit}")
        pids = ",".join(site.ask(f"cat '/sys/fs/cgroup{group}/cgroup.procs'").split())
        kib = site.ask(f"ps -o rss= -p {pids}").split()
        sizes[unit] = sorted(round(int(size) / 1024, 1) for size in kib)
    return sizes
