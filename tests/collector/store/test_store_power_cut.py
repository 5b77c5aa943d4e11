"""A power cut takes nothing a collector acknowledged, brings back nothing it erased or let go of, and breaks no chain.

On a real filesystem whose disk is copied between two of its writes, mended by fsck and opened: the journal, the keys of
its days, the list of what is erased with its receipts, the audit log and the list of devices. A few times in
``make test``, 100 in ``make prove``.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.store.erasures import verified
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.collector.store.keys import day_name
from cmnas_edge.collector.store.upkeep import Upkeep
from tests.camera.disks import loop_missing, mounted
from tests.collector.people import DIMENSION, FINGERPRINT
from tests.power import made, power_cut
from tests.proof import PROVING

ROOT = Path(__file__).resolve().parents[3]
CUTS = 100 if PROVING else 2
RETENTION_H = 30.0
BEGAN = 100 * 86400.0
# One round is an hour of the collector's clock; a batch holds the records 8 * round + 1 to 8 * round + 8.
_WRITER = """
import os, random, sys
from pathlib import Path
from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.journal import Arrival, Decision, Journal
from cmnas_edge.collector.store.upkeep import Upkeep
from tests.collector.people import People
data, first, began, retention_h = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())
now = [began + 3600 * first]
people, rng = People(first), random.Random(first)
devices, log = Devices(data), AuditLog(data)
journal = Journal(data)
upkeep = Upkeep(journal, retention_h=retention_h, clock=lambda: now[0])
upkeep.start()
say("started", first)
for number in range(first, first + 10**6):
    now[0] = began + 3600 * number
    batch = [people.sighting(n, at=now[0] - 60 + n, sequence=8 * number + 1 + n) for n in range(8)]
    ((ids),) = journal.append([Arrival("gate", batch, now[0])])
    say("stored", number)
    links = [Link(each, each, 1 + n, "opened") for n, each in enumerate(ids) if each]
    journal.decide(Decision(now[0], "otto", "confirm", f"of {number}", {"tracklets": ids, "moved": []}), links)
    say("decided", number)
    while upkeep.step(now[0]): pass
    say("over", number)
    if rng.random() < 0.3:
        at = began + 3600 * (number - rng.randrange(8))
        say("erasing", round((at - began) / 3600))
        upkeep.begin(Selection(device="gate", seen_from=at - 60, seen_to=at - 57.5), "grace", "asked")
        receipt = upkeep.finish()[-1]
        say("erased", round((at - began) / 3600), receipt.id)
    if rng.random() < 0.3:
        log.add("search", who="otto", asked={"number": number})
        say("noted", number)
    if rng.random() < 0.1:
        devices.enrol(f"device {number}")
        say("enrolled", number)
"""


class Promises:
    """What a collector has said so far, and what that makes true of any disk it may leave."""

    def __init__(self) -> None:
        self.stored: set[int] = set()       # rounds
        self.erased: set[int] = set()
        self.decided: set[int] = set()
        self.noted: set[int] = set()
        self.enrolled: set[int] = set()
        self.doing: set[int] = set()        # erased perhaps
        self.receipts: list[str] = []
        self.last = self.over = 0

    def hear(self, lines: Iterable[str]) -> None:
        for verb, *words in (line.split() for line in lines):
            number = int(words[0]) if words else 0
            if verb in ("stored", "decided", "noted", "enrolled"):
                getattr(self, verb).add(number)
            elif verb == "erasing":
                self.doing.add(number)
            elif verb == "erased":
                self.erased.add(number)
                self.receipts.append(words[1])
            elif verb == "over":
                self.over = number
            self.last = max(self.last, number)

    def hold(self, data: Path) -> None:
        """Open what was left, and see that it is what was said."""
        now = BEGAN + 3600 * self.last
        with closing(Journal(data)) as journal:
            before = {day_name(day) for day in journal.keys.dropped()}
            Upkeep(journal, retention_h=RETENTION_H, clock=lambda: now).start()
            assert before <= {day_name(day) for day in journal.keys.dropped()}
            there: dict[int, set[int]] = {}
            for record, _ in journal.sightings(FINGERPRINT, DIMENSION, since=0, most=10**6):
                there.setdefault((record.sequence - 1) // 8, set()).add((record.sequence - 1) % 8)
            assert sum(map(len, there.values())) == journal.count(), "a vector does not open"
            kept = {number for number in self.stored if BEGAN + 3600 * number >= now - RETENTION_H * 3600}
            for number in kept:
                missing = set(range(8)) - there.get(number, set())
                assert missing <= ({0, 1, 2} if number in self.doing else set()), f"{missing} of {number} are gone"
            for number in self.erased & there.keys():
                assert not there[number] & {0, 1, 2}, f"what was erased of {number} is back"
            assert not {number for number in there if BEGAN + 3600 * number < now - RETENTION_H * 3600}
            whose = {decision.reason for decision in journal.decisions()}
            assert {f"of {number}" for number in self.decided & kept} <= whose
            keys = {path.name for path in (data / "keys").glob("day-*")}
            assert keys == {f"day-{day_name(day)}.key" for day in journal.keys.days()}
            over = int((BEGAN + 3600 * self.over - RETENTION_H * 3600) // 86400)
            assert not {day for day in journal.keys.days() if day < over}
            receipts = (data / "keys" / "receipts.jsonl").read_bytes() if self.receipts else b""
            verified(data / "keys")
            assert all(receipts.count(number.encode()) == 1 for number in self.receipts)
        assert AuditLog(data).check().faults == []
        assert self.noted <= {entry.asked.get("number") for entry in AuditLog(data).page(limit=10**6)}
        assert {f"device {number}" for number in self.enrolled} <= {device.name for device in Devices(data).known()}


@pytest.mark.prove
@pytest.mark.timeout(120 + 15 * CUTS)
def test_power_cuts_one_after_another_take_nothing_acknowledged_and_bring_back_nothing_that_went(
        tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    if reason := loop_missing():
        pytest.skip(reason)
    record_property("kills", CUTS)
    rng, promises = random.Random(11), Promises()
    disk, image = tmp_path / "disk", made(tmp_path / "disk.img", 64)
    for cut in range(CUTS):
        writer = [sys.executable, "-c", _WRITER, str(disk / "data"), str(promises.last + 1 if cut else 0), str(BEGAN),
                  str(RETENTION_H)]
        promises.hear(power_cut(disk, image, writer, rng, range(1, 150)))
        with mounted(disk, "ext4", "loop", str(image)):
            promises.hold(disk / "data")
            os.sync()
    assert promises.erased
    assert promises.noted
