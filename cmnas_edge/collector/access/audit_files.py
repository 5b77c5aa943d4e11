"""The files of an audit log: the one that is written, those that are full, and how far the log is.

``audit.log`` is written until it is large or old; then it becomes ``audit-000000000001.log``, by the number of its
first entry, is never written again, and the next one begins where it ends: the chain of digests goes on from file to
file.
``audit.head`` holds the number and digest of the last entry of all.
"""

from __future__ import annotations

import fcntl
import os
import re
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from cmnas_edge.collector.access.audit_entry import LONGEST, NOTHING, Entry, decoded, digest
from cmnas_edge.errors import ConfigError, unwritable
from cmnas_edge.private import hand_to_folders_owner, to_disk

__all__ = ["AuditFiles", "Head", "Tail"]

_FULL = re.compile(r"audit-(\d{12})\.log")
_MOST_STARTS = 8    # files whose lines' places are remembered


class Head(NamedTuple):
    """The last entry: its number, and what it hashes to."""

    number: int
    digest: str


class Tail(NamedTuple):
    """How a file ends: its last entry and what that hashes to, if it has one, and what stands behind, which is none."""

    entry: Entry | None
    digest: str
    rest: bytes


class AuditFiles:
    """The files in one folder. Whoever writes or lists them is `alone` meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.current = folder / "audit.log"
        self._folder = folder
        self._head_path = folder / "audit.head"
        self._lock_path = folder / "audit.lock"
        # By its first line, since a deleted file's inode may be given to the next: scanned so far, where lines begin.
        self._starts: dict[bytes, tuple[int, array[int]]] = {}

    def full(self) -> list[Path]:
        """Files that are written no more, the oldest first."""
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        return sorted(path for path in found if _FULL.fullmatch(path.name))

    def every(self) -> list[Path]:
        """All files that are there, the oldest first."""
        return [*self.full(), *([self.current] if self.current.exists() else [])]

    def first(self, path: Path) -> int:
        """The number that a full file's name says its first entry has; of the current one, 0."""
        found = _FULL.fullmatch(path.name)
        return int(found[1]) if found else 0

    def fill(self, first: int) -> bool:
        """End the current file, whose first entry is of this number; false where that cannot be, and it is written on.

        It cannot under ``chattr +a``, or where somebody put a file in its place.
        """
        to = self._folder / f"audit-{first:012d}.log"
        try:
            if to.exists():
                return False
            self.current.rename(to)
            self.sync()
        except OSError:
            return False
        return True

    def sync(self) -> None:
        """Have the names of files on the disk, too."""
        to_disk(self._folder)

    def tail(self, log: int) -> Tail:
        """Read how an open file ends."""
        size = os.fstat(log).st_size
        start = max(0, size - 2 * LONGEST)
        lines, rest = os.pread(log, size - start, start).splitlines(keepends=True), b""
        while lines:
            line = lines.pop()
            if line.endswith(b"\n") and (entry := decoded(line)) is not None:
                return Tail(entry, digest(line[:-1]), rest)
            rest = line + rest
        return Tail(None, "", rest)

    def head(self) -> Head:
        """How far the log was when it was last written.

        Raises:
            ConfigError: Something else stands there.
        """
        try:
            number, _, found = self._head_path.read_text("ascii").strip().partition(" ")
            return Head(int(number), found)
        except FileNotFoundError:
            return Head(0, NOTHING)
        except (OSError, ValueError):
            raise ConfigError(f"{self._head_path}: expected the number and digest of the audit log's last entry, found "
                              "something else; look who changed it, then move it away") from None

    def set_head(self, head: Head) -> None:
        """Write how far the log is; not waited for but at first: it may lag after a power cut, and never runs ahead."""
        handle = os.open(self._head_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            for made in (self.current, self._head_path):
                hand_to_folders_owner(made)
            begins = not os.fstat(handle).st_size
            os.pwrite(handle, f"{head.number:020d} {head.digest}\n".encode(), 0)
            if begins:      # a power cut leaves a new file empty, which would pass for one that somebody changed
                os.fsync(handle)
        finally:
            os.close(handle)

    def starts(self, log: IO[bytes]) -> array[int]:
        """Where each whole line of an open file begins; what was written since the last look is looked at."""
        log.seek(0)
        first = log.readline()
        at, starts = self._starts.pop(first, (0, array("Q")))
        if at > os.fstat(log.fileno()).st_size:     # somebody cut it
            at, starts = 0, array("Q")
        log.seek(at)
        for line in log:
            if not line.endswith(b"\n"):
                break
            starts.append(at)
            at += len(line)
        self._starts[first] = at, starts
        if len(self._starts) > _MOST_STARTS:
            del self._starts[next(iter(self._starts))]
        return starts

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from writing meanwhile."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            hand_to_folders_owner(self._lock_path)
        except OSError as error:
            raise unwritable(self._lock_path, "a lock", error, "correct data or its mode", kind="a file") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def opened(self, flags: int) -> Iterator[int]:
        """Open the current file."""
        try:
            handle = os.open(self.current, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise unwritable(self.current, "the audit log", error, "nothing was done: correct its mode",
                             kind="a file") from None
        try:
            yield handle
        finally:
            os.close(handle)

    def read(self, path: Path) -> IO[bytes]:
        """Open a file to read it.

        Raises:
            ConfigError: It cannot be read.
        """
        try:
            return path.open("rb")
        except OSError as error:
            raise ConfigError(f"{path}: expected the audit log, found {error.strerror}; correct its mode") from None
