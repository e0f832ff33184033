"""A throw-away certificate authority, by openssl."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from tests.support.servers.process import run

CA_EXTENSIONS = """[req]
distinguished_name = name
x509_extensions = ca
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""

LEAF_EXTENSIONS = """basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class CertificateAuthority:
    """Makes its own key and certificate on construction; `file` is what clients trust."""

    def __init__(self, folder: Path | str, name: str = "Sunspool throw-away CA"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "ca.pem"
        self.key = self.folder / "ca.key"
        config = self.folder / "ca.cnf"
        config.write_text(CA_EXTENSIONS)
        request = ["openssl", "req", "-x509", "-config", config, "-subj", f"/CN={name}"]
        run([*request, *NEW_KEY, "-keyout", self.key, "-out", self.file, "-days", "3650"])

    def issue(
        self, name: str, sans: Sequence[str] = ("127.0.0.1", "localhost")
    ) -> tuple[Path, Path]:
        """Make a server certificate for these addresses and names; return it and its key."""
        cert, key, request, extensions = (
            self.folder / f"{name}.{end}" for end in ("pem", "key", "csr", "ext")
        )
        extensions.write_text(LEAF_EXTENSIONS.format(names=",".join(map(_general_name, sans))))
        config = self.folder / "ca.cnf"
        subject = ["openssl", "req", "-new", "-config", config, "-subj", f"/CN={name}"]
        run([*subject, *NEW_KEY, "-keyout", key, "-out", request])
        signing = ["openssl", "x509", "-req", "-in", request, "-out", cert, "-days", "3650"]
        signer = ["-CA", self.file, "-CAkey", self.key, "-CAcreateserial"]
        run([*signing, *signer, "-extfile", extensions])
        return cert, key


def _general_name(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return f"DNS:{name}"
    return f"IP:{name}"
