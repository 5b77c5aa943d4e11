"""A record put into the spool stays until it is answered for or displaced, and is counted then."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.camera.sending.spool import MIN_BYTES, OPEN_GAPS, Spool
from cmnas_edge.errors import ConfigError, DiskFull, Transient
from tests.camera.victims import Victims
from tests.proof import PROVING

ROOMY = 8 << 20
KILLS = 1_000 if PROVING else 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def sequences(spool: Spool, count: int = 10**6) -> list[int]:
    return [sequence for sequence, _ in spool.peek(count)]


def disk_bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in (path, path.with_name(path.name + "-wal")) if p.exists())


def test_records_come_out_in_order_and_stay_until_settled(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        assert spool.put([b"a", b"b"]) == 1
        assert spool.put([b"c"]) == 3
        assert spool.peek(2) == [(1, b"a"), (2, b"b")] == spool.peek(2)
        assert spool.settle([2, 99]) == 1
        assert spool.peek(9) == [(1, b"a"), (3, b"c")]
        assert len(spool) == 2


def test_a_reopened_spool_has_its_name_and_records_and_counts_its_runs(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([b"a"])
        name = spool.name
        assert (len(name), int(name, 16) >= 0, spool.run) == (16, True, 1)
    with Spool(path, ROOMY) as spool:
        assert (spool.name, spool.run, len(spool), spool.peek(9)) == (name, 2, 1, [(1, b"a")])
    with Spool(path.with_name("other.db"), ROOMY) as other:
        assert other.name != name


def test_a_sequence_is_never_given_twice_even_by_an_emptied_spool(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([b"a"] * 5)
        spool.settle(range(6))
        assert len(spool) == 0
    with Spool(path, ROOMY) as spool:
        assert spool.put([b"b"]) == 6


def test_only_the_owner_can_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        with Spool(path, ROOMY) as spool:
            spool.put([b"a"])
            for file in path.parent.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        path.chmod(0o644)
        Spool(path, ROOMY).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old)


def test_a_settled_vector_is_wiped_from_the_file(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([b"the-vector-of-a-person" * 40])
        spool.settle([1])
    assert b"the-vector-of-a-person" not in path.read_bytes()


@pytest.mark.parametrize("size", [1100, 5000])
def test_the_disk_it_takes_is_bounded_and_the_oldest_give_way(path: Path, size: int) -> None:
    limit = 2 * MIN_BYTES
    with Spool(path, limit) as spool:
        last, largest = 0, 0
        for _ in range(80):
            last = spool.put([os.urandom(size)] * 64) + 63
            largest = max(largest, disk_bytes(path))
        waiting = sequences(spool)
        (gap,) = spool.gaps()
        assert largest <= limit
        assert waiting == list(range(gap.last + 1, last + 1))
        assert (gap.spool, gap.first, gap.count) == (spool.name, 1, last - len(waiting)) != (0, 0, 0)
        assert spool.dropped_count == gap.count
        # Bounded, but not wasteful: at least half of the limit holds records.
        assert len(waiting) * size >= limit / 2 - MIN_BYTES / 2


def test_a_gap_is_delivered_like_a_record_and_does_not_change_once_told(path: Path) -> None:
    with Spool(path, MIN_BYTES) as spool:
        while not spool.dropped_count:
            spool.put([bytes(4000)])
        (told,) = spool.gaps()
        for _ in range(200):
            spool.put([bytes(4000)])
        first, second = spool.gaps()
        assert first == told
        assert second.first > told.last
        assert told.count + second.count == spool.dropped_count
        assert spool.settle([told.last]) == 1
        assert spool.gaps() == [second]
    with Spool(path, MIN_BYTES) as spool:
        assert spool.gaps() == [second]


def test_an_answer_for_a_record_displaced_meanwhile_settles_no_gap(path: Path) -> None:
    with Spool(path, MIN_BYTES) as spool:
        in_flight = spool.put([bytes(4000)] * 20)
        while not spool.dropped_count:
            spool.put([bytes(4000)])
        ((first, last, count),) = spool_gaps(path)
        assert first == in_flight
        assert spool.settle(range(first, last + 1)) == 0
        assert spool_gaps(path) == [(first, last, count)]


def test_gaps_told_again_and_again_stay_few(path: Path) -> None:
    with Spool(path, MIN_BYTES) as spool:
        for _ in range(40):
            spool.put([bytes(8000)] * 64)
            assert len(spool.gaps()) <= OPEN_GAPS
        for _ in range(2):
            for gap in spool.gaps():
                spool.settle([gap.last])
        assert spool.gaps() == []


def test_records_lost_before_they_were_put_take_numbers_and_a_gap(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([b"a"])
        spool.lose(3)
        assert spool.put([b"b"]) == 5
        (gap,) = spool.gaps()
        assert (gap.first, gap.last, gap.count) == (2, 4, 3)
        assert sequences(spool) == [1, 5]


steps = st.lists(st.one_of(
    st.tuples(st.just("put"), st.integers(1, 40)), st.tuples(st.just("settle"), st.integers(1, 64)),
    st.tuples(st.just("lose"), st.integers(1, 5)), st.tuples(st.just("tell"), st.just(0)),
    st.tuples(st.just("answer"), st.integers(1, 3)), st.tuples(st.just("reopen"), st.just(0))), max_size=25)


@given(steps)
@settings(deadline=None, max_examples=40)
def test_every_number_ends_settled_or_waiting_or_counted_in_one_gap(script: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool.db"
        spool = Spool(path, MIN_BYTES)
        given_out = settled = told_lost = 0
        try:
            for verb, count in script:
                if verb == "put":
                    assert spool.put([bytes(8000)] * count) == given_out + 1
                    given_out += count
                elif verb == "lose":
                    spool.lose(count)
                    given_out += count
                elif verb == "settle":
                    settled += spool.settle(sequences(spool, count))
                elif verb == "tell":
                    spool.gaps()
                elif verb == "answer":
                    for gap in spool.gaps()[:count]:
                        assert spool.settle([gap.last]) == 1
                        told_lost += gap.count
                else:
                    spool.close()
                    spool = Spool(path, MIN_BYTES)
                waiting = sequences(spool)
                gaps = spool_gaps(path)
                assert waiting == sorted(waiting)
                assert len(waiting) == len(spool)
                assert given_out == settled + len(waiting) + told_lost + sum(count for *_, count in gaps)
                assert not {last for _, last, _ in gaps} & set(waiting)
                assert len(gaps) <= OPEN_GAPS + 2
        finally:
            spool.close()


def spool_gaps(path: Path) -> list[tuple[int, int, int]]:
    """Read as an operator's own tool would, without marking them told."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute("SELECT first, last, count FROM gap").fetchall()


def test_a_second_daemon_is_turned_away_with_the_files_name(path: Path) -> None:
    with Spool(path, ROOMY) as first:
        with pytest.raises(ConfigError, match=r"spool\.db: .*another daemon"):
            Spool(path, ROOMY)
        first.put([b"a"])
    Spool(path, ROOMY).close()


def test_another_programs_database_is_not_taken_over(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE holiday (day TEXT)")
    with pytest.raises(ConfigError, match="another program's database"):
        Spool(path, ROOMY)


def test_a_path_that_cannot_be_written_is_a_matter_for_the_operator(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="name a path"):
        Spool(tmp_path / "file" / "spool.db", ROOMY)
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(ConfigError, match="name a path"):
        Spool(tmp_path / "folder.db", ROOMY)


@contextlib.contextmanager
def files_no_longer_than(limit: int) -> Iterator[None]:
    """A disk without room: the kernel refuses to let any file of this process grow further."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_without_room_refuses_the_record_and_keeps_the_others(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([b"a" * 1000])
        with files_no_longer_than(disk_bytes(path)):
            with pytest.raises(DiskFull, match=r"spool\.db: no room"):
                any(spool.put([b"b" * 4000]) > 1000 for _ in range(1000))
        before = sequences(spool)
        assert before
        assert spool.put([b"c"]) == before[-1] + 1  # what failed took no number
    with Spool(path, ROOMY) as spool:
        assert sequences(spool) == [*before, before[-1] + 1]


def test_sqlites_own_word_for_a_full_disk_is_understood(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([b"a"])
        with spool._store.used() as db:
            db.execute("PRAGMA max_page_count = 8")
        with pytest.raises(DiskFull, match="free disk space"):
            spool.put([bytes(100_000)])
        assert sequences(spool) == [1]


def test_a_database_that_is_held_is_worth_waiting_for(path: Path) -> None:
    with Spool(path, ROOMY) as spool, contextlib.closing(sqlite3.connect(path)) as tool:
        with spool._store.used() as db:
            db.execute("PRAGMA busy_timeout = 1")
        tool.execute("BEGIN IMMEDIATE")
        with pytest.raises(Transient, match="another program holds"):
            spool.put([b"a"])
        tool.rollback()
        assert spool.put([b"a"]) == 1


_WRITER = """
from pathlib import Path
from cmnas_edge.camera.sending.spool import Spool

def run():
    spool = Spool(Path(words[0]), int(words[1]))
    while True:
        first = spool.put([b"x" * 2000] * 7)
        say("put", *range(first, first + 7))
        if words[2] == "settle":
            oldest = [sequence for sequence, _ in spool.peek(6)]
            spool.settle(oldest)
            say("settled", *oldest)
        else:
            spool.gaps()
"""


def killed_writers(path: Path, limit: int, what: str) -> Iterator[list[tuple[str, set[int]]]]:
    """Kill a process that works on the spool at a random point, again and again; yields what each said."""
    rng = random.Random(0)
    with Victims(_WRITER, [path, limit, what]) as writers:
        for _ in range(KILLS):
            lines = writers.run(line_count=rng.randrange(1, 60), later_s=rng.uniform(0.0, 0.002))
            yield [(line.split()[0], set(map(int, line.split()[1:]))) for line in lines]


@pytest.mark.prove
@pytest.mark.timeout(120 + 20 * KILLS)
def test_nothing_put_is_lost_and_nothing_settled_returns_when_the_daemon_is_killed(
        path: Path, record_property: pytest.RecordProperty) -> None:
    record_property("kills", KILLS)
    put: set[int] = set()
    settled: set[int] = set()
    for said in killed_writers(path, 64 << 20, "settle"):
        for verb, numbers in said:
            assert verb == "settled" or not numbers & put, "a number was given twice"
            (put if verb == "put" else settled).update(numbers)
        with Spool(path, 64 << 20) as spool:
            waiting = set(sequences(spool))
        assert not waiting & settled
        # Killed between doing and saying so: one call's worth of either.
        lost = put - settled - waiting
        assert len(lost) <= 6
        assert len(waiting - put) <= 7
        settled |= lost
        put |= waiting


@pytest.mark.prove
@pytest.mark.timeout(120 + 20 * KILLS)
def test_every_displaced_record_is_counted_however_often_the_daemon_is_killed(
        path: Path, record_property: pytest.RecordProperty) -> None:
    record_property("kills", KILLS)
    for _ in killed_writers(path, MIN_BYTES, "overflow"):
        with Spool(path, MIN_BYTES) as spool:
            waiting = sequences(spool)
        assert waiting[-1] == len(waiting) + sum(count for *_, count in spool_gaps(path))
    assert waiting[0] > 1, "nothing was displaced, so nothing was tested"


def test_on_a_full_disk_what_waits_can_still_be_sent_and_the_run_has_a_number_of_its_own(tmp_path: Path) -> None:
    with Spool(tmp_path / "s.db", MIN_BYTES) as spool:
        spool.put([b"waits"])

    with files_no_longer_than(0), Spool(tmp_path / "s.db", MIN_BYTES) as spool:
        waiting, drawn = spool.peek(9), spool.run
    assert waiting == [(1, b"waits")]
    with Spool(tmp_path / "s.db", MIN_BYTES) as spool:
        assert spool.run == 2
        assert 2**30 <= drawn < 2**31, "as a tracklet's upper half it must fit SQLite's numbers"
