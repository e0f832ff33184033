"""One machine of each Debian, through all the tests beside this file, in their order."""

import subprocess

import pytest

from tests.systemd.booted import machine as machines
from tests.systemd.booted.installation import Installation


@pytest.fixture(scope="session", params=["trixie", "bookworm"])
def site(request):
    """Debian 13 and 12, each with this checkout in it."""
    if reason := machines.missing():
        pytest.skip(reason)
    machine = machines.Machine(machines.CACHE / f"run-{request.param}", request.param)
    machine.destroy()
    try:
        try:
            machine.create()
            machine.boot()
        except (subprocess.CalledProcessError, AssertionError) as error:
            pytest.skip(f"no Debian can be booted here: {error}")
        installation = Installation(machine)
        installation.copy_checkout()
        yield installation
    finally:
        machine.destroy()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show with a failure what the machine's journal says."""
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and report.when == "call" and site:
        units = "-u 'sunspool-*' -u caddy -u 'postgresql@*' -u redis-server"
        report.sections.append(("journal", site.run(f"journalctl {units} -n 80 --no-pager").stdout))
    return report
