"""A disk whose power goes while a program writes to it: an ext4 in a file, taken as it was at one moment."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.camera.disks import mounted

__all__ = ["made", "power_cut"]

_ROOT = Path(__file__).resolve().parents[1]


def made(image: Path, mib: int) -> Path:
    """Make a disk in a file."""
    with image.open("wb") as file:
        file.truncate(mib << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    return image


def power_cut(disk: Path, image: Path, writer: Sequence[str], rng: random.Random, after: range) -> list[str]:
    """Let a program write to a disk, and take its power.

    Args:
        disk: Where it is mounted meanwhile.
        image: The disk; afterwards as it was at the cut, and its own books put in order, without a question.
        writer: The program; it says a line whenever it has been promised something.
        rng: Draws the moment.
        after: So many lines, one of these.

    Returns:
        The lines it had said by then.
    """
    lines, taken = image.with_suffix(".lines"), image.with_suffix(".taken")
    with ExitStack() as on:
        on.enter_context(mounted(disk, "ext4", "loop", str(image)))
        device = subprocess.run(["findmnt", "-no", "SOURCE", disk], check=True, capture_output=True, text=True)
        with lines.open("wb") as out:
            process = subprocess.Popen(writer, cwd=_ROOT, stdout=out)
        on.callback(process.wait)
        on.callback(process.kill)
        _wait_for(lines, rng.choice(after))
        time.sleep(rng.uniform(0.0, 0.02))
        process.send_signal(signal.SIGSTOP)
        _wait_until_stopped(process.pid)
        _copy_between_writes(image, taken, Path("/sys/block") / Path(device.stdout.strip()).name / "stat")
        said = lines.read_text("utf-8").splitlines()
    taken.replace(image)
    mended = subprocess.run(["fsck.ext4", "-p", image], capture_output=True, text=True, check=False)
    assert mended.returncode in (0, 1), mended.stdout
    assert subprocess.run(["fsck.ext4", "-fn", image], capture_output=True, check=False).returncode == 0
    return said


def _wait_for(lines: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if lines.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.003)
    raise AssertionError("the writer said too little")


def _wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _copy_between_writes(image: Path, taken: Path, statistics: Path) -> None:
    """Copy a disk as it was at one moment: again, if anything was written to it meanwhile."""
    for _ in range(200):
        before = statistics.read_text("utf-8").split()
        if before[8] == "0":    # nothing is on its way
            subprocess.run(["cp", "--sparse=always", image, taken], check=True)
            if statistics.read_text("utf-8").split()[4:7] == before[4:7]:
                return
        time.sleep(0.01)
    raise AssertionError("the disk never rested")
