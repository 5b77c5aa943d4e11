"""Killed at any point between seeing and sending, a camera loses nothing that it does not declare."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.process import Process
from tests.proof import PROVING
from tests.transport.broker import free_port

ROOT = Path(__file__).resolve().parents[2]
KILLS = 334 if PROVING else 4     # of each of three kinds: a thousand

# Imports once, then forks a camera's sending half for every line it reads, so that a thousand kills take minutes.
_CAMERA = """
import os, random, sys
from pathlib import Path
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.memory_first import MemoryFirst
from cmnas_edge.camera.sending.outbox import Outbox
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.transport import HttpTransport
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.wire import encode_sighting
from tests.collector.people import People

path, kind, url, token = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
people = People()

def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def opened(clock):
    if kind == "memory-first":
        return MemoryFirst(path, 8 << 20, window_s=10.0, most=100, clock=clock)
    return Spool(path, (1 << 20) if kind == "overflowing" else (8 << 20))

def run(seed, number):
    rng, now, tally = random.Random(seed), [0.0], Tally()
    settings = LinkSettings(wait_s=0.0, timeout_s=5.0, backoff_s=0.01, max_backoff_s=0.02, batch=16)
    with opened(lambda: now[0]) as spool:
        transport = HttpTransport(url, token, settings, tally)
        outbox, link = Outbox(spool, 1000, tally), Link(spool, transport, settings, tally, clock=lambda: now[0])
        say("opened", spool.name)
        while not seed < 0 or len(spool) or spool.has_gaps():
            now[0] += rng.choice([0.1, 1.0, 4.0])
            if seed >= 0:
                bodies = []
                for _ in range(rng.randint(1, 120 if kind == "overflowing" else 12)):
                    number += 1
                    one = people.sighting(number % 5, at=1000.0 + number, device=kind, tracklet=number, sequence=0)
                    object.__setattr__(one, "spool", "")
                    bodies.append(encode_sighting(one))
                say("makes", number)
                outbox.put(bodies)
                say("kept", *range(number - len(bodies) + 1, number + 1))
            if seed < 0 or rng.random() < (0.2 if kind == "overflowing" else 0.8):
                link.step()
        say("empty")

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            run(*map(int, line.split()))
        finally:
            os._exit(0)
    say("pid", child)
    os.waitpid(child, 0)
    say("gone")
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
    cameras = subprocess.Popen([sys.executable, "-c", _CAMERA, str(tmp_path / "spool.db"), kind, collector.url,
                                str(token)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert cameras.stdin is not None
    assert cameras.stdout is not None
    try:
        for run in range(KILLS):
            if run % 20 == 1:   # at times the collector is killed, too
                collector.kill()
            if not collector.runs and run % 20 > 2:
                collector.start()
            # Numbers that a killed camera may have used and not said stay unused.
            lines = one_run(cameras, run, number := number + 1000, rng.randrange(2, 60), rng.uniform(0.0, 0.01))
            names = {line.split()[1] for line in lines if line.startswith("opened")}
            assert len(names) == 1
            kept |= {int(word) for line in lines if line.startswith("kept") for word in line.split()[1:]}
            number = max([number, *(int(line.split()[1]) for line in lines if line.startswith("makes"))])
        if not collector.runs:
            collector.start()
        assert one_run(cameras, -1, 0, 10**6, 0.0)[-1] == "empty\n"
    finally:
        cameras.stdin.close()
        cameras.kill()
        cameras.wait()
        cameras.stdout.close()
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


def one_run(cameras: subprocess.Popen[str], seed: int, number: int, line_count: int, later_s: float) -> list[str]:
    """Fork one camera, let it say so many lines, kill it a little later; returns what it said."""
    assert cameras.stdin is not None
    assert cameras.stdout is not None
    cameras.stdin.write(f"{seed} {number}\n")
    cameras.stdin.flush()
    lines, pid = [], 0
    while True:
        line = cameras.stdout.readline()
        assert line, "the cameras' process ended"
        if line.startswith("pid"):
            pid = int(line.split()[1])
        elif line == "gone\n":
            return lines
        else:
            lines.append(line)
        if pid and len(lines) == line_count:
            time.sleep(later_s)
            os.kill(pid, signal.SIGKILL)
            line_count = -1


def journal(collector: Process, device: str) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """Sequence and tracklet of every record in the order of storing; first, last and count of every gap."""
    reader = sqlite3.connect(f"file:{collector.folder}/data/journal.sqlite?mode=ro", uri=True)
    try:
        rows = reader.execute("SELECT sequence, tracklet FROM sighting WHERE device = ? ORDER BY id", (device,))
        return ([(sequence, int(tracklet)) for sequence, tracklet in rows],
                reader.execute("SELECT first, last, count FROM gap WHERE device = ?", (device,)).fetchall())
    finally:
        reader.close()
