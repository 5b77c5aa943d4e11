"""While the disk is full records wait in memory, a bounded number of them, and the loss is told."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.camera.sending.memory_first import MemoryFirst
from cmnas_edge.camera.sending.outbox import Outbox
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import DiskFull
from cmnas_edge.sighting import Gap


class Disk:
    """A spool in memory that is full when it is told to be."""

    name = "0" * 16

    def __init__(self) -> None:
        self.full = False
        self.rows: list[bytes | None] = []
        self.dropped_count = 0

    def put(self, bodies: list[bytes]) -> int:
        if self.full:
            raise DiskFull("spool.db: no room")
        self.rows += bodies
        return len(self.rows)

    def lose(self, count: int) -> None:
        if self.full:
            raise DiskFull("spool.db: no room")
        self.rows += [None] * count

    def keep(self) -> None:
        pass


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40))
@settings(deadline=None)
def test_every_record_reaches_the_disk_in_order_or_is_a_hole_there(script: list[tuple[bool, int]]) -> None:
    disk, tally = Disk(), Tally()
    outbox = Outbox(disk, 4, tally)  # type: ignore[arg-type]
    made: list[bytes] = []
    for full, count in script:
        disk.full = full
        fresh = [str(len(made) + row).encode() for row in range(count)]
        made += fresh
        assert outbox.put(fresh) == (len(outbox) == 0)
        assert len(outbox) <= 4
    disk.full = False
    assert outbox.flush()
    assert len(disk.rows) == len(made)
    assert all(row in (None, body) for row, body in zip(disk.rows, made, strict=True))
    assert tally["dropped"] == disk.rows.count(None)


def test_a_full_disk_and_its_loss_are_told_to_the_collector(tmp_path: Path) -> None:
    tally = Tally()
    with Spool(tmp_path / "spool.db", 8 << 20) as spool:
        outbox = Outbox(spool, 3, tally)
        outbox.put([b"first"])
        with spool._store.used() as db:
            db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        assert not outbox.put([bytes(5000)] * 5)
        assert not outbox.put([bytes(5000)])
        assert (len(outbox), len(spool), tally["dropped"]) == (3, 1, 3)
        with spool._store.used() as db:
            db.execute("PRAGMA max_page_count = 1000000")
        assert outbox.flush()
        assert [sequence for sequence, _ in spool.peek(9)] == [1, 5, 6, 7]
        assert spool.gaps() == [Gap(spool.name, 2, 4, 3)]


def test_what_gives_way_on_disk_is_counted_once(tmp_path: Path) -> None:
    tally = Tally()
    with Spool(tmp_path / "spool.db", 1 << 20) as spool:
        outbox = Outbox(spool, 3, tally)
        for _ in range(60):
            outbox.put([bytes(8000)] * 3)
        assert tally["dropped"] == spool.dropped_count == 180 - len(spool) > 0


def test_what_is_in_memory_first_goes_to_disk_in_time_though_nothing_more_comes(tmp_path: Path) -> None:
    now = [0.0]
    with MemoryFirst(tmp_path / "spool.db", 8 << 20, window_s=30.0, most=99, clock=lambda: now[0]) as spool:
        outbox = Outbox(spool, 3, Tally())
        outbox.put([b"a"])
        on_disk = super(MemoryFirst, spool).__len__
        for now[0] in range(60):
            assert outbox.flush()
            assert on_disk() == (now[0] > 30)
