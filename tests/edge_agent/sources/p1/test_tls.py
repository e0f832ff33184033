"""Whom the agent trusts: every look-alike certificate, on each Python that is here.

A fake device behind each certificate writes down every byte that it gets after the handshake: from
an agent that does not accept it, that must be none at all.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.sources.p1.tls import Identity, WrongIdentity, vendor_context
from tests.simulators.appliances import SERIAL, ApplianceCa, san
from tests.support.servers import ROOT

pytestmark = pytest.mark.slow

OTHER = "5c2fafddeeff"
TOKEN = "00112233445566778899AABBCCDDEEFF"
CN = f"appliance/p1dongle/{SERIAL}"

# Run by each Python: asks every device of the list on stdin as the agent does.
ASK = """
import json, sys
from pathlib import Path
from edge_agent.http import Connection, NoAnswer
from edge_agent.sources.p1.tls import Identity, WrongIdentity
for host, port, ca, serial in json.load(sys.stdin):
    identity = Identity(Path(ca), serial)
    connection = Connection(host, port, identity.secure)
    headers = {"Authorization": "Bearer %s"}
    try:
        answer = connection.request("GET", "/api/measurement", headers, within_s=5)
        print(json.dumps([answer.status, identity.proven]))
    except (NoAnswer, WrongIdentity) as error:
        print(json.dumps([type(error).__name__, str(error)]))
    connection.close()
""".replace("%s", TOKEN)


@dataclass
class FakeDevice:
    """Takes one connection at a time and keeps what was said after the handshake."""

    certificate: tuple[Path, Path]
    family: socket.AddressFamily = socket.AF_INET
    heard: bytes = b""
    names: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*self.certificate)
        self.context.sni_callback = lambda _sock, name, _context: self.names.append(name)
        self.listener = socket.create_server(
            ("::1" if self.family == socket.AF_INET6 else "127.0.0.1", 0), family=self.family
        )
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            sock, _ = self.listener.accept()
            sock.settimeout(10)
            try:
                with self.context.wrap_socket(sock, server_side=True) as secured:
                    if not self._talk(secured):
                        return
            except OSError:
                continue  # the client refused the certificate
            finally:
                sock.close()

    def _talk(self, secured: ssl.SSLSocket) -> bool:
        while received := secured.recv(65536):
            if received == b"stop":
                return False
            self.heard += received
            secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        return True

    def stop(self) -> None:
        """End the thread by a word that no agent says."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(self.listener.getsockname()[:2], timeout=10) as sock,
            context.wrap_socket(sock) as secured,
        ):
            secured.sendall(b"stop")
        self.thread.join(10)
        self.listener.close()


def _certificates(folder: Path) -> tuple[Path, dict[str, tuple]]:
    """The CA that is trusted, and for each case: certificate, serial asked for, accepted or why."""
    ca, other_ca = ApplianceCa(folder / "ca"), ApplianceCa(folder / "other")
    by_cn, by_san = ca.issue(CN), ca.issue(CN, (san(),))
    san_only = ca.issue("P1 meter", (san(),))
    device = ca.issue(f"appliance/p1dongle/{OTHER}")
    refused = {
        "another serial by CN": (device, "the meter 5c2fafddeeff"),
        "another serial by SAN": (ca.issue("P1", (san(OTHER),)), "the meter 5c2fafddeeff"),
        "our CN, another SAN": (ca.issue(CN, (san(OTHER),)), "not a P1 meter"),
        "two meters": (ca.issue(CN, (san(), san(OTHER))), "not a P1 meter"),
        "another CA": (other_ca.issue(CN, (san(),)), "not acceptable"),
        "self-signed": (ca.self_signed(CN), "not acceptable"),
        "expired": (ca.issue(CN, (san(),), days=0), "expired"),
        "signed by another device": (ca.issue(CN, (san(),), issuer=device), "not acceptable"),
        "longer serial": (ca.issue(CN + "dd"), "no device"),
        "serial as a part": (ca.issue("a" + CN), "no device"),
        "path after the serial": (ca.issue(CN + "/x"), "no device"),
        "domain after the name": (ca.issue("P1", (san() + ".example.org",)), "no device"),
        "label before the name": (ca.issue("P1", ("x." + san(),)), "no device"),
        "battery by SAN": (ca.issue("B", (san(SERIAL, "battery"),)), "battery"),
        "battery by CN": (ca.issue(f"appliance/battery/{SERIAL}"), "battery"),
        "wildcard": (ca.issue("P1", (san("*"),)), "no device"),
        "host name": (ca.issue("localhost", ("localhost",)), "no device"),
    }
    accepted = {
        "CN": (by_cn, SERIAL),
        "CN and SAN": (by_san, SERIAL),
        "SAN": (san_only, SERIAL),
        "CN, serial in capitals": (by_cn, SERIAL.upper()),
        "CN, any serial": (by_cn, None),
        "SAN, any serial": (san_only, None),
    }
    cases = {name: (pair, serial, None) for name, (pair, serial) in accepted.items()}
    cases |= {name: (pair, SERIAL, why) for name, (pair, why) in refused.items()}
    for name in ("another CA", "self-signed", "expired", "battery by SAN", "host name"):
        cases[f"{name}, any serial"] = (refused[name][0], None, refused[name][1])
    return ca.file, cases


def _python(version: str) -> tuple[list[str], dict[str, str]]:
    """How to run that Python; pyenv's stand-ins need to be told which one."""
    environ = {**os.environ, "PYENV_VERSION": version, "PYTHONPATH": str(ROOT)}
    command = [shutil.which(f"python{version}") or "", "-W", "error"]
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        command[0] = sys.executable
    if (
        not command[0]
        or subprocess.run([*command, "-V"], env=environ, capture_output=True).returncode
    ):
        pytest.skip(f"python{version} is not installed here: this matrix needs it")
    return command, environ


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory):
    return _certificates(tmp_path_factory.mktemp("appliances"))


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_only_the_right_meter_hears_anything(matrix, version):
    command, environ = _python(version)
    ca, cases = matrix
    devices = {name: FakeDevice(case[0]) for name, case in cases.items()}
    asked = [["127.0.0.1", devices[name].port, str(ca), case[1]] for name, case in cases.items()]
    try:
        done = subprocess.run(
            [*command, "-c", ASK],
            input=json.dumps(asked),
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        for device in devices.values():
            device.stop()
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for (name, (_, _, why)), answer in zip(cases.items(), answers, strict=True):
        if why is None:
            assert answer == [200, SERIAL], name
            assert f"Bearer {TOKEN}".encode() in devices[name].heard
        else:
            assert answer[0] == "WrongIdentity", name
            assert why in answer[1], name
            assert devices[name].heard == b"", name


@pytest.mark.parametrize(
    ("host", "serial", "server_name"),
    [
        ("127.0.0.1", SERIAL, san()),
        ("localhost", SERIAL, san()),
        ("127.0.0.1", None, None),
        ("localhost", None, "localhost"),
        ("::1", None, None),
        ("::1", SERIAL, san()),
    ],
)
def test_addresses_of_every_kind_and_the_name_asked_for(matrix, host, serial, server_name):
    ca, cases = matrix
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    device = FakeDevice(cases["CN"][0], family)
    asked = json.dumps([[host, device.port, str(ca), serial]])
    try:
        done = subprocess.run(
            [sys.executable, "-c", ASK], input=asked, capture_output=True, text=True, timeout=60,
            cwd=ROOT,
        )  # fmt: skip
    finally:
        names = list(device.names)
        device.stop()
    assert json.loads(done.stdout) == [200, SERIAL]
    assert names == [server_name]


def test_the_vendors_ca_is_shipped_and_loads_alone():
    context = vendor_context(Identity(None, None)._ca_file)
    (ca,) = context.get_ca_certs()
    assert dict(part[0] for part in ca["subject"])["organizationName"] == "HomeWizard"
    assert ca["version"] == 1
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


def test_a_ca_file_that_is_none_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("not PEM")
    with pytest.raises(WrongIdentity, match=r"ca\.pem cannot be used"):
        vendor_context(tmp_path / "ca.pem")
