"""Certificates like those of the vendor's devices: an X.509 v1 CA, leaves named by their serial."""

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
        # Without extensions openssl makes it X.509 v1, as the vendor's is.
        self._sign(request, self.file, "-signkey", self.key, "-days", "3650")

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


def san(serial: str = SERIAL, kind: str = "p1dongle") -> str:
    """The name in newer certificates."""
    return f"{serial}.{kind}.device.homewizard.energy"


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
