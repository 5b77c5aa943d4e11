"""Who asked what, when and why: a log that only grows, each line holding on to the one before.

A line that was changed, removed or put in breaks the chain of digests behind it
(`cmnas_edge.collector.access.audit_entry`). What was cut off at the end is noticed by ``audit.head``, which says how
far the log was. Against somebody who may write the files and knows how they are made, only a head
that is kept elsewhere helps: the collector logs it at every start, and `AuditLog.check` takes one.

An entry is on the disk before the answer that it is about leaves: no entry, no answer. The running
collector and commands may write at once. What is older than it is to be kept goes, file by file, the log
itself says what went, and the chain still proves the rest.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from cmnas_edge.collector.access.audit_check import Check, check
from cmnas_edge.collector.access.audit_entry import KINDS, LONGEST, Entry, Kind, decoded, digest, half
from cmnas_edge.collector.access.audit_files import AuditFiles, Head
from cmnas_edge.errors import CmnasError, unwritable

__all__ = ["KINDS", "AuditLog", "Check", "Entry", "Kind"]

_log = logging.getLogger("cmnas.collector")
FILE_BYTES = 32 << 20       # a file that is so large, or whose first entry is so old, is full
FILE_S = 30 * 86400.0
_TURN_S = 3600.0


class AuditLog:
    """Appends entries and reads them back; any thread and several processes may use it.

    Args:
        folder: The collector's data.
        keep_s: Entries are kept for so long, and until the file that they are in is over; None: for good.
        file_bytes: Of a file that is full.
        clock: Epoch seconds.
    """

    def __init__(self, folder: Path, *, keep_s: float | None = None, file_bytes: int = FILE_BYTES,
                 clock: Callable[[], float] = time.time) -> None:
        self._files = AuditFiles(folder)
        self._keep_s = keep_s
        self._file_bytes = file_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int] = (0, -1)   # inode and size of the current file as we left it
        self._head = Head(0, "")
        self._began: Entry | None = None        # the current file's first entry
        self._turned_at = float("-inf")

    def add(self, kind: Kind, *, who: str, asked: Mapping[str, Any], role: str = "", origin: str = "command",
            reason: str = "") -> None:
        """Write one entry; it is on the disk when this returns.

        Args:
            kind: What was done.
            who: By whom.
            asked: What of; numbers, words and lists of them, never a vector.
            role: Theirs.
            origin: The address they asked from, or ``command``.
            reason: As given.

        Raises:
            ConfigError: It cannot be written; what it is about must not be done.
            DiskFull: There is no room; the same.
        """
        with self._lock, self._files.alone():
            self._write(kind, who, role, origin, asked, reason)

    def check(self, expected: tuple[int, str] | None = None) -> Check:
        """Read the whole log and hold every line against the one before; others may write meanwhile.

        Args:
            expected: Number and SHA-256 of an entry, noted earlier elsewhere.
        """
        with contextlib.ExitStack() as kept:
            with self._lock, self._files.alone():
                head = self._files.head()
                # Open before anybody renames or removes one; and no further than they are now.
                logs = [kept.enter_context(self._files.read(path)) for path in self._files.every()]
                sizes = [os.fstat(log.fileno()).st_size for log in logs]
            return check((line for log, size in zip(logs, sizes, strict=True) for line in _lines(log, size)), head,
                         expected)

    def lines(self) -> Iterator[bytes]:
        """Every line as it stands, the oldest first."""
        with contextlib.ExitStack() as kept:
            with self._lock, self._files.alone():
                logs = [kept.enter_context(self._files.read(path)) for path in self._files.every()]
            for log in logs:
                yield from log

    def page(self, *, before: int | None = None, limit: int = 100) -> list[Entry]:
        """Read entries, the newest first.

        Args:
            before: Only those of a lower number.
            limit: At most so many.
        """
        found: list[Entry] = []
        if not self._files.every():
            return found
        with self._lock, self._files.alone():
            for path in reversed(self._files.every()):
                if before is not None and self._files.first(path) >= before:
                    continue
                with self._files.read(path) as log:
                    found += self._page(log, before, limit - len(found))
                if len(found) >= limit:
                    break
        return found

    def turn(self) -> None:
        """Let go of what is kept no longer; once an hour, however often it is called. If it cannot, it tries again."""
        if self._keep_s is None or not self._clock() - self._turned_at >= _TURN_S:
            return
        self._turned_at = self._clock()
        try:
            with self._lock, self._files.alone():
                self._let_go(self._turned_at - self._keep_s)
        except (CmnasError, OSError) as error:
            _log.warning("audit log: what is kept no longer cannot be let go of: %s", error)

    def _let_go(self, until: float) -> None:
        """Remove the files whose last entry is older than ``until``, once an entry says so."""
        if self._files.current.exists():
            with self._files.opened(os.O_RDWR | os.O_APPEND) as log:
                self._catch_up(log)
                last = self._files.tail(log).entry
            if last is not None and last.at < until and self._began is not None:
                self._fill(self._began)
        over: list[Path] = []
        end = None
        for path in self._files.full():
            with self._files.read(path) as full:
                found = self._files.tail(full.fileno())
            if found.entry is None or found.entry.at >= until:
                break
            over.append(path)
            end = found
        if end is None or end.entry is None:
            return
        first = self._files.first(over[0])
        self._write("let go", "", "", "command", {"first": first, "last": end.entry.number, "digest": end.digest},
                    "kept no longer, as access.audit_days says")
        for path in over:
            path.unlink()
        self._files.sync()
        _log.info("audit log: entries %d to %d are kept no longer", first, end.entry.number)

    def _write(self, kind: Kind, who: str, role: str, origin: str, asked: Mapping[str, Any], reason: str) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        with self._files.opened(flags) as log:
            self._catch_up(log)
            began, size = self._began, os.fstat(log).st_size
            entry = Entry(self._head.number + 1, self._clock(), kind, who, role, origin, dict(asked), reason,
                          self._head.digest)
            over = began is not None and (size >= self._file_bytes or entry.at - began.at >= FILE_S)
            if began is None or not (over and self._fill(began)):
                self._append(log, entry)
                return
        with self._files.opened(flags) as log:      # the next file
            self._append(log, entry)

    def _fill(self, began: Entry) -> bool:
        if not self._files.fill(began.number):
            return False
        self._seen, self._began = (0, -1), None
        return True

    def _append(self, log: int, entry: Entry, *, first: bytes = b"") -> None:
        line = msgspec.json.encode(entry)
        assert len(line) < LONGEST
        rest = first + line + b"\n"
        fresh = os.fstat(log).st_size == 0
        self._seen = (0, -1)    # if it fails, half a line may stand there
        try:
            while rest:
                rest = rest[os.write(log, rest):]
            os.fsync(log)
            if fresh:
                self._files.sync()
            found = os.fstat(log)
            self._files.set_head(Head(entry.number, digest(line)))
        except OSError as error:
            raise unwritable(self._files.current, "what is to be done to be noted", error,
                             "nothing was done: correct its mode", kind="a file") from None
        self._head = Head(entry.number, digest(line))
        self._began = self._began or entry
        self._seen = (found.st_ino, found.st_size)

    def _catch_up(self, log: int) -> None:
        """Know the last entry, whoever wrote it; of what a crash left half written, say so in an entry of its own."""
        found = os.fstat(log)
        if (found.st_ino, found.st_size) == self._seen:
            return
        tail = self._files.tail(log)
        self._began = decoded(os.pread(log, LONGEST, 0).partition(b"\n")[0]) or tail.entry
        self._head = Head(tail.entry.number, tail.digest) if tail.entry is not None else self._before_current()
        if rest := tail.rest:
            whole = decoded(rest)
            if whole is not None and (whole.number, whole.before) == (self._head.number + 1, self._head.digest):
                os.write(log, b"\n")                # only its end was missing
                self._head = Head(whole.number, digest(rest))
                self._began = self._began or whole
            else:
                self._append(log, Entry(self._head.number + 1, self._clock(), "torn", "", "", "command", half(rest),
                                        "half written when it crashed; what it was about was not done",
                                        self._head.digest), first=b"" if rest.endswith(b"\n") else b"\n")
        found = os.fstat(log)
        self._seen = (found.st_ino, found.st_size)

    def _before_current(self) -> Head:
        """Where the current file begins: behind the last full one, or, where files were taken away, behind the head."""
        for path in reversed(self._files.full()):
            with self._files.read(path) as full:
                found = self._files.tail(full.fileno())
            if found.entry is not None:
                return max(Head(found.entry.number, found.digest), self._files.head())
        return self._files.head()   # so numbers go on, and the gap shows

    def _page(self, log: IO[bytes], before: int | None, limit: int) -> list[Entry]:
        starts = self._files.starts(log)
        found: list[Entry] = []
        # Torn lines make a line's place run ahead of its number; numbers are what counts.
        place = len(starts) - 1
        while place >= 0 and len(found) < limit:
            log.seek(starts[place])
            entry = decoded(log.readline(LONGEST))
            place -= 1
            if entry is None:
                continue
            if before is not None and entry.number >= before:
                place = min(place, max(-1, place - (entry.number - before)))
                continue
            found.append(entry)
        return found


def _lines(log: IO[bytes], size: int) -> Iterator[bytes]:
    while log.tell() < size and (line := log.readline()):
        yield line
