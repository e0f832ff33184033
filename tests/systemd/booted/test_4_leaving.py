"""Reboot, upgrade, backup, removal."""

import pytest

from tests.systemd.booted.installation import AGENT, CA, CHECKOUT, HOST, METER

pytestmark = pytest.mark.install

BROKEN_CODE = "1 i raise RuntimeError"
BROKEN_NEEDS = "1 i no-such-package-as-this>=1"


def test_everything_goes_on_after_a_reboot(site):
    site.machine.reboot()
    site.start_devices()
    site.wait_for_news("roof", 90)
    site.wait_for_news("meter")
    assert site.failed_units() == ""


def test_an_upgrade_is_taken_over_by_all(site):
    site.edit('s/^__version__ = .*/__version__ = "9.9.9"/', "edge_agent/__init__.py")
    before = site.main_pid(AGENT)
    site.install_api()
    site.install_edge("--instance roof")
    assert site.curl("/")[1]["version"] == "9.9.9"
    assert site.main_pid(AGENT) != before
    assert "/9.9.9-" in site.release(AGENT)
    assert "/9.9.9-" in site.release(METER)
    site.wait_for_news("roof")


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        ("api_server/__init__.py", BROKEN_CODE),
        ("api_server/migrate.py", BROKEN_CODE),
        ("requirements-api.txt", BROKEN_NEEDS),
        ("systemd/sunspool.caddyfile", "$ a }"),
        ("edge_agent/agent.py", BROKEN_CODE),
        ("edge_agent/__main__.py", BROKEN_CODE),
        ("requirements-edge.txt", BROKEN_NEEDS),
    ],
)
def test_a_broken_upgrade_goes_back(site, file, fault):
    edge = "edge" in file
    unit = AGENT if edge else "sunspool-api"
    before = site.release(unit)
    site.edit(fault, file)
    try:
        result = site.try_install_edge("--instance roof") if edge else site.try_install_api()
    finally:
        site.undo_edit(file)
    assert result.returncode == 1
    assert result.stderr != ""
    assert site.release(unit) == before
    assert site.ask(f"readlink /opt/sunspool/{'edge' if edge else 'api'}/current") == before
    site.wait_for_news("roof")
    assert site.failed_units() == ""


def test_an_upgrade_that_breaks_after_its_migration_goes_back_too(site):
    before = site.release("sunspool-api")
    table = "CREATE TABLE sungrow_later (id int);"
    site.ask(f"echo '{table}' >{CHECKOUT}/sql/9999_later.sql")
    site.edit(BROKEN_CODE, "api_server/routes/ingest.py")  # which the migration does without
    result = site.try_install_api()
    site.undo_edit("api_server/routes/ingest.py")
    assert result.returncode == 1
    assert "applied 9999_later.sql" in result.stdout
    assert site.release("sunspool-api") == before
    site.wait_for_news("roof")
    site.install_api()
    assert site.release("sunspool-api") != before


def test_uninstalling_keeps_data_and_settings(site):
    site.install_edge("--instance roof --uninstall")
    site.install_api("--uninstall")
    site.ask(
        "ls /etc/sunspool/api.env /etc/sunspool/edge-roof.env /var/lib/sunspool/roof/spool.db"
        " /etc/sunspool/credentials/edge-roof/vps_device_token"
    )
    assert site.main_pid(METER) > 0
    assert site.main_pid("sunspool-api") == 0
    assert site.failed_units() == ""
    site.install_api()
    site.install_edge("--instance roof")
    site.wait_for_news("roof")


def test_the_database_is_restored_on_an_empty_machine(site):
    site.ask("systemctl stop 'sunspool-edge@*'")
    before = _contents(site)
    site.ask("runuser -u postgres -- pg_dump -Fc sunspool >/root/backup")
    site.ask("cp -a /etc/sunspool /root/settings")
    site.install_api("--purge")
    site.ask("rm -rf /etc/sunspool; cp -a /root/settings /etc/sunspool")
    site.install_api(f"--domain {HOST} --tls internal")
    assert _contents(site).startswith("0|")
    site.install_api("--restore /root/backup")
    assert _contents(site) == before
    assert int(before.split("|")[0]) > 10
    site.ask(f"cp {CA} /etc/sunspool/; systemctl start {AGENT} {METER}")
    site.wait_for_news("roof")


def test_purging_an_agent_leaves_the_api_and_other_agents_alone(site):
    pids = site.main_pid("sunspool-api"), site.main_pid(METER)
    site.install_edge("--instance roof --purge")
    assert site.run("ls -d /etc/sunspool/*roof* /var/lib/sunspool/roof").stdout == ""
    assert (site.main_pid("sunspool-api"), site.main_pid(METER)) == pids
    site.wait_for_news("meter")


def test_purging_leaves_nothing(site, capsys):
    site.ask(f"rm -f /etc/sunspool/root.crt; sed -i '/{HOST}/d' /etc/hosts")
    site.ask("systemctl stop test-inverter test-meter")
    site.install_edge("--instance meter --purge")
    site.install_api("--purge")
    left = site.run(
        "find / -xdev -iname '*sunspool*' ! -path '/root/*' ! -path '/proc/*' ! -path '/var/log/*';"
        "find /run /tmp /dev/shm -iname '*sunspool*'; grep -rIl sunspool /etc /usr/local /var/lib"
    )
    assert left.stdout == ""
    assert "sunspool" not in site.ask("getent passwd; getent group; systemctl list-units --all")
    names = "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles"
    assert "sunspool" not in site.ask(f"runuser -u postgres -- psql -XAtc '{names}'")
    assert site.failed_units() == ""
    with capsys.disabled():
        print(f"\n{site.machine.suite}:", *site.figures, sep="\n  ")


def _contents(site) -> str:
    """How many samples there are, and the sum of what they say."""
    query = "SELECT count(*), max(ts), sum(pv_power_w) FROM sungrow_samples"
    return site.ask(f"runuser -u postgres -- psql -XAtc '{query}' sunspool")
