"""A disk whose power goes while a program writes to it: an ext4 in a file, from one moment on deaf to its filesystem.

The cut is ext4's own shutdown without a flush of its journal (``EXT4_IOC_SHUTDOWN``, by which xfstests play a power
cut): what was on its way to the disk arrives, and nothing that came after is even tried. The program is in the middle
of whatever it did, a sync most often, which then fails; it is stopped so that it can neither see that nor say a word.

What this cannot play is a disk that loses, tears or reorders what was on its way. Replaying a recorded run does
(`tests/camera/test_power_cut.py`).
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.camera.disks import mounted

__all__ = ["made", "power_cut"]

_ROOT = Path(__file__).resolve().parents[1]
_SHUTDOWN = 0x8004587D      # _IOR('X', 125, __u32)
_NO_FLUSH = 2               # EXT4_GOING_FLAGS_NOLOGFLUSH


def made(image: Path, mib: int) -> Path:
    """Make a disk in a file."""
    with image.open("wb") as file:
        file.truncate(mib << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    return image


def power_cut(disk: Path, image: Path, writer: Sequence[str], rng: random.Random, after: range, *,
              met: list[str] | None = None) -> list[str]:
    """Let a program write to a disk, and take its power.

    Args:
        disk: Where it is mounted meanwhile.
        image: The disk; afterwards as the cut left it, and its own books put in order, without a question.
        writer: The program; it says a line whenever it has been promised something.
        rng: Draws the moment.
        after: So many lines, one of these.
        met: Is told what the cut met: ``D`` if the program was waiting for the disk, else another state of ``proc(5)``.

    Returns:
        The lines it had said by then.
    """
    lines = image.with_suffix(".lines")
    with ExitStack() as on:
        on.enter_context(mounted(disk, "ext4", "loop", str(image)))
        power = os.open(disk, os.O_RDONLY)
        on.callback(os.close, power)
        with lines.open("wb") as out:
            process = subprocess.Popen(writer, cwd=_ROOT, stdout=out)
        on.callback(process.wait)
        on.callback(process.kill)
        _wait_for(lines, rng.choice(after))
        time.sleep(rng.uniform(0.0, 0.02))
        # Who waits for the disk stops only when that answers, and before it is back in the program.
        process.send_signal(signal.SIGSTOP)
        state = _state(process.pid)
        fcntl.ioctl(power, _SHUTDOWN, struct.pack("I", _NO_FLUSH))
        if met is not None:
            met.append(state)
        _wait_until_stopped(process.pid)
        said = lines.read_text("utf-8").splitlines()
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


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]


def _wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 30
    while _state(pid) != "T":
        assert time.monotonic() < deadline
        time.sleep(0.001)
