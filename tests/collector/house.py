"""A collector without a socket: the real parts, and a client that speaks to its app directly."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import httpx

from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.access.database import Database
from cmnas_edge.collector.access.passwords import Passwords
from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.access.sessions import Sessions
from cmnas_edge.collector.access.throttle import Throttle
from cmnas_edge.collector.gallery import rebuild
from cmnas_edge.collector.intake import Intake
from cmnas_edge.collector.left import Left
from cmnas_edge.collector.receiving.admission import Admission
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.receiving.rates import Rates
from cmnas_edge.collector.receiving.receive import Receiver
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.collector.web.api import Api
from cmnas_edge.collector.web.app import build
from cmnas_edge.collector.web.log_in import LogIn
from cmnas_edge.sealing import Opener
from cmnas_edge.sighting import Gap, Outcome, Sighting
from cmnas_edge.wire import decode_answer, encode_batch
from tests.collector.people import Model


class House:
    """One collector on one data folder. ``now`` is its clock."""

    def __init__(self, folder: Path, *, now: float = 2000.0, limit_mib: int = 0, hot_window_s: float = 3600.0,
                 hot_limit: int = 10_000, model: Model | None = None, also: Sequence[Model] = (), transform: int = 0,
                 opener: Opener | None = None, only_sealed: bool = False, reasons: Collection[str] = (),
                 device_rate: float = 0.0, retention_h: float = float("inf")) -> None:
        self.now, self.folder = now, folder
        model = model or Model()
        dimensions = {one.fingerprint: one.dimension for one in (model, *also)}
        self.devices = Devices(folder)
        self.journal = Journal(folder, limit_mib=limit_mib)
        self.gallery, unwritten = rebuild(self.journal, model, since=now - hot_window_s, limit=hot_limit,
                                          also=also)
        self.intake = Intake(self.journal, self.gallery, hot_window_s=hot_window_s, hot_limit=hot_limit,
                             unwritten=unwritten, clock=lambda: self.now,
                             upkeep=Upkeep(self.journal, retention_h=retention_h, clock=lambda: self.now))
        self.left = Left(self.journal, dimensions, hot_window_s, clock=lambda: self.now)
        self.access = Database(folder)
        self.people = People(self.access, clock=lambda: self.now)
        self.sessions = Sessions(self.access, clock=lambda: self.now)
        self.audit_log = AuditLog(folder, clock=lambda: self.now)
        self.passwords = Passwords(memory_kib=64, passes=1)     # a test is not what guesses
        self.log_in = LogIn(self.people, self.sessions, self.passwords, self.audit_log,
                            throttle=Throttle(clock=lambda: self.now))
        self.receiver = Receiver(self.devices, self.intake, dimensions, Admission(hot_window_s, self.gallery.heard()),
                                 transform=transform, opener=opener, only_sealed=only_sealed,
                                 rates=Rates(device_rate, clock=lambda: self.now), clock=lambda: self.now)
        self.api = Api(self.gallery, self.intake, self.devices, self.audit_log, people=self.people,
                       sessions=self.sessions, hot_window_h=1.0, reasons=reasons, kept=self.receiver.kept,
                       left=lambda: self.left.look(self.intake.ask),
                       clock=lambda: self.now)
        self.app = build(self.receiver, self.api, self.log_in)
        self.intake.start()
        self._tokens: dict[str, str] = {}

    def close(self) -> None:
        """End in good order."""
        self.intake.stop()
        self.journal.close()
        self.passwords.close()
        self.access.close()

    def token(self, device: str = "gate") -> str:
        """The token of a device, enrolled at first use."""
        if device not in self._tokens:
            self._tokens[device] = self.devices.enrol(device, rotate=True)
        return self._tokens[device]

    def cookie(self, role: str, *, secure: bool = False) -> dict[str, str]:
        """The headers of somebody with a role who is logged in, enrolled at first use, as is ``somebody`` else."""
        name = f"some-{role}"
        for each, theirs in (("somebody", "viewer"), (name, role)):
            if self.people.find(each) is None:
                self.people.add(each, theirs, "")
        found = self.people.find(name)
        assert found is not None
        token = self.sessions.open(name, found[0].changed_at)
        return {"Cookie": f"{'__Host-' if secure else ''}cmnas-session-8700={token}"}

    def ask(self, method: str, url: str, *, client: str = "127.0.0.1", **given: Any) -> httpx.Response:
        """Send one request as if from ``client``."""
        return asyncio.run(self._ask(method, url, client, **given))

    def post(self, body: bytes, *, device: str = "gate", **given: Any) -> httpx.Response:
        """Post bytes as a device would, from another machine."""
        headers = {"Authorization": f"Bearer {self.token(device)}", **given.pop("headers", {})}
        return self.ask("POST", "/v1/sightings", content=body, headers=headers, client="192.0.2.7", **given)

    def send(self, *records: Sighting | Gap, device: str = "gate") -> list[Outcome]:
        """Post records in one batch; return what became of each."""
        sightings = [r for r in records if isinstance(r, Sighting)]
        answer = self.post(encode_batch(sightings, [r for r in records if isinstance(r, Gap)]), device=device)
        assert answer.status_code == 200, answer.text
        return decode_answer(answer.content)

    def settle(self) -> None:
        """Wait until everything sent has been matched, and what was decided is written."""
        self.intake.ask(lambda: None).result(30)

    async def _ask(self, method: str, url: str, client: str, **given: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(client, 50000), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8700") as session:
            return await session.request(method, url, **given)

