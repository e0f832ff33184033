"""Installing on a fresh Debian: the API, an agent by hand, an agent by options, all once more."""

import re
import time

import pytest

from tests.systemd.booted.installation import AGENT, CA, CHECKOUT, HOST, NOTHING, SECRETS

pytestmark = pytest.mark.install


def test_the_api_runs_and_knows_no_device(site):
    began = time.monotonic()
    printed = site.install_api(f"--domain {HOST} --tls internal")
    site.figures.append(f"install-api on a fresh machine: {time.monotonic() - began:.0f} s")
    assert "--add-device" in printed
    assert "install-edge --instance" in printed
    assert f"log in with it at https://{HOST}/ui/" in printed
    assert "install-api --add-reader roof+meter" in printed
    site.ask(f"echo '127.0.0.1 {HOST}' >>/etc/hosts; echo no-such-token >/root/roof.token")
    assert site.curl("/")[1]["service"] == "sunspool"
    assert site.curl("/v1/ingest", NOTHING)[0] == 401
    assert site.failed_units() == ""


def test_an_agent_without_settings_is_installed_but_not_started(site):
    printed = site.install_edge("--instance roof")
    assert "VPS_INGEST_URL is required" in printed
    assert "systemctl restart sunspool-edge@roof" in printed
    assert site.ask(f"systemctl is-enabled {AGENT}") == "enabled"
    assert "#SUNGROW_HOST=" in site.ask("cat /etc/sunspool/edge-roof.env")
    site.ask(f"systemctl restart {AGENT}")  # is skipped, which is no failure
    assert site.main_pid(AGENT) == 0
    assert site.failed_units() == ""


def test_it_runs_once_settings_and_token_are_there(site):
    site.start_devices()
    api = site.main_pid("sunspool-api")
    assert re.fullmatch("[0-9a-f]{64}", site.add_device("roof"))
    assert site.main_pid("sunspool-api") == api
    site.ask(f"install -m 600 /root/roof.token {SECRETS}/edge-roof/vps_device_token")
    settings = (
        f"SUNGROW_HOST=127.0.0.1\\nSUNGROW_PORT=15020\\nDEVICE_ID=roof\\nUPLOAD_INTERVAL_S=1\\n"
        f"VPS_INGEST_URL=https://{HOST}\\nVPS_CA_FILE=/etc/sunspool/root.crt\\n"
    )
    site.ask(
        f"install -m 644 {CA} /etc/sunspool/; printf '{settings}' >>/etc/sunspool/edge-roof.env"
    )
    site.ask(f"systemctl restart {AGENT}")
    site.wait_for_news("roof")
    status, sample = site.curl("/v1/realtime?device_id=roof")
    assert status == 200
    assert sample["pv_power_w"] >= 0
    assert site.ask(f"systemctl show --property=StatusText --value {AGENT}") != ""


def test_a_second_instance_is_set_up_by_options_and_leaves_the_first_alone(site):
    first = site.main_pid(AGENT)
    token = site.add_device("meter", "--kind p1")
    options = f"--instance meter --url https://{HOST} --ca-file {CA}"
    site.install_edge(options)
    settings = "HW_P1_API=v1\\nHW_P1_PORT=15080\\nUPLOAD_INTERVAL_S=1\\n"
    site.ask(f"printf '{settings}' >>/etc/sunspool/edge-meter.env")
    site.install_edge("--instance meter --p1 127.0.0.1 --token-file -", stdin=None, input=token)
    site.wait_for_news("meter")
    assert site.main_pid(AGENT) == first


def test_a_reader_logs_in_to_the_page_and_sees_the_house(site):
    command = f"cd {CHECKOUT} && umask 077 && systemd/install-api --add-reader roof+meter"
    site.ask(f"{command} >/root/reader.token")
    curl = f"curl -s --cacert {CA} -o /dev/null -w '%{{http_code}} %{{redirect_url}}'"
    page = f"https://{HOST}/ui/"
    assert site.ask(f"{curl} -H 'Accept: text/html' https://{HOST}/") == f"303 {page}"
    form = f"{curl} -c /root/cookies --data-urlencode token@/root/reader.token {page}login"
    assert site.ask(form) == f"303 {page}"
    assert site.ask(f"{curl} -b /root/cookies {page}health") == "200"
    assert site.ask(f"{curl} {page}static/style.css") == "200"
    shown = site.ask(f"curl -s --fail --cacert {CA} -b /root/cookies {page}")
    for field in ("pv_power_w", "grid_power_w", "home_power_w"):
        assert re.search(f'data-field="{field}" data-value="-?[0-9.]+"', shown), field
    assert site.ask(f"{curl} -b /root/cookies https://{HOST}/v1/devices") == "401"


def test_a_meter_is_paired_and_goes_again(site):
    site.start_device("paired", "meter", "--port 15443 --folder /root/paired")
    site.add_device("paired", "--kind p1")
    options = f"--p1 127.0.0.1 --url https://{HOST} --ca-file {CA} --token-file /root/paired.token"
    assert "--pair" in site.install_edge(f"--instance paired {options}")
    site.ask("cp /root/paired/ca.pem /etc/sunspool/edge-paired-meter.pem")
    settings = "HW_P1_PORT=15443\\nHW_P1_CA_FILE=/etc/sunspool/edge-paired-meter.pem\\n"
    site.ask(f"printf '{settings}' >>/etc/sunspool/edge-paired.env")
    pairing = site.machine.start("/opt/sunspool/edge/current/systemd/run-edge paired --pair")
    press = """curl -sk -d '{"press": true}' https://127.0.0.1:15443/simulator"""
    site.wait_for(f"sleep 2; {press}")
    assert "Paired with the meter" in pairing.communicate(timeout=60)[0]
    site.ask("systemctl restart sunspool-edge@paired")
    site.wait_for_news("paired")
    site.install_edge("--instance paired --purge")
    site.ask("systemctl stop test-paired; rm /etc/sunspool/edge-paired-meter.pem")


def test_grafana_may_read_and_nothing_else(site):
    password = f"{SECRETS}/grafana_password"
    assert password in site.install_api("--grafana-role")
    assert site.ask(f"stat -c '%a %U' {password}") == "600 root"

    def look(query):
        login = "psql -XAtqw -h 127.0.0.1 -U sunspool_grafana -d sunspool"
        return site.run(f'PGPASSWORD=$(cat {password}) {login} -c "{query}"')

    assert int(look("SELECT count(*) FROM sungrow_samples").stdout) > 0
    for forbidden in (
        "DELETE FROM sungrow_samples",
        "UPDATE p1_samples SET power_w = 0",
        "TRUNCATE agents",
        "CREATE TABLE mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "SELECT * FROM schema_settings",
    ):
        assert "permission denied" in look(f"SET transaction_read_only = off; {forbidden}").stderr
    granted = "SELECT privilege_type FROM information_schema.table_privileges"
    query = f"{granted} WHERE grantee = 'sunspool_grafana'"
    rights = site.ask(f'runuser -u postgres -- psql -XAtd sunspool -c "{query}"')
    assert set(rights.split()) == {"SELECT"}


def test_a_second_run_changes_nothing(site):
    before = site.manifest()
    printed = [
        site.install_api(f"--domain {HOST} --tls internal"),
        site.install_api(),
        site.install_api("--grafana-role"),
        site.install_edge("--instance roof"),
        site.install_edge(f"--instance meter --p1 127.0.0.1 --url https://{HOST} --ca-file {CA}"),
    ]
    done = r"^    (?:write|restart|build|enable|make|give|let) .*"
    assert re.findall(done, "".join(printed), re.M) == []
    assert site.manifest() == before


def test_a_dry_run_changes_nothing(site):
    before = site.manifest()
    for printed in (
        site.install_api("--dry-run"),
        site.install_api("--purge --dry-run"),
        site.install_edge("--instance roof --purge --dry-run"),
        site.install_edge("--instance new --sungrow 192.0.2.1 --dry-run"),
    ):
        assert "==> " in printed
    assert site.manifest() == before
