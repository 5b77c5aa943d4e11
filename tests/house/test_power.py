"""The cut of `tests.power` falls where it hurts: inside a sync, and nothing gets through after it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.camera.disks import loop_missing, mounted
from tests.power import made, power_cut

CUTS = 8
# Appends a line of its own, syncs, and only then says it. And appends to another file that it never syncs.
WRITER = """
import os, sys
file, loose = (os.open(sys.argv[1] + end, os.O_WRONLY | os.O_APPEND | os.O_CREAT) for end in ("", ".loose"))
for number in range(int(sys.argv[2]), 10**9):
    os.write(loose, b"%0511d\\n" % number)
    os.write(file, b"%0511d\\n" % number)
    os.fdatasync(file)
    os.write(1, b"%d\\n" % number)
"""


def test_the_power_goes_inside_a_sync_and_what_was_synced_before_is_there(tmp_path: Path) -> None:
    if reason := loop_missing():
        pytest.skip(reason)
    rng, met = random.Random(3), list[str]()
    disk, image = tmp_path / "disk", made(tmp_path / "disk.img", 16)
    last = -1
    for _ in range(CUTS):
        said = power_cut(disk, image, [sys.executable, "-c", WRITER, str(disk / "file"), str(last + 1)], rng,
                         range(1, 60), met=met)
        assert [int(line) for line in said] == list(range(last + 1, last + 1 + len(said)))
        with mounted(disk, "ext4", "loop,ro", str(image)):
            content, loose = (disk / "file").read_bytes(), disk / "file.loose"
            assert not loose.exists() or loose.stat().st_size < 512 * len(said), "nobody synced it, and the power went"
        numbers = [int(row) for row in content[:len(content) // 512 * 512].split(b"\n") if row]
        assert numbers == list(range(len(numbers)))
        assert last + len(said) <= numbers[-1] <= last + len(said) + 1, "what was said, and at most what was on its way"
        last = numbers[-1]
    assert "D" in met, f"no cut fell inside a sync: {met}"
