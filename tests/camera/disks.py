"""Real disks to fail: filesystems that a test mounts, where it may."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

__all__ = ["disk_in_a_file", "mounted", "needs_strace"]


@cache
def mounting_missing() -> str:
    """Why nothing can be mounted here; empty: it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True,
                              text=True, check=False)
        if done.returncode:
            return f"mounting is not allowed: {done.stderr.strip()}"
        subprocess.run(["umount", folder], check=True)
    return ""


@cache
def loop_missing() -> str:
    """Why no file can be mounted as a disk here; empty: it can."""
    if reason := mounting_missing():
        return reason
    for tool in ("losetup", "mkfs.ext4", "fsck.ext4"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    return ""


@contextmanager
def mounted(folder: Path, kind: str, options: str, device: str = "none") -> Iterator[Callable[[str], None]]:
    """A filesystem on a folder; gives what mounts it anew with other options. Skips where nothing can be mounted."""
    if reason := mounting_missing():
        pytest.skip(reason)
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", kind, "-o", options, device, folder], check=True)
    try:
        yield lambda option: subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True) and None
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def disk_in_a_file(folder: Path, mib: int = 16) -> Iterator[Callable[[str], None]]:
    """As `mounted`: ext4 on a loop device, whose file ``FOLDER.img`` is the disk. Skips where there is none."""
    if reason := loop_missing():
        pytest.skip(reason)
    image = folder.with_name(folder.name + ".img")
    with image.open("wb") as file:
        file.truncate(mib << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted(folder, "ext4", "loop,errors=remount-ro", str(image)) as remount:
        yield remount


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
