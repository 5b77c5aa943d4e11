"""A collector as a process of its own, and as many devices as a question needs, on real sockets with TLS."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cmnas_edge import sealing
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.embedding import unit
from cmnas_edge.private import write_new_secret
from cmnas_edge.sighting import Sighting
from cmnas_edge.wire import address, encode_batch, encode_sighting

__all__ = ["Answer", "Device", "Site"]

_TIMEOUT_S = 60.0
_TICK = os.sysconf("SC_CLK_TCK")


class Answer(NamedTuple):
    """What came back, and after how many seconds."""

    status: int
    body: bytes
    seconds: float


class Site:
    """A collector with the bundle that ships, its data in a folder, and its devices. Ends with the block."""

    def __init__(self, folder: Path, *, rate: float = 0.0, hot_limit: int = 200_000, sealed: bool = False,
                 names: int = 1) -> None:
        """Make keys, enrol devices, and start it.

        Args:
            folder: Empty.
            rate: Records a second that a device may send; 0: no limit.
            hot_limit: Sightings in its hot window.
            sealed: Devices seal their vectors to its key.
            names: Devices to enrol.
        """
        bundle = Bundle.open(default_path())
        self.fingerprint, self.dimension = bundle.fingerprint, bundle.dimension
        _certificate(folder)
        seal = ""
        if sealed:
            write_new_secret(folder / "seal.pem", sealing.new_key(), "key", "")
            seal = 'seal_keys = ["seal.pem"]\nonly_sealed = true\n'
        self.seal_to = bytes.fromhex(sealing.public_key(folder / "seal.pem")) if sealed else b""
        (folder / "collector.toml").write_text(
            f'data = "data"\nlisten = "127.0.0.1:0"\ntls_certificate = "certificate.pem"\ntls_key = "key.pem"\n'
            f"hot_limit = {hot_limit}\ndevice_rate = {rate}\n{seal}", "utf-8")
        self._devices = Devices(folder / "data")
        self.context = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        self._log = (folder / "log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen([sys.executable, "-m", "cmnas_edge.cli", "collector",
                                          str(folder / "collector.toml")], stderr=self._log)
        self.tokens = [self._devices.enrol(f"device{number}") for number in range(names)]
        self.port = self._listening(folder / "log")

    def __enter__(self) -> Site:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(_TIMEOUT_S)
        self._log.close()

    def cpu_s(self) -> float:
        """Processor seconds it has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def rss_mb(self) -> float:
        """Memory it has resident."""
        status = Path(f"/proc/{self._process.pid}/status").read_text("ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1000

    def connect(self, number: int = 0) -> ssl.SSLSocket:
        """Open a connection, from an address of the device's own: of one address only so many are let in."""
        plain = socket.create_connection(("127.0.0.1", self.port), _TIMEOUT_S,
                                         source_address=(f"127.1.{number // 250}.{1 + number % 250}", 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1")

    def health(self) -> dict[str, float]:
        """What ``GET /v1/health`` says."""
        with self.connect() as connection:
            found: dict[str, float] = json.loads(ask(connection, b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n"
                                                                 b"Connection: close\r\n\r\n").body)
        return found

    def _listening(self, log: Path) -> int:
        until = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < until:
            if found := re.search(r"listening on https://127\.0\.0\.1:(\d+)", said := log.read_text("utf-8")):
                return int(found[1])
            if self._process.poll() is not None:
                raise RuntimeError(said)
            time.sleep(0.05)
        raise RuntimeError(said)


class Device:
    """One enrolled device with a connection that stays open, and people of its own before its camera."""

    def __init__(self, site: Site, number: int, *, people: int = 50) -> None:
        self._rng = np.random.default_rng(number)
        self._site, self._name, self._sequence = site, f"device{number}", 0
        self._spool = f"{number:016x}"
        self._people = unit(np.random.default_rng(7).standard_normal((people, site.dimension)).astype(np.float32))
        self._sealer = sealing.Sealer(site.seal_to) if site.seal_to else None
        self._head = ("POST /v1/sightings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
                      f"Authorization: Bearer {site.tokens[number]}\r\n").encode()
        self.connection = site.connect(number)

    def bodies(self, count: int, at: float, *, per_tracklet: int = 3) -> list[bytes]:
        """Sightings of somebody for some seconds each, as yet without a number."""
        who = np.repeat(self._rng.integers(0, len(self._people), -(-count // per_tracklet)), per_tracklet)[:count]
        noise = self._rng.standard_normal((count, self._site.dimension)).astype(np.float32)
        vectors = unit(self._people[who] + 0.6 * noise / np.sqrt(self._site.dimension))
        first = int(at * 1000) << 16
        return [encode_sighting(Sighting(
            device=self._name, camera="north", seen_from=at + row, seen_at=at + row + 0.9, modality="visible",
            tracklet=first + row // per_tracklet, view_count=4, quality=0.75, box_width=60, box_height=180,
            fingerprint=self._site.fingerprint, engine="onnxruntime", precision="fp32", packing="fp16",
            vector=vector), self._sealer) for row, vector in enumerate(vectors)]

    def send(self, bodies: list[bytes]) -> Answer:
        """Give them the next numbers and post them."""
        numbered = [address(body, self._spool, self._sequence + row) for row, body in enumerate(bodies, 1)]
        self._sequence += len(bodies)
        return self.post(encode_batch(numbered))

    def post(self, body: bytes) -> Answer:
        """Post anything."""
        return ask(self.connection, self._head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def close(self) -> None:
        """Hang up."""
        self.connection.close()


def ask(connection: ssl.SSLSocket, request: bytes) -> Answer:
    """Send one request and read its answer, which has a Content-Length."""
    began = time.perf_counter()
    connection.sendall(request)
    head, _, body = b"", b"", b""
    while b"\r\n\r\n" not in head:
        if not (more := connection.recv(65536)):
            raise ConnectionError("hung up")
        head += more
    head, _, body = head.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return Answer(int(head.split(b" ", 2)[1]), body, time.perf_counter() - began)


def _certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "collector")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256()))
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    write_new_secret(folder / "key.pem", key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()), "key", "")
