"""A disk that fails takes what it had and nothing more: the service goes on, and says once what happened."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.camera.sending.link import Link
from cmnas_edge.camera.sending.memory_first import MemoryFirst
from cmnas_edge.camera.sending.outbox import Outbox
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.sending.transport import Reply
from cmnas_edge.camera.sending.write_ahead import is_damaged
from cmnas_edge.camera.settings import LinkSettings
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import ConfigError, DiskFull, Transient
from cmnas_edge.wire import Outcome, encode_answer
from tests.camera.disks import disk_in_a_file, mounted

ROOT = Path(__file__).resolve().parents[2]
ROOMY = 8 << 20
OPENING = ("import sys; from pathlib import Path; from cmnas_edge.camera.sending.spool import Spool\n"
           f"Spool(Path(sys.argv[1]), {ROOMY})")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def body(size: int) -> bytes:
    return pb.Sighting(vector=os.urandom(size)).SerializeToString()


def wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def left_running(path: Path, count: int = 40, after: str = "") -> None:
    """Put records one by one and end as a power cut does, the log not yet in the database."""
    program = ("import os, sys; from pathlib import Path; from cmnas_edge.camera.sending.spool import Spool\n"
               f"spool = Spool(Path(sys.argv[1]), {ROOMY})\n"
               f"for row in range({count}): spool.put([bytes([row % 256]) * 1500])\n{after}\nos._exit(0)")
    subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=True)


def aside(path: Path, mark: str = "damaged") -> list[Path]:
    return sorted(p for p in path.parent.glob(f"{path.name}.{mark}-*") if not p.name.endswith("-wal"))


def foreign(path: Path) -> None:
    path.write_bytes(b"long enough to look like a database" * 100)


def header_only(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")


def half(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([os.urandom(1000)] * 200)
    os.truncate(path, path.stat().st_size // 8192 * 4096)


def pages(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([os.urandom(1000)] * 200)
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096:page * 4096 + 64] = os.urandom(64)
    path.write_bytes(data)


def garbage_log(path: Path) -> None:
    left_running(path)
    wal(path).write_bytes(os.urandom(wal(path).stat().st_size))


def frame_of_the_log(path: Path) -> None:
    left_running(path)
    data = bytearray(wal(path).read_bytes())
    data[32 + 10 * (24 + 4096) + 500] ^= 0x10
    wal(path).write_bytes(data)


def cut_to_nothing(path: Path) -> None:
    left_running(path)
    os.truncate(path, 0)


def later(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([b"for the later release"])
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9")


DAMAGES = [(foreign, "damaged"), (header_only, "damaged"), (half, "damaged"), (pages, "damaged"),
           (garbage_log, "damaged"), (frame_of_the_log, "damaged"), (cut_to_nothing, "damaged"), (later, "version-9")]


@pytest.mark.parametrize(("damage", "mark"), DAMAGES, ids=lambda value: getattr(value, "__name__", None))
def test_what_cannot_be_used_is_moved_aside_whole_and_said_in_one_sentence_and_service_goes_on(
        path: Path, damage: Callable[[Path], None], mark: str, said: pytest.LogCaptureFixture) -> None:
    damage(path)
    names = {p.read_bytes() for p in (path, wal(path)) if p.exists()}
    with Spool(path, ROOMY) as spool:
        assert spool.put([b"first of the new one"]) == 1
        assert spool.peek(9) == [(1, b"first of the new one")]
    (kept,) = aside(path, mark)
    assert re.fullmatch(rf"spool\.db\.{mark}-\d{{8}}T\d{{6}}Z", kept.name)
    assert {p.read_bytes() for p in (kept, wal(kept)) if p.exists()} == names
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (sentence,) = said.messages
    assert re.search(r"spool\.db: expected a spool, found one that cannot be used \(.*it lies at .*spool\.db\."
                     + mark, sentence)
    Spool(path, ROOMY).close()
    assert said.messages == [sentence]
    assert len(aside(path, mark)) == 1


def test_what_a_later_release_left_can_still_be_sent_by_it(path: Path) -> None:
    later(path)
    Spool(path, ROOMY).close()
    (kept,) = aside(path, "version-9")
    with contextlib.closing(sqlite3.connect(kept)) as db:
        db.execute("PRAGMA user_version = 1")
    with Spool(kept, ROOMY) as spool:
        assert spool.peek(9) == [(1, b"for the later release")]


def test_a_disk_that_damages_again_and_again_is_not_filled_with_what_was_moved_aside(path: Path) -> None:
    for row in range(6):
        path.write_bytes(b"%d" % row * 5000)
        os.utime(path, (row, row))
        Spool(path, ROOMY).close()
    assert sorted(p.read_bytes()[:1] for p in aside(path)) == [b"3", b"4", b"5"]


def test_a_log_that_a_kill_or_a_power_cut_left_is_no_damage(path: Path) -> None:
    left_running(path, 14)  # few enough for one log
    data = wal(path).read_bytes()
    assert data[40:48] == data[-4112:-4104], "the last frame is of another log"
    for length in (len(data), len(data) - 3, len(data) - 4120, len(data) - 4121, 32 + 4120 * 5 + 100, 32, 0):
        wal(path).write_bytes(data[:length])
        assert not is_damaged(wal(path)), length
    # The last transaction torn: its pages in any order, or not at all.
    for at in range(len(data) - 4120 * 2, len(data), 103):
        torn = bytearray(data)
        torn[at:at + 512] = os.urandom(512)
        wal(path).write_bytes(torn)
        assert not is_damaged(wal(path)), at
    wal(path).write_bytes(bytes(len(data)))
    assert not is_damaged(wal(path))


def test_a_log_that_was_begun_anew_keeps_old_frames_and_is_no_damage(path: Path) -> None:
    left_running(path, 300)
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM record").fetchone() == (300,)
    assert not is_damaged(wal(path))
    Spool(path, ROOMY).close()
    assert aside(path) == []


def test_another_programs_database_is_left_where_it_is(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE holiday (day TEXT)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="another program's database"):
        Spool(path, ROOMY)
    assert path.read_bytes() == before


def scramble(path: Path, spool: Spool) -> None:
    """Damage the database under a running spool, and make it look."""
    with spool._store.used() as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA cache_size = 0")
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    with spool._store.used() as db:
        db.execute("PRAGMA shrink_memory")


class Collector:
    """Takes everything, and remembers by spool what it was sent and told."""

    def __init__(self) -> None:
        self.stored: dict[str, list[int]] = {}
        self.gaps: dict[str, list[tuple[int, int, int]]] = {}

    def post(self, body: bytes) -> Reply:
        batch = pb.Batch.FromString(body)
        for s in batch.sightings:
            self.stored.setdefault(s.spool, []).append(s.sequence)
        for gap in batch.gaps:
            self.gaps.setdefault(gap.spool, []).append((gap.first, gap.last, gap.count))
        return Reply(200, encode_answer([*(Outcome(s.spool, s.sequence, "stored") for s in batch.sightings),
                                         *(Outcome(gap.spool, gap.last, "stored") for gap in batch.gaps)]))

    def close(self) -> None:
        """Nothing to close."""


def sent(spool: Spool, collector: Collector, tally: Tally, batch: int = 64) -> Link:
    return Link(spool, collector, LinkSettings(wait_s=0.0, batch=batch), tally, clock=lambda: 0.0)


def test_damaged_while_the_daemon_runs_it_is_replaced_and_the_collector_learns_how_many_are_missing(
        path: Path, said: pytest.LogCaptureFixture) -> None:
    tally, collector = Tally(), Collector()
    with Spool(path, ROOMY) as spool:
        outbox, link, name = Outbox(spool, 100, tally), sent(spool, collector, tally, 5), spool.name
        outbox.put([body(2000)] * 20)
        link.step()
        scramble(path, spool)
        assert not outbox.put([b"", b""])
        assert (len(outbox), len(spool), tally["dropped"]) == (2, 0, 15)
        assert spool.name != name
        assert outbox.flush()
        for _ in range(3):
            link.step()
        assert len(spool) == 0
        assert collector.gaps == {spool.name: [(1, 15, 15)]}
        assert collector.stored == {name: [1, 2, 3, 4, 5], spool.name: [16, 17]}
    assert len(aside(path)) == 1
    assert sum("cannot be used" in message for message in said.messages) == 1
    with Spool(path, ROOMY) as spool:
        assert (spool.put([b""]), spool.run) == (18, 3)


def deleted(path: Path) -> None:
    path.unlink()


def deleted_with_its_log(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}-*"):
        file.unlink()
    path.unlink()


def moved_with_its_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("gone", [deleted, deleted_with_its_log, moved_with_its_folder])
def test_moved_or_deleted_while_the_daemon_runs_it_is_replaced_and_the_collector_learns_how_many_are_missing(
        path: Path, said: pytest.LogCaptureFixture, gone: Callable[[Path], None]) -> None:
    path = path.parent / "folder" / path.name
    tally, collector = Tally(), Collector()
    with Spool(path, ROOMY) as spool:
        outbox, link, name = Outbox(spool, 100, tally), sent(spool, collector, tally, 5), spool.name
        outbox.put([b""] * 20)
        link.step()
        gone(path)
        assert not outbox.put([b"", b""])
        assert (len(outbox), len(spool), tally["dropped"]) == (2, 0, 15)
        assert outbox.flush()
        outbox.put([body(2000)])
        second = subprocess.run([sys.executable, "-c", OPENING, str(path)], cwd=ROOT, capture_output=True, check=False)
        assert b"found another daemon using it" in second.stderr
        for _ in range(3):
            link.step()
        assert collector.gaps == {spool.name: [(1, 15, 15)]}
        assert collector.stored == {name: [1, 2, 3, 4, 5], spool.name: [16, 17, 18]}
        outbox.put([b"stays"])
    assert sum("found it moved or deleted; 15 records" in message for message in said.messages) == 1
    with Spool(path, ROOMY) as spool:
        assert spool.peek(9) == [(19, b"stays")]


def test_a_copy_put_in_its_place_gives_no_number_again(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        spool.put([b"before"])
    copy = path.read_bytes()
    with Spool(path, ROOMY) as spool:
        name, last = spool.name, spool.put([b"after"] * 5) + 4
        spool.settle(range(2, last + 1))
        deleted_with_its_log(path)
        path.write_bytes(copy)
        with pytest.raises(Transient, match="moved or deleted, and replaced"):
            spool.put([b""])
        assert (spool.name, spool.peek(9)) == (name, [(1, b"before")])
        assert spool.put([b""]) > last
        assert sum(gap.count for gap in spool.gaps()) == 1      # of those in the file that went


def test_memory_first_numbers_anew_what_it_holds_if_the_file_is_deleted(path: Path) -> None:
    with MemoryFirst(path, ROOMY, window_s=30.0, most=50, clock=lambda: 0.0) as spool:
        spool.put([b"1", b"2"])
        name = spool.name
        path.unlink()
        with pytest.raises(Transient):
            spool.lose(1)
        assert [held for _, held in spool.peek(9)] == [b"1", b"2"]
        assert spool.name != name


def test_what_a_full_disk_could_not_forget_of_the_old_spool_is_not_forgotten_of_the_new_one(
        path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally, collector = Tally(), Collector()
    with Spool(path, ROOMY) as spool:
        outbox, link, settle = Outbox(spool, 100, tally), sent(spool, collector, tally), spool.settle

        def full(*_: object) -> int:
            raise DiskFull("spool.db: no room")

        outbox.put([body(2000)] * 12)
        link.step()
        outbox.put([body(2000)] * 8)
        monkeypatch.setattr(spool, "settle", full)
        link.step()
        assert link.answered_count == 8
        monkeypatch.setattr(spool, "settle", settle)
        scramble(path, spool)
        assert not outbox.put([body(9)] * 10)   # numbered as the last of the old one were
        assert outbox.flush()
        link.step()
        assert link.answered_count == len(spool) == 0
        assert collector.gaps == {spool.name: [(1, 8, 8)]}
        assert collector.stored[spool.name] == [*range(9, 19)]


def test_answers_for_a_spool_that_was_replaced_free_nothing_of_the_new_one(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        name = spool.name
        spool.put([b"old"] * 3)
        scramble(path, spool)
        with pytest.raises(Transient):
            spool.settle([1, 2], name)
        spool.put([b"new"] * 3)
        waiting = spool.peek(9)
        assert spool.settle([number for number, _ in waiting], name) == 0
        assert spool.peek(9) == waiting


def test_a_small_disk_that_fills_up_takes_what_it_can_and_all_again_once_there_is_room(path: Path) -> None:
    disk, tally, collector = path.parent / "disk", Tally(), Collector()
    with mounted(disk, "tmpfs", "size=512k"), Spool(disk / "spool.db", ROOMY) as spool:
        outbox, put = Outbox(spool, 30, tally), 1
        while outbox.put([body(1000)]):
            put += 1
            assert put < 1000
        before = [sequence for sequence, _ in spool.peek(10**4)]
        assert before == list(range(1, put))
        for _ in range(50):
            outbox.put([body(1000)])
        assert (len(outbox), tally["dropped"]) == (30, 21)
        assert [sequence for sequence, _ in spool.peek(10**4)] == before
        # Somebody frees some of it, or a larger one takes its place.
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        assert outbox.flush()
        link = sent(spool, collector, tally)
        while len(spool) or spool.has_gaps():
            link.step()
        (stored,), (gap,) = collector.stored.values(), *collector.gaps.values()
        assert gap == (put, put + 20, 21)
        assert stored == [*range(1, put), *range(put + 21, put + 51)]


@pytest.mark.parametrize("make", [Spool, partial(MemoryFirst, window_s=0.0, most=8)], ids=["disk", "memory-first"])
@pytest.mark.parametrize("size", ["1m", "4m"])
def test_a_disk_that_the_spool_itself_has_filled_comes_free_as_the_collector_answers(
        path: Path, make: Callable[[Path, int], Spool], size: str) -> None:
    disk, tally, collector = path.parent / "disk", Tally(), Collector()
    with mounted(disk, "tmpfs", f"size={size}"), make(disk / "spool.db", ROOMY) as spool:
        outbox, link, put = Outbox(spool, 300, tally), sent(spool, collector, tally), 0
        for _ in range(3):
            full = False
            while not full:
                full, put = not outbox.put([body(1000)] * 8), put + 8
                assert put < 30_000, "it never filled"
            for _ in range(1000):
                link.step()
                if outbox.flush() and not len(spool):
                    break
            assert (len(spool), len(outbox)) == (0, 0)
        assert sum(map(len, collector.stored.values())) == put
        assert tally["dropped"] == 0


def test_a_disk_that_is_read_only_is_stood_in_for_and_what_it_holds_leaves_at_the_next_start(
        path: Path, said: pytest.LogCaptureFixture) -> None:
    disk = path.parent / "disk"
    with mounted(disk, "tmpfs", "size=4m") as remount:
        with Spool(disk / "spool.db", ROOMY) as spool:
            name = spool.name
            spool.put([b"waits"])
        remount("ro")
        with Spool(disk / "spool.db", ROOMY) as spool:
            assert spool.in_memory
            assert spool.name != name
            assert spool.put([b"now"]) == 1
            assert spool.peek(9) == [(1, b"now")]
            assert spool.settle([1]) == 1
            spool.put([b"lost"])
        assert "read-only; from now on" in said.messages[0]
        assert "1 records were in memory only and are lost" in said.messages[1]
        remount("rw")
        with Spool(disk / "spool.db", ROOMY) as spool:
            assert (spool.name, spool.peek(9), spool.in_memory) == (name, [(1, b"waits")], False)


@pytest.mark.parametrize("options", ["size=16k", "size=1m,nr_inodes=1"], ids=["bytes", "names"])
def test_a_disk_too_full_to_begin_a_spool_is_stood_in_for(
        path: Path, said: pytest.LogCaptureFixture, options: str) -> None:
    disk = path.parent / "disk"
    with mounted(disk, "tmpfs", options) as remount:
        if "inodes" not in options:
            (disk / "other").write_bytes(bytes(16 << 10))
        with Spool(disk / "spool.db", ROOMY) as spool:
            assert spool.in_memory
            outbox, collector = Outbox(spool, 30, Tally()), Collector()
            assert outbox.put([b""] * 3)
            sent(spool, collector, Tally()).step()
            assert collector.stored == {spool.name: [1, 2, 3]}
            outbox.put([b"lost"])
        assert "no spool can be begun: from now on records are held in memory only" in said.messages[0]
        assert "could not be used; 1 records were in memory only and are lost" in said.messages[1]
        remount("size=4m,nr_inodes=100")
        with Spool(disk / "spool.db", ROOMY) as spool:
            assert not spool.in_memory
            assert spool.put([b"kept"]) == 1


def test_a_disk_that_fails_in_the_middle_of_a_run_is_stood_in_for(
        path: Path, said: pytest.LogCaptureFixture) -> None:
    disk, tally, collector = path.parent / "disk", Tally(), Collector()
    with disk_in_a_file(disk) as remount:
        with Spool(disk / "spool.db", ROOMY) as spool:
            outbox, link, name = Outbox(spool, 100, tally), sent(spool, collector, tally), spool.name
            assert outbox.put([b""] * 3)
            remount("abort")    # as the kernel does when it finds the disk's own books wrong
            assert not outbox.put([b""] * 2)
            assert outbox.flush()
            assert spool.in_memory
            link.step()
            assert collector.stored == {spool.name: [1, 2]}
            assert name != spool.name
    assert sum("read-only; from now on" in message for message in said.messages) == 1


def test_two_daemons_on_one_spool_the_second_is_turned_away_and_the_first_loses_nothing(path: Path) -> None:
    program = f"{OPENING}.put([b'mine'])"
    with Spool(path, ROOMY) as spool:
        spool.put([b"a"])
        done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True,
                              check=False)
        assert "ConfigError" in done.stderr
        assert "another daemon using it; stop that one" in done.stderr
        assert spool.put([b"b"]) == 2
        assert [body for _, body in spool.peek(9)] == [b"a", b"b"]
    assert subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=False).returncode == 0
    with Spool(path, ROOMY) as spool:
        assert [body for _, body in spool.peek(9)] == [b"a", b"b", b"mine"]


def test_a_link_to_a_spool_is_the_same_spool_to_a_second_daemon(path: Path) -> None:
    link = path.parent / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    with Spool(path, ROOMY) as spool:
        spool.put([b"a"])
        with pytest.raises(ConfigError, match="another daemon using it"):
            Spool(link, ROOMY)
    with Spool(link, ROOMY) as spool:
        assert spool.peek(9) == [(1, b"a")]
        with pytest.raises(ConfigError, match="another daemon using it"):
            Spool(path, ROOMY)


def test_threads_that_put_and_settle_at_once_agree_on_how_many_wait(path: Path) -> None:
    with Spool(path, ROOMY) as spool:
        stop = threading.Event()

        def settle() -> None:
            while not stop.is_set() or len(spool):
                spool.settle([number for number, _ in spool.peek(3)])

        settling = threading.Thread(target=settle)
        settling.start()
        for _ in range(150):
            spool.put([b"x"] * 2)
        stop.set()
        settling.join(60)
        assert (len(spool), spool.peek(1)) == (0, [])
