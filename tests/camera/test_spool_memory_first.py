"""Memory first: flash is spared, and what a kill takes lies within the window and is declared."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.camera.commands import open_spool
from cmnas_edge.camera.sending.memory_first import LENT, MemoryFirst
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.settings import SpoolSettings
from cmnas_edge.errors import DiskFull, Transient
from tests.camera.test_spool_trouble import aside, scramble
from tests.camera.victims import Victims
from tests.proof import PROVING

ROOT = Path(__file__).resolve().parents[2]
ROOMY = 8 << 20
WINDOW_S = 30.0
KILLS = 1_000 if PROVING else 8


class Clock:
    """A time that only moves when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def opened(path: Path, clock: Clock, most: int = 200) -> MemoryFirst:
    return MemoryFirst(path, ROOMY, window_s=WINDOW_S, most=most, clock=clock)


def on_disk(path: Path) -> list[int]:
    """Read as somebody else's tool would."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [row[0] for row in db.execute("SELECT sequence FROM record ORDER BY sequence")]


def test_what_is_answered_for_in_time_never_reaches_the_disk(path: Path) -> None:
    clock = Clock()
    with opened(path, clock) as spool:
        for number in range(1, 41):
            assert spool.put([b"%d" % number]) == number
            assert spool.peek(9) == [(number, b"%d" % number)]
            assert len(spool) == 1
            clock.now += 5
            spool.keep()
            assert spool.settle([number], spool.name) == 1
            assert on_disk(path) == []
        assert spool.gaps() == []
        assert not spool.has_gaps()


def test_what_waits_longer_than_the_window_is_on_disk_and_so_is_what_is_too_much_and_what_is_left_at_the_end(
        path: Path) -> None:
    clock = Clock()
    with opened(path, clock, most=10) as spool:
        spool.put([b"a", b"b"])
        clock.now = WINDOW_S
        spool.keep()
        assert on_disk(path) == []
        clock.now += 0.1
        spool.put([b"c"])
        assert on_disk(path) == [1, 2]
        spool.put([b"d"] * 9)
        assert on_disk(path) == [1, 2]
        spool.put([b"e"])
        assert on_disk(path) == list(range(1, 13))
        assert [number for number, _ in spool.peek(99)] == list(range(1, 14))
        spool.settle([1, 13])
        spool.put([b"f"])
    assert on_disk(path) == [*range(2, 13), 14]
    with Spool(path, ROOMY) as plain:
        assert plain.gaps() == []
        assert plain.put([b"g"]) == 15, "ended in good order, it took no number with it"


steps = st.lists(st.one_of(
    st.tuples(st.just("put"), st.integers(1, 90)), st.tuples(st.just("settle"), st.integers(1, 64)),
    st.tuples(st.just("lose"), st.integers(1, 5)), st.tuples(st.just("wait"), st.integers(1, 400)),
    st.tuples(st.just("reopen"), st.just(0)), st.tuples(st.just("tell"), st.just(0))), max_size=25)


@given(steps)
@settings(deadline=None, max_examples=20)
def test_every_number_ends_settled_or_waiting_or_in_a_gap_in_the_order_of_time(script: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, clock = Path(folder) / "spool.db", Clock()
        spool = opened(path, clock)
        given_out = 0
        settled: set[int] = set()
        lost: set[int] = set()
        try:
            for verb, count in script:
                if verb == "put":
                    assert spool.put([bytes(100)] * count) == given_out + 1
                    given_out += count
                elif verb == "lose":
                    spool.lose(count)
                    given_out += count
                elif verb == "settle":
                    numbers = [number for number, _ in spool.peek(count, beside=settled)]
                    assert spool.settle(numbers, spool.name) == len(numbers)
                    settled |= set(numbers)
                elif verb == "wait":
                    clock.now += count
                    spool.keep()
                elif verb == "tell":
                    for gap in spool.gaps():
                        assert gap.count == gap.last - gap.first + 1
                        lost |= set(range(gap.first, gap.last + 1))
                        spool.settle([gap.last], spool.name)
                else:
                    spool.close()
                    spool = opened(path, clock)
                waiting = [number for number, _ in spool.peek(10**6)]
                assert waiting == sorted(waiting)
                assert len(waiting) == len(spool)
                assert not settled & set(waiting)
                told = lost | {n for gap in spool.gaps() for n in range(gap.first, gap.last + 1)}
                assert settled | set(waiting) | told == set(range(1, given_out + 1))
                assert not told & (settled | set(waiting))
        finally:
            spool.close()


_WRITER = """
import random
from pathlib import Path
from cmnas_edge.camera.sending.memory_first import MemoryFirst

def run(seed):
    rng, now = random.Random(int(seed)), [0.0]
    spool = MemoryFirst(Path(words[0]), 8 << 20, window_s=30.0, most=150, clock=lambda: now[0])
    up = True
    while True:
        up = up if rng.random() < 0.97 else not up      # the collector, which is away at times
        count = rng.randint(1, 12)
        first = spool.put([b"x" * 500] * count)
        say("put", now[0], *range(first, first + count))
        if up:
            numbers = [number for number, _ in spool.peek(64)]
            say("sent", now[0], *numbers)
            if rng.random() < 0.9:
                spool.settle(numbers, spool.name)
                say("settled", now[0], *numbers)
        now[0] += rng.choice([0.5, 1.0, 1.0, 8.0])
        spool.keep()
"""


@pytest.mark.prove
@pytest.mark.timeout(120 + 20 * KILLS)
def test_a_kill_takes_nothing_older_than_the_window_and_each_loss_is_declared(
        path: Path, record_property: pytest.RecordProperty) -> None:
    record_property("kills", KILLS)
    rng = random.Random(1)
    put_at: dict[int, float] = {}
    run_of: dict[int, int] = {}
    settled: set[int] = set()
    declared: set[int] = set()
    lost_count = declared_count = 0
    with Victims(_WRITER, [path]) as writers:
        for run in range(KILLS):
            lines = writers.run(run, line_count=rng.randrange(1, 200))
            now = 0.0
            for verb, at, *numbers in (line.split() for line in lines):
                now = float(at)
                if verb == "put":
                    for number in map(int, numbers):
                        assert number not in put_at, "a number was given twice"
                        put_at[number], run_of[number] = now, run
                elif verb == "settled":
                    settled |= set(map(int, numbers))
            with Spool(path, ROOMY) as spool:
                waiting = {number for number, _ in spool.peek(10**6)}
                gaps = spool.gaps()
                for gap in gaps:
                    assert gap.count <= 150 + 12 + LENT
                    declared |= set(range(gap.first, gap.last + 1))
                    declared_count += gap.count
                spool.settle([gap.last for gap in gaps], spool.name)
            missing = {number for number in put_at if number not in settled and number not in waiting} - declared
            # Killed between settling and saying so: one call's worth that nobody lost.
            assert len(missing) <= 64
            assert missing <= set(sent_last(lines))
            settled |= missing
            lost = {number for number in declared - settled - waiting if run_of.get(number) == run}
            assert all(now - put_at[number] <= WINDOW_S + 8.0 for number in lost)
            lost_count += len(lost)
            put_at.update((number, -1.0) for number in waiting if number not in put_at)
    assert lost_count <= declared_count
    assert lost_count > 0, "nothing was lost, so nothing was tested"


def sent_last(lines: list[str]) -> list[int]:
    """The numbers of the last line, if it is of a request."""
    return [int(number) for number in lines[-1].split()[2:]] if lines and lines[-1].startswith("sent") else []


def test_after_a_long_pause_a_kill_is_no_loss_and_none_is_declared(path: Path) -> None:
    program = ("import os, sys; from pathlib import Path\n"
               "from cmnas_edge.camera.sending.memory_first import MemoryFirst\n"
               "now = [0.0]\n"
               "spool = MemoryFirst(Path(sys.argv[1]), 8 << 20, window_s=30.0, most=9, clock=lambda: now[0])\n"
               "spool.put([b'a'] * 3); spool.settle([1, 2, 3], spool.name)\n"
               "now[0] = float(sys.argv[2]); spool.keep(); os._exit(0)")
    for passed, count in ((299.0, 3 + LENT), (301.0, 0)):
        at = path.with_name(f"{passed}.db")
        subprocess.run([sys.executable, "-c", program, str(at), str(passed)], cwd=ROOT, check=True)
        with Spool(at, ROOMY) as spool:
            assert sum(gap.count for gap in spool.gaps()) == count


def test_a_damaged_file_takes_nothing_that_was_in_memory(path: Path) -> None:
    clock = Clock()
    with opened(path, clock) as spool:
        old = spool.name
        spool.put([b"1"] * 100)
        clock.now = 31.0
        spool.put([b"2"] * 3)
        assert len(on_disk(path)) == 100
        spool.settle(range(1, 11), old)
        scramble(path, spool)
        clock.now = 70.0
        for _ in range(2):
            with contextlib.suppress(Transient):
                spool.keep()
        assert spool.name != old
        assert [body for _, body in spool.peek(99)] == [b"2"] * 3
        numbers = [number for number, _ in spool.peek(99)]
        assert numbers == [91, 92, 93]
        (gap,) = spool.gaps()
        assert (gap.first, gap.last, gap.count) == (1, 90, 90)
        assert spool.settle([91, 92], old) == 0
        assert spool.settle([91, 92], spool.name) == 2
        assert spool.put([b"3"]) == 94
    assert len(aside(path)) == 1


def test_on_a_full_disk_memory_goes_on_as_long_as_the_collector_answers(
        path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with opened(path, clock, most=20) as spool:
        spool.put([b"a"])
        lend = spool.lend

        def full(*_: object) -> None:
            raise DiskFull("spool.db: no room")

        monkeypatch.setattr(spool, "lend", full)
        for number in range(2, 30):
            spool.settle([number - 1], spool.name)
            assert spool.put([b"b"]) == number
        clock.now = 40.0
        with pytest.raises(DiskFull):
            spool.put([b"not taken"])
        assert [number for number, _ in spool.peek(9)] == [29]
        monkeypatch.setattr(spool, "lend", lend)
        assert spool.put([b"taken"]) == 30


def test_the_settings_choose_it(tmp_path: Path) -> None:
    for mode, kind in (("disk", Spool), ("memory-first", MemoryFirst)):
        with open_spool(SpoolSettings(path=tmp_path / f"{mode}.db", mode=mode)) as spool:
            assert type(spool) is kind
