"""The two ways to a real collector, which may be cut, killed and forged alike."""

from __future__ import annotations

import re
import signal
import sqlite3
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from msgspec.structs import replace

from cmnas_edge import sealing
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.transport import Transport
from cmnas_edge.camera.sending.ways import open_transport
from cmnas_edge.camera.settings import CameraSettings, DeviceSettings, LinkSettings, SourceSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.receiving.mqtt import acl
from cmnas_edge.collector.settings import load
from cmnas_edge.collector.store.keys import Keys
from cmnas_edge.collector.store.schema import beside
from cmnas_edge.embedding import pack
from cmnas_edge.sealing import Sealer
from cmnas_edge.wire import encode_sighting
from tests.collector.people import People
from tests.collector.process import Process
from tests.transport.broker import SITE, Authority, Broker, free_port

_READING = re.compile(r"reading cmnas/v1/")
DEVICE = "gate"


class HttpWay:
    """A collector over HTTPS; killing it is killing all there is."""

    name = "http"
    middles = ("collector",)

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", within: Sequence[str] = ()) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(folder / "authority")
        self.seal_key = folder / "seal.pem"
        if not self.seal_key.exists():
            self.seal_key.write_bytes(sealing.new_key())
            self.seal_key.chmod(0o600)
        self.certificate, self.key = folder / "server.pem", folder / "server.key"
        self.host, self.port = host, free_port()
        self._serve_with(2)
        self.token = folder / "token"
        self.collector = Process(folder / "collector", self._settings(), listen=f"{host}:{self._listen_port()}",
                                 within=within)
        self.admit()

    def start(self) -> None:
        """Start the collector."""
        self.collector.start()

    def close(self) -> None:
        """End all of it."""
        self.collector.__exit__()

    def kill(self, what: str) -> None:
        """End a part as a power cut would."""
        assert what == "collector"
        self.collector.kill()

    def restart(self, what: str) -> None:
        """Start a part that was ended."""
        assert what == "collector"
        self.start()

    def device(self, **link: object) -> DeviceSettings:
        """What the operator of the camera wrote."""
        return DeviceSettings(
            device=DEVICE, collector=self._url(), token=self.token,
            cameras=(CameraSettings(name="north", source=SourceSettings(location="none")),),
            link=LinkSettings(**{"timeout_s": 5.0, "backoff_s": 0.02, "max_backoff_s": 0.1, "wait_s": 0.0, "site": SITE,
                                 "certificate_authority": self.authority.certificate,
                                 "seal_to": sealing.public_key(self.seal_key), **link}))

    def admit(self) -> None:
        """Let the device in, anew if need be."""
        token = Devices(self.collector.folder / "data").enrol(DEVICE, rotate=True)
        self.token.write_text(token, "utf-8")
        self.token.chmod(0o600)

    def turn_away(self) -> None:
        """Take back what lets the device in."""
        Devices(self.collector.folder / "data").enrol(DEVICE, rotate=True)

    def expire(self) -> None:
        """Let the certificate that the camera is shown expire."""
        self._serve_with(-1)
        self.collector.stop()
        self.start()

    def renew(self) -> None:
        """Get another."""
        self._serve_with(2)
        self.collector.stop()
        self.start()

    def broker_trouble(self) -> str:
        """What the collector tells whoever watches over it."""
        trust = ssl.create_default_context(cafile=str(self.authority.certificate))
        return str(httpx.get(f"{self.collector.url}/v1/health", verify=trust, timeout=20).json()["broker"])

    def journal(self, spool: str) -> list[tuple[int, bytes]]:
        """Sequence and vector of what is stored of a spool, in the order of storing."""
        rows = self._ask("SELECT sequence, vector, day, device, packing FROM sighting WHERE spool = ? ORDER BY id",
                         spool)
        keys = Keys(self.collector.folder / "data" / "keys", make=False) if rows else None
        return [(sequence, keys.open(day, vector, beside(device, spool, sequence, packing)) if keys else vector)
                for sequence, vector, day, device, packing in rows]

    def gaps(self, spool: str) -> list[tuple[int, int, int]]:
        """First, last and count of what a spool told it lost."""
        return self._ask("SELECT first, last, count FROM gap WHERE spool = ? ORDER BY first", spool)

    def _ask(self, query: str, spool: str) -> list:  # type: ignore[type-arg]
        reader = sqlite3.connect(f"file:{self.collector.folder}/data/journal.sqlite?mode=ro", uri=True)
        try:
            return reader.execute(query, (spool,)).fetchall()
        finally:
            reader.close()

    def _url(self) -> str:
        return f"https://{self.host}:{self.port}"

    def _listen_port(self) -> int:
        return self.port

    def _settings(self) -> str:
        return (f'seal_keys = ["{self.seal_key}"]\nonly_sealed = true\n'
                f'tls_certificate = "{self.certificate}"\ntls_key = "{self.key}"\n')

    def _serve_with(self, days: int) -> None:
        papers = self.authority.issue("server", hosts=[self.host], days=days)
        self.certificate.write_bytes(papers.certificate.read_bytes())
        self.key.write_bytes(papers.key.read_bytes())
        self.key.chmod(0o600)


class MqttWay(HttpWay):
    """A collector behind a broker; either may be killed."""

    name = "mqtt"
    middles = ("broker", "collector")

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", within: Sequence[str] = ()) -> None:
        self._broker_port = free_port()
        super().__init__(folder, host=host, within=within)
        settings = load(self.collector.config).mqtt
        assert settings is not None
        self.broker = Broker(folder / "broker", self.authority, acl(settings), host=host, port=self._broker_port,
                             within=within)

    def start(self) -> None:
        self.broker.start()
        super().start()
        self.collector.wait_for(_READING)

    def close(self) -> None:
        super().close()
        self.broker.close()

    def kill(self, what: str) -> None:
        self.collector.kill() if what == "collector" else self.broker.kill()

    def restart(self, what: str) -> None:
        if what == "collector":
            self.collector.start()
        else:
            self.broker.start()
        self.collector.wait_for(_READING)

    def device(self, **link: object) -> DeviceSettings:
        return super().device(**{"certificate": self.folder / "gate.pem", "certificate_key": self.folder / "gate.key",
                                 **link})

    def admit(self) -> None:
        super().admit()
        self._let_in(2)

    def turn_away(self) -> None:
        self.authority.revoke(self.papers)
        self._again()

    def expire(self) -> None:
        self.broker.papers = self.authority.issue("broker", hosts=[self.host], days=-1)
        self._again(reached=False)

    def renew(self) -> None:
        self.broker.papers = self.authority.issue("broker", hosts=[self.host])
        self._again()

    def outlive(self) -> None:
        """Let the device's own certificate expire."""
        self._let_in(-1)

    def _let_in(self, days: int) -> None:
        self.papers = self.authority.issue(DEVICE, days=days)
        for name, source in (("gate.pem", self.papers.certificate), ("gate.key", self.papers.key)):
            (self.folder / name).write_bytes(source.read_bytes())
            (self.folder / name).chmod(0o600)

    def _again(self, *, reached: bool = True) -> None:
        self.broker.stop()
        self.broker.start()
        if reached:
            self.collector.wait_for(_READING)

    def _url(self) -> str:
        return f"mqtts://{self.host}:{self._broker_port}"

    def _listen_port(self) -> int:
        return 0

    def _settings(self) -> str:
        mine = self.authority.issue("collector")
        return (super()._settings() + f'[mqtt]\nbroker = "{self._url()}"\nsite = "{SITE}"\n'
                f'certificate = "{mine.certificate}"\ncertificate_key = "{mine.key}"\n'
                f'certificate_authority = "{self.authority.certificate}"\n')


class Camera:
    """The sending half of a device: a spool, a link, a way."""

    def __init__(self, way: HttpWay, folder: Path, *, limit: int = 8 << 20, **link: object) -> None:
        self.way = way
        settings = way.device(**link)
        self.tally = Tally()
        self.spool = Spool(folder / f"{way.name}.db", limit)
        self.transport: Transport = open_transport(settings, self.tally)
        self.link = Link(self.spool, self.transport, settings.link, self.tally)
        self._people, self._sealer = People(), Sealer(bytes.fromhex(settings.link.seal_to))
        self.seen: list[bytes] = []

    def see(self, count: int) -> None:
        """Put sightings on disk, sealed."""
        bodies = []
        for _ in range(count):
            number = len(self.seen) + 1
            one = self._people.sighting(number % 5, at=1000.0 + 10 * number, device=DEVICE, tracklet=number, sequence=0)
            one = replace(one, spool="")
            self.seen.append(pack(one.vector[None], one.packing)[0])
            bodies.append(encode_sighting(one, self._sealer))
        self.spool.put(bodies)

    def deliver(self, within_s: float = 30.0) -> None:
        """Send until nothing waits."""
        deadline = time.monotonic() + within_s
        while len(self.spool) or self.spool.has_gaps():
            assert time.monotonic() < deadline, f"{len(self.spool)} records still wait"
            time.sleep(min(self.link.step(), 0.05))

    def assert_all_stored(self) -> None:
        """Everything seen is in the journal, once, in order, with the vector it had."""
        assert self.way.journal(self.spool.name) == list(enumerate(self.seen, 1))

    def close(self) -> None:
        """End."""
        self.transport.close()
        self.spool.close()


WAYS = {"http": HttpWay, "mqtt": MqttWay}
FREEZE, THAW = signal.SIGSTOP, signal.SIGCONT
