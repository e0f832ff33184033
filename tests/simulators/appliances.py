"""Certificates like those of the vendor's devices: an X.509 v1 CA, leaves named by their serial."""

import ssl
import subprocess
from pathlib import Path

SERIAL = "5c2fafaabbcc"


class ApplianceCa:
    """A look-alike of the vendor's CA; `file` is what a client must trust."""

    def __init__(self, folder: Path, name: str = "Appliance Access CA"):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.file, self.key = folder / "ca.pem", folder / "ca.key"
        _openssl("genrsa", "-out", self.key, "2048")
        request = self._request("ca", f"/C=NL/ST=ZH/O=HomeWizard/CN={name}", self.key)
        none = folder / "ca.ext"  # newer versions of openssl add extensions unasked
        none.write_text("subjectKeyIdentifier = none\nauthorityKeyIdentifier = none\n")
        self._sign(request, self.file, "-signkey", self.key, "-days", "3650", "-extfile", none)
        _make_v1(self.file, self.key)

    def issue(
        self,
        common_name: str = f"appliance/p1dongle/{SERIAL}",
        sans: tuple[str, ...] = (),
        days: int = 365,
        issuer: tuple[Path, Path] | None = None,
    ) -> tuple[Path, Path]:
        """A certificate and its key, signed by the CA or by another certificate."""
        number = len(list(self._folder.glob("leaf*.key")))
        key, certificate = self._folder / f"leaf{number}.key", self._folder / f"leaf{number}.pem"
        _openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
        subject = "/CN=" + common_name.replace("/", r"\/")
        request = self._request(f"leaf{number}", subject, key)
        ca, ca_key = issuer or (self.file, self.key)
        how = ["-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", str(days)]
        if sans:
            names = self._folder / f"leaf{number}.ext"
            names.write_text("subjectAltName=" + ",".join(f"DNS:{san}" for san in sans) + "\n")
            how += ["-extfile", names]
        self._sign(request, certificate, *how)
        return certificate, key

    def self_signed(self, common_name: str = f"appliance/p1dongle/{SERIAL}") -> tuple[Path, Path]:
        """A certificate that only vouches for itself, and its key."""
        key, certificate = self._folder / "self.key", self._folder / "self.pem"
        _openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
        request = self._request("self", "/CN=" + common_name.replace("/", r"\/"), key)
        self._sign(request, certificate, "-signkey", key, "-days", "365")
        return certificate, key

    def _request(self, name: str, subject: str, key: Path) -> Path:
        request = self._folder / f"{name}.csr"
        _openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
        return request

    def _sign(self, request: Path, certificate: Path, *how: str | Path) -> None:
        _openssl("x509", "-req", "-in", request, "-out", certificate, *how)


def _make_v1(certificate: Path, key: Path) -> None:
    """Take the version out of a certificate without extensions and sign it anew.

    X.509 v1, as the vendor's is: it can not say that it may sign others, and openssl 3.5 can not
    make one.
    """
    body, rest = _split(_split(ssl.PEM_cert_to_DER_cert(certificate.read_text()))[0])
    version_3 = b"\xa0\x03\x02\x01\x02"
    signed = _sequence(body.removeprefix(version_3))
    data = certificate.with_suffix(".tbs")
    data.write_bytes(signed)
    _openssl("dgst", "-sha256", "-sign", key, "-out", data.with_suffix(".sig"), data)
    signature = b"\0" + data.with_suffix(".sig").read_bytes()
    algorithm = _sequence(_split(rest)[0])
    bits = b"\x03\x82" + len(signature).to_bytes(2, "big") + signature
    certificate.write_text(ssl.DER_cert_to_PEM_cert(_sequence(signed + algorithm + bits)))


def _split(der: bytes) -> tuple[bytes, bytes]:
    """What is in the sequence that begins here, and what follows it."""
    start, length = 2, der[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big")
    return der[start : start + length], der[start + length :]


def _sequence(content: bytes) -> bytes:
    length = len(content)
    head = bytes([length]) if length < 0x80 else b"\x82" + length.to_bytes(2, "big")
    return b"\x30" + head + content


def san(serial: str = SERIAL, kind: str = "p1dongle") -> str:
    """The name in newer certificates."""
    return f"{serial}.{kind}.device.homewizard.energy"


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
