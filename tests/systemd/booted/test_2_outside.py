"""What the world and the other users of the machine see of an installation."""

import json
import re
import time

import pytest

from tests.systemd.booted.installation import (
    AGENT,
    CA,
    HOST,
    METER,
    NOTHING,
    PYTHON,
    SCRIPTS,
    SECRETS,
    SOCKET,
)

pytestmark = pytest.mark.install


def test_only_the_proxy_listens(site):
    beyond = r"grep -Ev '127\.[0-9.]+:|\[::1\]:'"
    listening = site.ask(f"ss -Hltun | awk '{{ print $5 }}' | {beyond}")
    assert {address.rpartition(":")[2] for address in listening.split()} == {"80", "443"}


@pytest.mark.parametrize(
    "path", ["/health", "/Health", "/v1/../health", "/v1/%2e%2e/health", "//health"]
)
def test_health_stays_inside(site, path):
    assert site.curl(path, "--path-as-is")[0] == 404
    health = site.ask(f"curl -s --unix-socket {SOCKET} http://localhost/health")
    assert json.loads(health)["status"] == "ok"


def test_plain_http_is_refused_not_redirected(site):
    ask = f"curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}' http://{HOST}"
    assert site.ask(f"{ask}/v1/realtime") == "403"
    assert site.ask(f"{ask}/") == f"308 https://{HOST}/"


def test_answers_ask_for_https_ever_after(site):
    headers = site.ask(f"curl -sI --cacert {CA} https://{HOST}/").lower()
    assert "strict-transport-security: max-age=31536000" in headers


@pytest.mark.parametrize("size", [1_100_000, 1_500_000, 1_990_000, 2_500_000, 30_000_000])
def test_a_body_that_is_too_large_is_answered_413(site, size):
    site.ask(f"head -c {size} /dev/zero >/root/body")
    for _ in range(3):
        # As agents send it; over HTTP/2 an old curl gives up on the rest of such an answer.
        status, body = site.curl("/v1/ingest", "--http1.1 --data-binary @/root/body")
        assert status == 413
        assert isinstance(body["detail"], str)


def test_half_sent_requests_keep_no_device_out(site):
    attack = site.machine.start(f"{PYTHON} {SCRIPTS}/half_sent.py {HOST} {CA} 200 20")
    try:
        assert "200 half-sent" in attack.stdout.readline()
        began = time.monotonic()
        for _ in range(20):
            assert site.curl("/v1/ingest", NOTHING)[0] == 200
        site.figures.append(f"20 ingests beside 200 half-sent: {time.monotonic() - began:.1f} s")
        site.wait_for_news("roof", 20)
    finally:
        attack.communicate(timeout=60)


@pytest.mark.parametrize(
    "place",
    [
        "cat /proc/[0-9]*/cmdline",
        "journalctl --output=json --all --no-pager",
        "systemctl show '*'",
        "grep -rh . /opt/sunspool /etc/systemd /etc/caddy /etc/cron.d /var/lib/sunspool",
        "find /etc/sunspool -type f ! -path '*/credentials/*' -exec cat {} +",
        f"cat {SECRETS}/device_tokens",
    ],
)
def test_no_token_is_to_be_seen(site, place):
    for device in ("roof", "meter"):
        found = site.run(f"{place} 2>/dev/null | grep -ac -f /root/{device}.token")
        assert found.stdout.strip() == "0"


def test_nobody_but_root_reads_credentials(site):
    modes = site.ask(f"find {SECRETS} -printf '%m %u:%g\\n' | sort -u")
    assert modes.splitlines() == ["600 root:root", "700 root:root"]
    assert "640 root:sunspool_owner" in site.ask("stat -c '%a %U:%G' /etc/sunspool/api.env")
    assert site.ask("stat -c '%a %U' /etc/sunspool/edge-roof.env") == "600 root"


@pytest.mark.parametrize(
    "unit", ["sunspool-api.service", "sunspool-alerts.service", f"{AGENT}.service"]
)
def test_systemd_approves_of_the_units(site, unit):
    verified = site.run(f"systemd-analyze verify {unit}")
    # The units of the machine itself are none of our business.
    said = verified.stdout + verified.stderr
    assert [line for line in said.splitlines() if "sunspool" in line] == []
    shown = site.ask(f"systemd-analyze security {unit}")
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", shown)[1]
    site.figures.append(f"systemd-analyze security {unit}: {exposure}")
    assert float(exposure) <= 1.7


def test_the_agent_listens_on_nothing(site):
    pid = site.main_pid(AGENT)
    assert f"pid={pid}," not in site.ask("ss -Hltunxp")


@pytest.mark.parametrize("task", ["migrate", "rollups"])
def test_cron_has_nothing_to_mail(site, task):
    line = site.ask(f"grep -E '^[0-9*].*-{task} ' /etc/cron.d/sunspool")
    *_, user, command = line.split(maxsplit=6)
    assert user == "sunspool_owner"
    before = site.ask(f"journalctl --quiet --no-pager -t sunspool-{task} | wc -l")
    result = site.run(f"runuser -u {user} -- sh -c '{command}'")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert site.ask(f"journalctl --quiet --no-pager -t sunspool-{task} | wc -l") == before


def test_the_owner_of_the_tables_sees_what_is_applied(site):
    migrate = "/opt/sunspool/api/current/systemd/migrate --status"
    assert "0011_samples.sql  applied" in site.ask(f"runuser -u sunspool_owner -- {migrate}")


def test_prometheus_reads_the_metrics_on_this_machine_only(site):
    metrics = site.ask("curl -s --fail http://127.0.0.1:9464/metrics")
    assert "sunspool_database_up 1.0" in metrics
    assert 'sunspool_samples_total{device="roof",result="inserted"}' in metrics
    assert site.run("curl -s --fail http://127.0.0.1:9464/v1/devices").returncode != 0
    assert site.curl("/metrics")[0] == 404


def test_alerts_are_kept_without_channels_and_sent_with_one(site):
    unit = "sunspool-alerts"
    assert site.main_pid(unit) > 0
    assert site.ask(f"systemctl show --property=NRestarts --value {unit}") == "0"
    site.ask("cp -p /etc/sunspool/api.env /root/api.env")
    site.ask("printf 'ALERT_SILENCE_S=5\nALERT_INTERVAL_S=1\n' >>/etc/sunspool/api.env")
    site.ask(f"(umask 077; echo json://127.0.0.1:18080/secret >{SECRETS}/alert_urls)")
    site.ask(
        f"systemd-run --quiet --collect --unit=test-channel {PYTHON} {SCRIPTS}/channel.py"
        " 18080 /root/messages"
    )
    try:
        site.ask(f"systemctl restart {unit}; systemctl stop {METER}")
        site.wait_for("grep -c meter /root/messages", 90)
        shown = site.ask(f"journalctl -u {unit} --no-pager -o cat")
        assert "secret" not in shown
    finally:
        site.ask(f"systemctl start {METER}; systemctl stop test-channel; rm {SECRETS}/alert_urls")
        site.ask(f"cp -p /root/api.env /etc/sunspool/; systemctl restart {unit}")
    status, answer = site.curl("/v1/alerts?device_id=meter", token="meter")
    assert (status, [alert["rule"] for alert in answer["alerts"]]) == (200, ["silence"])
    assert answer["alerts"][0]["sent"]
