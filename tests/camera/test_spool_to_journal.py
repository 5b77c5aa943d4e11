"""Killed at any point between seeing and sending, a camera loses nothing that it does not declare."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.camera.victims import Victims
from tests.collector.process import Process
from tests.proof import PROVING
from tests.transport.broker import free_port

KILLS = 334 if PROVING else 4     # of each of three kinds: a thousand

_CAMERA = """
import random
from pathlib import Path
from msgspec.structs import replace
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.memory_first import MemoryFirst
from cmnas_edge.camera.sending.outbox import Outbox
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.transport import HttpTransport
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.wire import encode_sighting
from tests.collector.people import People

path, kind, url, token = Path(words[0]), words[1], words[2], Path(words[3])
people = People()

def opened(clock):
    if kind == "memory-first":
        return MemoryFirst(path, 8 << 20, window_s=10.0, most=100, clock=clock)
    return Spool(path, (1 << 20) if kind == "overflowing" else (8 << 20))

def run(*numbers):
    seed, number = map(int, numbers)
    rng, now, tally = random.Random(seed), [0.0], Tally()
    settings = LinkSettings(wait_s=0.0, timeout_s=5.0, backoff_s=0.01, max_backoff_s=0.02,
                            batch=16 if seed >= 0 else 64)
    with opened(lambda: now[0]) as spool:
        transport = HttpTransport(url, token, settings, tally)
        outbox, link = Outbox(spool, 1000, tally), Link(spool, transport, settings, tally, clock=lambda: now[0])
        say("opened", spool.name)
        while not seed < 0 or len(spool) or spool.has_gaps():
            now[0] += rng.choice([0.1, 1.0, 4.0])
            if seed >= 0:
                bodies = []
                for _ in range(rng.randint(*((100, 300) if kind == "overflowing" else (1, 5)))):
                    number += 1
                    one = people.sighting(number % 5, at=1000.0 + number, device=kind, tracklet=number, sequence=0)
                    one = replace(one, spool="")
                    bodies.append(encode_sighting(one))
                say("makes", number)
                outbox.put(bodies)
                say("kept", *range(number - len(bodies) + 1, number + 1))
            if seed < 0 or rng.random() < (0.2 if kind == "overflowing" else 0.8):
                link.step()
        say("empty")
"""


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process(tmp_path_factory.mktemp("middle") / "collector", listen=f"127.0.0.1:{free_port()}") as process:
        process.start()
        yield process


@pytest.mark.prove
@pytest.mark.timeout(180 + 10 * KILLS)
@pytest.mark.parametrize("kind", ["disk", "overflowing", "memory-first"])
def test_what_is_kept_is_in_the_journal_once_and_in_order_or_declared_with_its_range(
        collector: Process, tmp_path: Path, kind: str, record_property: pytest.RecordProperty) -> None:
    record_property("kills", KILLS)
    token = tmp_path / "token"
    token.write_text(collector.enrol(kind), "utf-8")
    token.chmod(0o600)
    rng, kept, number = random.Random(KILLS), set[int](), 0
    with Victims(_CAMERA, [tmp_path / "spool.db", kind, collector.url, token]) as cameras:
        for run in range(KILLS):
            if run % 20 == 1:   # at times the collector is killed, too
                collector.kill()
            if not collector.runs and run % 20 > 2:
                collector.start()
            # Numbers that a killed camera may have used and not said stay unused.
            number += 1000
            lines = cameras.run(run, number, line_count=rng.randrange(2, 20), later_s=rng.uniform(0.0, 0.01))
            assert sum(line.startswith("opened") for line in lines) == 1
            kept |= {int(word) for line in lines if line.startswith("kept") for word in line.split()[1:]}
            number = max([number, *(int(line.split()[1]) for line in lines if line.startswith("makes"))])
        if not collector.runs:
            collector.start()
        assert cameras.run(-1, 0)[-1] == "empty\n"
    rows, gaps = journal(collector, kind)
    made = [tracklet for _, tracklet in rows]
    sequences = [sequence for sequence, _ in rows]
    assert len(set(made)) == len(made), "stored twice"
    assert sequences == sorted(sequences), "stored out of order"
    assert made == sorted(made), "numbered out of order"
    declared = {row for first, last, _ in gaps for row in range(first, last + 1)}
    assert set(range(1, sequences[-1] + 1)) <= set(sequences) | declared, "a gap that nobody declared"
    lost = kept - set(made)
    assert len(lost) <= sum(count for *_, count in gaps)
    if kind == "disk":
        assert not lost
        assert not gaps
    else:
        assert gaps, "nothing was lost, so nothing was tested"


def journal(collector: Process, device: str) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """Sequence and tracklet of every record in the order of storing; first, last and count of every gap."""
    reader = sqlite3.connect(f"file:{collector.folder}/data/journal.sqlite?mode=ro", uri=True)
    try:
        rows = reader.execute("SELECT sequence, tracklet FROM sighting WHERE device = ? ORDER BY id", (device,))
        return ([(sequence, int(tracklet)) for sequence, tracklet in rows],
                reader.execute("SELECT first, last, count FROM gap WHERE device = ?", (device,)).fetchall())
    finally:
        reader.close()
