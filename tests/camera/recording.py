"""What a process asked of the disk, by strace, and every disk that a power cut in between may leave.

A file's bytes are sure to be there once it was synced after they were written. Of what was
written since, any part may be there, in sectors of 512 bytes, whatever the order it was
written in: a disk's cache promises no more.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Event", "File", "left_behind", "recorded"]

_SECTOR = 512
_CALL = re.compile(r'^\d+ +(\w+)\(\d+<([^>]*)>(?:, (?:"([^"]*)"|(\d+)))?(?:, (\d+))?(?:, (\d+))?\)\s+= (\d+)')
_UNLINK = re.compile(r'^\d+ +unlink\("([^"]*)"\)\s+= 0')


@dataclass(frozen=True)
class Event:
    """One thing a process did.

    Attributes:
        kind: ``"write"``, ``"sync"``, ``"cut"`` (to a length), ``"unlink"``, or ``"said"`` to its standard output.
        name: Of the file; empty: the folder's own, synced with what was made and unlinked in it.
        at: Where it was written, or the new length.
        data: What was written or said.
    """

    kind: str
    name: str
    at: int = 0
    data: bytes = b""


def recorded(words: Sequence[str], folder: Path, cwd: Path) -> list[Event]:
    """Run a program to its end; returns what it did to the files of a folder, and said, in order."""
    trace = folder.with_name(folder.name + ".strace")
    subprocess.run(["strace", "-f", "-y", "-xx", "-s", "1000000", "-o", trace, "-e",
                    "trace=write,pwrite64,fsync,fdatasync,ftruncate,unlink", *words],
                   cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return list(_events(trace, folder))


def _events(trace: Path, folder: Path) -> Iterator[Event]:
    with trace.open(encoding="utf-8") as lines:
        for line in lines:
            assert "<unfinished" not in line, "the program must have one thread"
            if gone := _UNLINK.match(line):
                path = Path(_bytes(gone[1]).decode())
                if path.parent == folder:
                    yield Event("unlink", path.name)
                continue
            if (call := _CALL.match(line)) is None:
                continue
            name, path = call[1], Path(_bytes(call[2]).decode())
            if name == "write" and line.split("(", 1)[1].startswith("1<"):
                yield Event("said", "", data=_bytes(call[3]))
            elif path == folder and name in ("fsync", "fdatasync"):
                yield Event("sync", "")
            elif path.parent == folder:
                if name in ("fsync", "fdatasync"):
                    yield Event("sync", path.name)
                elif name == "ftruncate":
                    yield Event("cut", path.name, int(call[4]))
                elif name == "pwrite64":
                    data = _bytes(call[3])
                    assert len(data) == int(call[5]) == int(call[7])
                    yield Event("write", path.name, int(call[6]), data)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class File:
    """A file as it surely is, and what happened to it since."""

    sure: bytearray = field(default_factory=bytearray)
    since: list[Event] = field(default_factory=list)
    is_gone: bool = False   # perhaps: its folder was not synced

    def apply(self, event: Event) -> None:
        """Do it."""
        if event.kind == "cut":
            del self.sure[event.at:]
            self.sure.extend(bytes(event.at - len(self.sure)))
        else:
            if len(self.sure) < event.at:
                self.sure.extend(bytes(event.at - len(self.sure)))
            self.sure[event.at:event.at + len(event.data)] = event.data

    def perhaps(self, rng: random.Random) -> bytes:
        """As a power cut may leave it."""
        kept = File(bytearray(self.sure))
        share = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        pieces = [piece for event in self.since for piece in _sectors(event) if rng.random() < share]
        if rng.random() < 0.5:
            rng.shuffle(pieces)
        for piece in pieces:
            kept.apply(piece)
        return bytes(kept.sure)


def _sectors(event: Event) -> Iterator[Event]:
    if event.kind == "cut":
        yield event
        return
    at = event.at
    while at < event.at + len(event.data):
        end = min(event.at + len(event.data), (at // _SECTOR + 1) * _SECTOR)
        yield Event("write", event.name, at, event.data[at - event.at:end - event.at])
        at = end


def left_behind(events: Sequence[Event], cut: int, rng: random.Random) -> dict[str, bytes]:
    """The files after a power cut between two events, before the one of that number."""
    files: dict[str, File] = {}
    for event in events[:cut]:
        if event.kind == "said":
            continue
        if not event.name:
            files = {name: file for name, file in files.items() if not file.is_gone}
            continue
        file = files.setdefault(event.name, File())
        if file.is_gone:
            file = files[event.name] = File()
        if event.kind == "unlink":
            file.is_gone = True
        elif event.kind == "sync":
            for pending in file.since:
                file.apply(pending)
            file.since.clear()
        else:
            file.since.append(event)
    return {name: file.perhaps(rng) for name, file in files.items() if not file.is_gone or rng.random() < 0.5}
