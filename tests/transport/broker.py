"""A real Mosquitto on a free port, with certificates made for the test."""

from __future__ import annotations

import datetime
import ipaddress
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
_PEM = serialization.Encoding.PEM
SITE = "works"


class Papers(NamedTuple):
    """A certificate's files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates, and takes them back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {folder.name}")])
        self._revoked: list[int] = []
        made = (self._builder(self._name, self._key.public_key(), 2)
                .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False),
                               critical=True)
                .sign(self._key, hashes.SHA256()))
        self.certificate = folder / "authority.pem"
        self.certificate.write_bytes(made.public_bytes(_PEM))
        self.write_revoked()

    def issue(self, name: str, *, hosts: Sequence[str] = (), days: int = 2) -> Papers:
        """Make a key and a certificate; with negative ``days`` it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key(), days)
        if hosts:
            names = [x509.IPAddress(ipaddress.ip_address(host)) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        stem = self.folder / f"{re.sub('[^A-Za-z0-9 ]', '_', name)} {days}"
        papers = Papers(Path(f"{stem}.pem"), Path(f"{stem}.key"))
        papers.certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM))
        papers.key.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        papers.key.chmod(0o600)
        return papers

    def revoke(self, papers: Papers) -> None:
        """Take a certificate back; a broker learns of it when it starts."""
        self._revoked.append(x509.load_pem_x509_certificate(papers.certificate.read_bytes()).serial_number)
        self.write_revoked()

    def write_revoked(self) -> None:
        """Write the list of certificates taken back."""
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateRevocationListBuilder().issuer_name(self._name)
                   .last_update(now - datetime.timedelta(hours=1)).next_update(now + datetime.timedelta(days=2)))
        for number in self._revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build())
        self.revoked = self.folder / "revoked.pem"
        self.revoked.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=10))
                .not_valid_after(now + datetime.timedelta(days=days)))


class Broker:
    """Mosquitto with the ACL the product prints; may be killed and started again on the same port."""

    def __init__(self, folder: Path, authority: Authority, acl: str, *, port: int,
                 host: str = "127.0.0.1", within: Sequence[str] = ()) -> None:
        assert MOSQUITTO is not None
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = authority
        self.host, self._within = host, within
        self.port = port
        self.papers = authority.issue("broker", hosts=[host])
        (folder / "acl").write_text(acl, "utf-8")
        (folder / "acl").chmod(0o700)
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtts://{self.host}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        config = self.folder / "mosquitto.conf"
        config.write_text(f"""\
listener {self.port} {self.host}
cafile {self.authority.certificate}
certfile {self.papers.certificate}
keyfile {self.papers.key}
crlfile {self.authority.revoked}
require_certificate true
use_identity_as_username true
acl_file {self.folder / 'acl'}
persistence true
persistence_location {self.folder}/
max_inflight_messages 20
user root
sys_interval 1
""", "utf-8")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*self._within, MOSQUITTO, "-v", "-c", str(config)],
                                             stdout=log, stderr=log)
        for _ in range(1000):
            if self._process.poll() is not None:
                break
            if self._listens():
                return
            time.sleep(0.01)
        raise AssertionError(f"mosquitto did not start: {self.log.read_text('utf-8')[-2000:]}")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(9)

    def stop(self) -> None:
        """End it in good order."""
        self._end(15)

    def close(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), 1).close()
        except OSError:
            return False
        return True

    def _end(self, signal: int) -> None:
        assert self._process is not None
        self._process.send_signal(signal)
        self._process.wait(20)


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
