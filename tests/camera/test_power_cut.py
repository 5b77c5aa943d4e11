"""A power cut takes nothing that was promised, at whatever moment it comes.

Twice over: on every disk that the system calls of a recorded run allow, with what was not synced
missing, torn and out of order; and on a real filesystem, which is cut off from its disk while it works.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from cmnas_edge.camera.sending.spool import MIN_BYTES, Spool
from tests.camera.disks import loop_missing, mounted, needs_strace
from tests.camera.recording import Event, left_behind, recorded
from tests.power import made, power_cut
from tests.proof import PROVING

ROOT = Path(__file__).resolve().parents[2]
REPLAYED = 2_000 if PROVING else 30
CUTS = 100 if PROVING else 3

_WRITER = """
import os, sys
from pathlib import Path
from cmnas_edge.camera.sending.spool import Spool
batch, rounds = int(sys.argv[3]), int(sys.argv[4])
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())
say("opens")
spool = Spool(Path(sys.argv[1]), int(sys.argv[2]))
say("opened", spool.name)
while rounds:
    rounds -= 1
    first = spool.put([b"x" * 1100] * batch)
    say("put", *range(first, first + batch))
    if rounds % 3:
        oldest = [sequence for sequence, _ in spool.peek(batch)]
        say("settling", *oldest)
        spool.settle(oldest)
        say("settled", *oldest)
    if rounds % 11 == 0:
        gaps = spool.gaps()
        say("told", *(number for gap in gaps for number in range(gap.first, gap.last + 1)))
        spool.settle([gap.last for gap in gaps])
"""


def writer(path: Path, limit: int, batch: int, rounds: int) -> list[str]:
    return [sys.executable, "-c", _WRITER, str(path), str(limit), str(batch), str(rounds)]


class Promises:
    """What a spool has said so far, and what that makes true of any disk it may leave."""

    def __init__(self) -> None:
        self.name = ""
        self.put: set[int] = set()
        self.settled: set[int] = set()
        self.doing: set[int] = set()    # settled perhaps, and not said yet
        self.told: set[int] = set()

    def hear(self, lines: Iterable[str]) -> None:
        for verb, *words in (line.split() for line in lines):
            if verb == "opened":
                assert self.name in ("", words[0]), "the spool was replaced"
                self.name = words[0]
                continue
            numbers = set(map(int, words))
            self.doing = set()
            if verb == "put":
                assert not numbers & self.put, "a number was given twice"
                self.put |= numbers
            elif verb == "settling":
                self.doing = numbers
            elif verb == "settled":
                self.settled |= numbers
            elif verb == "told":
                self.told |= numbers

    def hold(self, path: Path, limit: int, batch: int) -> None:
        """Open what was left, and see that all of it is there."""
        with Spool(path, limit) as spool:
            waiting = [sequence for sequence, _ in spool.peek(10**6)]
            gaps = spool.gaps()
            assert self.name in ("", spool.name)
            assert waiting == sorted(waiting)
            lost = {number for gap in gaps for number in range(gap.first, gap.last + 1)}
            assert sum(gap.count for gap in gaps) <= len(lost)
            assert not set(waiting) & self.settled, "what was answered for returned"
            missing = self.put - self.settled - set(waiting) - lost - self.told
            assert missing <= self.doing, f"{sorted(missing)[:9]} were promised and are gone"
            assert len(set(waiting) - self.put) <= batch, "one call may be done and not said"
            assert all(body == b"x" * 1100 for _, body in spool.peek(10**6))
            self.settled |= missing
            self.put |= set(waiting)
            self.told |= lost
            assert spool.put([b"next"]) > max(self.put, default=0)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    folder = tmp_path_factory.mktemp("recording") / "disk"
    folder.mkdir()
    return recorded(writer(folder / "spool.db", MIN_BYTES, 8, 60), folder, ROOT)


def said(events: Sequence[Event]) -> list[str]:
    return [event.data.decode() for event in events if event.kind == "said"]


@needs_strace
@pytest.mark.prove
@pytest.mark.timeout(120 + REPLAYED)
def test_whatever_was_not_synced_may_be_missing_torn_or_out_of_order(
        recording: list[Event], tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    record_property("kills", REPLAYED)
    rng = random.Random(5)
    for row in range(REPLAYED):
        replay(recording, rng.randrange(1, len(recording) + 1), rng, tmp_path / str(row))


def replay(events: list[Event], cut: int, rng: random.Random, folder: Path) -> None:
    """Cut the power before an event, and see what holds."""
    folder.mkdir()
    for name, content in left_behind(events, cut, rng).items():
        (folder / name).write_bytes(content)
    promises = Promises()
    promises.hear(said(events[:cut]))
    promises.hold(folder / "spool.db", MIN_BYTES, 8)
    assert not [*folder.glob("*.damaged-*")], f"cut {cut}: a power cut passed for damage"
    shutil.rmtree(folder)


@needs_strace
def test_a_sync_that_is_left_out_would_be_found(recording: list[Event], tmp_path: Path) -> None:
    careless = [event for event in recording if (event.kind, event.name) != ("sync", "spool.db-wal")]
    rng, found = random.Random(5), 0
    for row in range(20):
        try:
            replay(careless, rng.randrange(len(careless) // 2, len(careless) + 1), rng, tmp_path / str(row))
        except AssertionError:
            found += 1
    assert found > 10


@needs_strace
def test_between_checkpoints_each_transaction_costs_one_sync(recording: list[Event]) -> None:
    syncs: list[tuple[str, int, int, int]] = []
    log = database = written = 0
    for event in recording:
        if event.kind == "said":
            syncs.append((event.data.decode().split()[0], log, database, written))
            log = database = written = 0
        elif event.kind == "sync":
            log += event.name == "spool.db-wal"
            database += event.name == "spool.db"
        elif event.kind == "write":
            written += event.name == "spool.db"
    transactions = [(log, database) for verb, log, database, written in syncs if verb in ("put", "settled")
                    and not written]
    checkpoints = [(log, database) for verb, log, database, written in syncs if written and verb in ("put", "settled")]
    assert len(transactions) > 70
    # The first after a checkpoint begins the log anew, and syncs its header before anything follows it.
    assert {log for log, _ in transactions} <= {1, 2}
    assert [log for log, _ in transactions].count(2) <= len(checkpoints) + 1
    assert {database for _, database in transactions} == {0}
    assert 0 < len(checkpoints) <= 0.2 * len(transactions)
    assert all(log <= 2 and database == 1 for log, database in checkpoints)


@pytest.mark.prove
@pytest.mark.timeout(120 + 10 * CUTS)
def test_power_cuts_one_after_another_on_a_real_filesystem_take_nothing_that_was_promised(
        tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    if reason := loop_missing():
        pytest.skip(reason)
    record_property("kills", CUTS)
    rng, promises = random.Random(7), Promises()
    disk, image = tmp_path / "disk", made(tmp_path / "disk.img", 24)
    limit, batch = 4 * MIN_BYTES, 16
    before = 0
    for cut in range(CUTS):
        promises.hear(power_cut(disk, image, writer(disk / "spool.db", limit, batch, -1), rng, range(2, 250)))
        with mounted(disk, "ext4", "loop", str(image)):
            promises.hold(disk / "spool.db", limit, batch)
            with Spool(disk / "spool.db", limit) as spool:      # the word that hold() put there
                spool.settle([spool.last_number()])
                promises.put.add(spool.last_number())
                promises.settled.add(spool.last_number())
            assert not [*disk.glob("*.damaged-*")], f"cut {cut}: a power cut passed for damage"
        assert len(promises.put) > before
        before = len(promises.put)
