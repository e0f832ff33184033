"""Whose certificate it must be: a HomeWizard P1 meter's, and from then on this one's.

A meter is addressed by IP, so its certificate names its serial instead: in the CN
`appliance/p1dongle/<serial>` or in the SAN `<serial>.p1dongle.device.homewizard.energy`; both
kinds are in the field. The chain must end in the vendor's CA, which signs every device it makes:
only the serial tells one meter from a stranger's. Without a configured serial the first meter
that answered well is remembered in a file beside the spool and is the only one from then on.
"""

import logging
import os
import re
import socket
import ssl
from pathlib import Path
from typing import Any

from edge_agent.http import NoAnswer, client_context
from edge_agent.shared import logs

VENDOR_CA = Path(__file__).with_name("homewizard-ca.pem")  # valid until 2031-12-16
SAN = "{}.p1dongle.device.homewizard.energy"

_CN_FORM = re.compile(r"appliance/(?P<type>[^/]+)/(?P<serial>[0-9a-f]{12})")
_SAN_FORM = re.compile(r"(?P<serial>[0-9a-f]{12})\.(?P<type>[^.]+)\.device\.homewizard\.energy")

_log = logging.getLogger(__name__)


class WrongIdentity(NoAnswer):
    """What answered is not the meter it must be: nothing was sent to it."""


class Identity:
    """Proves over TLS that the other end is the meter; `proven` is the serial of the last one."""

    def __init__(self, ca_file: Path | None, serial: str | None, pin_file: Path | None = None):
        self._ca_file = ca_file or VENDOR_CA
        self._serial = serial.lower() if serial else None
        self._pin_file = None if serial else pin_file
        self.proven: str | None = None

    def secure(self, sock: socket.socket, host: str) -> ssl.SSLSocket:
        """Do the handshake, check who answered, and return the socket to use.

        Raises WrongIdentity; the caller closes the socket that it gave.
        """
        expected = self._expected()
        context = vendor_context(self._ca_file)
        try:
            secured = context.wrap_socket(sock, server_hostname=_server_name(host, expected))
        except ssl.SSLCertVerificationError as error:
            raise WrongIdentity(
                f"the certificate of {host} is not acceptable: {error.verify_message} "
                "(it must be signed by the CA of HomeWizard, and this clock must be right)"
            ) from error
        try:
            self.proven = check(secured.getpeercert(), host, expected)
            return secured
        except WrongIdentity:
            secured.close()
            raise

    def remember(self) -> None:
        """Accept no other meter than the proven one from now on, also after a restart."""
        if self._serial is not None or self.proven is None:
            return
        self._serial = serial = self.proven
        path = self._pin_file
        if path is None or path.exists():
            return
        try:
            write_whole(path.with_name(path.name + ".new"), path, serial + "\n")
            saying, level = f"only the meter {serial} is accepted from now on", logging.INFO
        except OSError as error:
            saying, level = f"cannot remember the meter {serial}: {error}", logging.WARNING
        logs.event(_log, level, "meter_pinned", saying, serial=serial, file=str(path))

    def _expected(self) -> str | None:
        if self._serial is None and self._pin_file is not None:
            self._serial = _read_pin(self._pin_file)
        return self._serial


def vendor_context(ca_file: Path) -> ssl.SSLContext:
    """A context that trusts this CA alone; names are checked by `check`, after the handshake."""
    context = client_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise WrongIdentity(f"{ca_file} cannot be used as a CA: {error}") from error
    # The vendor's CA is an X.509 v1 certificate without extensions, which this flag refuses;
    # Python 3.13 sets it in some contexts. Everything else about the chain is still verified.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = False
    return context


def check(certificate: dict[str, Any], host: str, expected: str | None) -> str:
    """The serial of the meter that a verified certificate names; raises WrongIdentity."""
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [_CN_FORM.fullmatch(value.lower()) for key, value in subject if key == "commonName"]
    alternatives = certificate.get("subjectAltName", ())
    names += [_SAN_FORM.fullmatch(value.lower()) for key, value in alternatives if key == "DNS"]
    devices = {(name["type"], name["serial"]) for name in names if name}
    if len(devices) != 1 or next(iter(devices))[0] != "p1dongle":
        named = ", ".join(f"{kind} {serial}" for kind, serial in sorted(devices)) or "no device"
        raise WrongIdentity(f"{host} is not a P1 meter: its certificate names {named}")
    ((_, serial),) = devices
    if expected not in (None, serial):
        raise WrongIdentity(f"{host} is the meter {serial}, and not {expected} as it must be")
    return serial


def _server_name(host: str, serial: str | None) -> str | None:
    """What to ask for in SNI: the name in the newer certificates, else the host, never an IPv6."""
    if serial is not None:
        return SAN.format(serial)
    return None if ":" in host else host


def _read_pin(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WrongIdentity(f"cannot read which meter to trust: {error}") from error
    if not re.fullmatch(r"[0-9a-f]{12}", text):
        raise WrongIdentity(f"{path} holds no serial of a meter: set HW_P1_SERIAL, or delete it")
    return text


def write_whole(draft: Path, path: Path, text: str) -> None:
    """Write a small file so that a power cut leaves all of it or nothing."""
    with draft.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
