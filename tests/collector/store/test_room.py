"""A disk that sightings have filled still has room to let go of them, and then for others."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.journal import Arrival, Journal
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.errors import DiskFull
from tests.camera.disks import mounted
from tests.collector.people import People

HOUR = 3600.0
VECTOR = np.full(512, 512**-0.5, np.float32)


class Filler:
    """Stores batches on a small disk, an hour apart, until there is no room."""

    def __init__(self, data: Path) -> None:
        self.now = 1e6
        self.people = People(dimension=512)
        self.journal = Journal(data)
        self.upkeep = Upkeep(self.journal, retention_h=72, clock=lambda: self.now)

    def close(self) -> None:
        self.journal.close()

    def store(self) -> None:
        batch = [self.people.sighting(n, at=self.now - 10, vector=VECTOR) for n in range(64)]
        self.journal.append([Arrival("gate", [*batch], self.now)])

    def fill(self) -> int:
        count = 0
        while not self.is_full():
            self.now += 30
            count += 64
        return count

    def is_full(self) -> bool:
        try:
            self.store()
        except DiskFull as error:
            if "kept for letting go" in str(error):
                return True
            raise
        return False


def test_a_full_disk_lets_go_by_erasure_and_in_time_and_takes_more_then(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "tmpfs", "size=24m"), closing(Filler(tmp_path / "disk" / "data")) as filler:
        count = filler.fill()
        filler.upkeep.begin(Selection(seen_to=1e6 + 300), "grace", "asked")
        (receipt,) = filler.upkeep.finish()
        assert 0 < receipt.sightings < count
        filler.now += 73 * HOUR
        while filler.upkeep.step(filler.now):
            pass
        assert filler.journal.count() == 0
        assert filler.fill() > count // 2       # in the room that the others left


def test_a_collector_starts_on_a_disk_that_others_filled_almost_and_lets_go(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "tmpfs", "size=24m"):
        with closing(Filler(disk / "data")) as filler:
            filler.fill()
        with suppress(OSError), (disk / "log").open("wb", buffering=0) as log:
            while True:
                log.write(bytes(4096))
        os.truncate(disk / "log", (disk / "log").stat().st_size - (256 << 10))  # the index of a log takes 32 of them
        with closing(Journal(disk / "data")) as again:
            upkeep = Upkeep(again, retention_h=72, clock=lambda: filler.now + 73 * HOUR)
            upkeep.start()      # in small steps
            assert again.count() == 0


@pytest.mark.parametrize(("free_mib", "takes"), [(64, True), (63, False)])
def test_the_last_of_a_large_disk_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, takes: bool
                                          ) -> None:
    filler = Filler(tmp_path / "data")
    large = SimpleNamespace(f_bavail=free_mib << 8, f_blocks=1 << 28, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: large)
    if takes:
        filler.store()
    else:
        with pytest.raises(DiskFull, match="63 MiB are left, and the last 64 are kept"):
            filler.store()
        assert filler.journal.count() == 0
    filler.journal.close()
