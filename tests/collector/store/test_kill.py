"""Killed at any moment, a collector loses nothing it acknowledged, stores nothing twice, and keeps what people decided.

A few times in ``make test``, 200 in ``make prove``.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from cmnas_edge.collector.gallery import rebuild
from cmnas_edge.collector.store.erasures import verified
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.sighting import Sighting
from cmnas_edge.wire import decode_answer, encode_batch
from tests.collector.people import Model, People
from tests.collector.process import Process
from tests.collector.staff import Officer, Operator
from tests.proof import KILLS, PROVING

ENDS = 200 if PROVING else KILLS


class Device:
    """Sends batches one after another until the collector is gone; keeps what was not acknowledged."""

    def __init__(self, name: str, token: str, seed: int) -> None:
        self.device, self._token = name, token
        self._people, self._rng = People(seed, noise=0.4), random.Random(seed)
        self._sequence = 0
        self.waiting: list[Sighting] = []
        self.acknowledged: set[int] = set()
        self.stored: list[int] = []

    def fill(self) -> None:
        """See some more people."""
        for _ in range(self._rng.randint(1, 24)):
            self._sequence += 1
            self.waiting.append(self._people.sighting(
                self._rng.randrange(6), at=10.0 * self._sequence, device=self.device,
                camera=self._rng.choice(["north", "south"]), modality=self._rng.choice(["visible", "infrared"]),
                tracklet=self._sequence // 3, sequence=self._sequence))

    def deliver(self, url: str) -> None:
        """Send what waits in one batch and forget what is answered for."""
        batch = self.waiting[:64]
        answer = httpx.post(f"{url}/v1/sightings", content=encode_batch(batch), timeout=20,
                            headers={"Authorization": f"Bearer {self._token}"})
        assert answer.status_code == 200, answer.text
        for outcome in decode_answer(answer.content):
            assert outcome.result in ("stored", "duplicate"), outcome
            self.acknowledged.add(outcome.sequence)
            if outcome.result == "stored":
                self.stored.append(outcome.sequence)
        self.waiting = [s for s in self.waiting if s.sequence not in self.acknowledged]

    def work(self, url: str) -> None:
        """See people, and tell of them."""
        self.fill()
        self.deliver(url)


def until_gone(work: Callable[[str], None], url: str) -> threading.Thread:
    """Do something from a thread of its own until nobody answers."""
    def run() -> None:
        try:
            while True:
                work(url)
        except httpx.HTTPError:
            return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.prove
@pytest.mark.timeout(120 + 20 * ENDS)
def test_nothing_acknowledged_is_lost_and_nothing_is_stored_twice(
        collector: Process, record_property: Callable[[str, object], None]) -> None:
    record_property("kills", ENDS)
    rng = random.Random(ENDS)
    devices = [Device(name, collector.enrol(name), seed) for seed, name in enumerate(("gate", "yard", "roof"))]
    officer, operator = Officer(collector, [*devices]), Operator(collector)
    so = 0
    for number in range(ENDS):
        collector.start()
        asking = (None, officer, operator)[number % 3]
        if asking:
            asking.asking.clear()
        at_work = [*(device.work for device in devices), officer.work, operator.work]
        threads = [until_gone(work, collector.url) for work in at_work]
        if asking:      # in the midst of an erasure or a decision, or right behind it, however slow the machine
            asking.asking.wait(20)
            threads[0].join(rng.uniform(0, min(1.2 * asking.lasts, 10)))
        else:
            threads[0].join(rng.uniform(0.05, 1.5))
        collector.kill()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        stored = journal_rows(collector)
        so += decided(collector, operator)
        for device in devices:
            assert_kept(device, officer, stored.get(device.device, set()))
    collector.start()
    for device in devices:
        while device.waiting:
            device.deliver(collector.url)
        assert len(device.stored) == len(set(device.stored))
    officer.work(collector.url)
    operator.work(collector.url)
    assert decided(collector, operator) + so
    record_property("decisions", sum(operator.kinds.values()))
    for device in devices:
        assert_kept(device, officer, journal_rows(collector)[device.device])
    assert collector.stop() == 0
    officer.close()
    operator.close()
    receipts = (collector.folder / "data" / "keys" / "receipts.jsonl").read_bytes()
    assert verified(collector.folder / "data" / "keys") == receipts.count(b"\n")
    assert all(receipts.count(number.encode()) == 1 for number in officer.receipts)
    assert_identities_are_whole(collector)


def assert_kept(device: Device, officer: Officer, stored: set[int]) -> None:
    """What was acknowledged is there but for what was to be erased; what was erased is not."""
    assert device.acknowledged - officer.perhaps[device.device] <= stored
    assert not officer.surely[device.device] & stored


def journal_rows(collector: Process) -> dict[str, set[int]]:
    """What the journal holds, read by another program; fails when a record stands there twice."""
    reader = sqlite3.connect(f"file:{collector.folder}/data/journal.sqlite?mode=ro", uri=True)
    try:
        rows: dict[str, set[int]] = {}
        for device, sequence in reader.execute("SELECT device, sequence FROM sighting"):
            assert sequence not in rows.setdefault(device, set())
            rows[device].add(sequence)
        return rows
    finally:
        reader.close()


def decided(collector: Process, operator: Operator) -> int:
    """Hold the journal against what was decided; how many of the decisions were found to be so."""
    with closing(sqlite3.connect(f"file:{collector.folder}/data/journal.sqlite?mode=ro", uri=True)) as reader:
        return operator.holds(reader)


def assert_identities_are_whole(collector: Process) -> None:
    """Every sighting is linked once, and reading the journal twice gives the same identities."""
    journal = Journal(collector.folder / "data")
    galleries = [rebuild(journal, Model(), since=0, limit=10**6) for _ in range(2)]
    assert [unwritten for _, unwritten in galleries] == [[], []]
    count = journal.count()
    journal.close()
    one, other = (gallery.identities(limit=10**6) for gallery, _ in galleries)
    assert one == other
    assert sum(who.sighting_count for who in one.identities) == count
    linked = sqlite3.connect(collector.folder / "data" / "journal.sqlite")
    # A tracklet that lost what opened it keeps the link that says whose it is.
    assert linked.execute("SELECT count(*), count(DISTINCT sighting) FROM link WHERE rule NOT IN "
                          "('merged', 'parted', 'decided') AND sighting IN (SELECT id FROM sighting)"
                          ).fetchone() == (count, count)
    linked.close()
