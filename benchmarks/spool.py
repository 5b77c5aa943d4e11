"""How many bytes does the disk take for one sighting, in batches of 1, 8 and 64?

    python -m benchmarks.spool                  # as root also with what reaches a disk of its own, a loop device

Each record is put, sent and settled, as while a collector answers. Beside the spool on disk and the one
that holds records in memory first, whose collector answers within its window: a plain file that is appended
to and synced once a batch, which is the least that keeps a promise and cannot forget, give way or count.
Bytes are what the kernel was asked to write (``write_bytes`` of ``/proc/self/io``) and, where a filesystem
can be mounted, what its block device was given, which holds the filesystem's own journal, too.
All of it in one run, in turns; counts do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.camera.sending.memory_first import MemoryFirst
from cmnas_edge.camera.sending.spool import Spool

_BODY_BYTES = 1_100     # a sighting of 512 dimensions in fp16
_BATCHES = (1, 8, 64)
_LIMIT = 64 << 20


def main() -> None:
    """Measure, print, and append to ``results/spool.jsonl``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4096, help="of each turn (default: 4096)")
    args = parser.parse_args()
    at_least(parser, args, max(_BATCHES), "records")
    figures: dict[str, object] = {"records": args.records, "body_bytes": _BODY_BYTES}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as on:
        disk = Path(folder) / "disk"
        disk.mkdir()
        device = on.enter_context(_own_disk(disk))
        figures["disk"] = device or "the system's own; what reaches the device is not measured"
        print(f"{'':<24}{'bytes/sighting':>16}{'x payload':>11}{'to the device':>15}")
        for batch in _BATCHES:
            for name, turn in _TURNS.items():
                asked, given = _counted(device, partial(turn, disk, args.records, batch))
                per = asked / args.records
                reached = None if given is None else round(given / args.records, 1)
                figures[f"{name}, batch {batch}"] = {
                    "bytes": round(per, 1), "times_payload": round(per / _BODY_BYTES, 2), "device_bytes": reached}
                print(f"{name + f', {batch}':<24}{per:>16.0f}{per / _BODY_BYTES:>11.2f}"
                      f"{'not measured' if reached is None else f'{reached:.0f}':>15}", flush=True)
    keep("spool", figures)


def _on_disk(folder: Path, count: int, batch: int) -> None:
    with Spool(folder / "spool.db", _LIMIT) as spool:
        _through(spool, count, batch)
    _away(folder)


def _in_memory_first(folder: Path, count: int, batch: int) -> None:
    now = [0.0]
    with MemoryFirst(folder / "spool.db", _LIMIT, window_s=30.0, most=1024, clock=lambda: now[0]) as spool:
        _through(spool, count, batch)
    _away(folder)


def _through(spool: Spool, count: int, batch: int) -> None:
    for _ in range(count // batch):
        spool.put([os.urandom(_BODY_BYTES) for _ in range(batch)])
        spool.keep()
        spool.settle([number for number, _ in spool.peek(batch)], spool.name)


def _plain_file(folder: Path, count: int, batch: int) -> None:
    with (folder / "plain").open("ab", buffering=0) as file:
        for _ in range(count // batch):
            file.write(b"".join(os.urandom(_BODY_BYTES) for _ in range(batch)))
            os.fdatasync(file.fileno())
    _away(folder)


_TURNS: dict[str, Callable[[Path, int, int], None]] = {
    "spool": _on_disk, "spool, memory-first": _in_memory_first, "plain file": _plain_file}


def _away(folder: Path) -> None:
    for path in folder.glob("[ps]*"):
        path.unlink()


def _counted(device: str | None, work: Callable[[], None]) -> tuple[int, int | None]:
    """Bytes this process had written while it worked, and those that reached the device, of either None if unknown."""
    os.sync()
    before, given = _asked(), _given(device)
    work()
    os.sync()
    after = _given(device)
    return _asked() - before, None if given is None or after is None else after - given


def _asked() -> int:
    rows = dict(line.split(": ") for line in Path("/proc/self/io").read_text("utf-8").splitlines())
    return int(rows["write_bytes"])


def _given(device: str | None) -> int | None:
    if device is None:
        return None
    return 512 * int((Path("/sys/block") / Path(device).name / "stat").read_text("utf-8").split()[6])


@contextmanager
def _own_disk(folder: Path) -> Iterator[str | None]:
    """Ext4 on a loop device, as on flash but for the flash; None where it cannot be had."""
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(256 << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", image], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", "loop,noatime", image, folder], check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        print("no filesystem of its own can be mounted here; bytes are those that this process asked for",
              file=sys.stderr)
        yield None
        return
    try:
        found = subprocess.run(["findmnt", "-no", "SOURCE", folder], check=True, capture_output=True, text=True)
        yield found.stdout.strip()
    finally:
        subprocess.run(["umount", folder], check=True)


if __name__ == "__main__":
    main()
