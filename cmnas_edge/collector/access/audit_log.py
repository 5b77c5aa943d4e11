"""Who asked what, when and why: a file that only grows, each line holding on to the one before.

A line is JSON and carries the SHA-256 of the line before it, so that a line which was changed, removed or put
in breaks the chain behind it. What was cut off at the end is noticed by ``audit.head``, which says how
far the log was. Against somebody who may write both files and knows how they are made, only a head
that is kept elsewhere helps: the collector logs it at every start, and `AuditLog.check` takes one.

An entry is on the disk before the answer that it is about leaves: no entry, no answer. The running
collector and commands may write at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from cmnas_edge.errors import ConfigError, unwritable
from cmnas_edge.private import hand_to_folders_owner

__all__ = ["KINDS", "AuditLog", "Check", "Entry", "Kind"]

Kind = Literal["log-in", "log-in refused", "log-out", "search", "export", "erasure", "decision", "audit log", "people",
               "devices", "calibration", "torn"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_NOTHING = "0" * 64
_LONGEST = 1 << 20      # bytes of a line; what is asked is at most 256 KiB


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line.

    ``at`` is in epoch seconds; ``who`` as enrolled, empty where nobody is, or the user of a command; ``origin`` the
    address asked from, or ``command``; ``before`` the SHA-256 of the line before.
    """

    number: int
    at: float
    kind: Kind
    who: str
    role: str
    origin: str
    asked: dict[str, Any]
    reason: str
    before: str


class Head(NamedTuple):
    """The last entry: its number, and what it hashes to."""

    number: int
    digest: str


class Check(NamedTuple):
    """What a look through the whole log found. ``torn``: how often a crash left half a line, which is no fault."""

    last: int
    digest: str
    faults: list[str]
    torn: int


class AuditLog:
    """Appends entries and reads them back; any thread and several processes may use it.

    Args:
        folder: The collector's data.
        clock: Epoch seconds.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / "audit.log"
        self._head_path = folder / "audit.head"
        self._lock_path = folder / "audit.lock"
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int] = (0, -1)   # inode and size of the file as we left it
        self._number, self._before = 0, _NOTHING
        self._starts = array("Q")               # where each whole line begins; made when pages are asked for
        self._scanned: tuple[int, int] = (0, 0)

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
        with self._lock, self._alone(), self._open(os.O_RDWR | os.O_APPEND | os.O_CREAT) as log:
            self._catch_up(log)
            self._append(log, Entry(self._number + 1, self._clock(), kind, who, role, origin, dict(asked), reason,
                                    self._before))

    def check(self, expected: tuple[int, str] | None = None) -> Check:
        """Read the whole log and hold every line against the one before; others may write meanwhile.

        Args:
            expected: Number and SHA-256 of a line, noted earlier elsewhere.
        """
        faults: list[str] = []
        number, before, torn, pending = 0, _NOTHING, 0, b""
        seen = expected is None
        with self._lock, self._alone():
            head = self._head()
            size = self._path.stat().st_size if self._path.exists() else 0
        for line in self._lines(size):
            entry = _decoded(line)
            if entry is None or not line.endswith(b"\n"):
                pending += line
                continue
            if pending:
                if entry.kind == "torn" and entry.asked == _half(pending):
                    torn += 1
                else:
                    faults.append(f"after entry {number}: expected an entry, found a line that is none: it was changed")
                pending = b""
            if entry.number != number + 1:
                faults.append(f"expected entry {number + 1} after entry {number}, found entry {entry.number}: some "
                              "were removed or put in")
            elif entry.before != before:
                faults.append(f"entry {entry.number}: expected it to hold on to entry {number} as it stands, found "
                              "another: one of the two was changed")
            number, before = entry.number, _digest(line[:-1])
            seen = seen or (number, before) == expected
            if number == head.number and before != head.digest:
                faults.append(f"entry {number}: expected it as it was written, found it changed")
        if number < head.number:
            faults.append(f"expected entries up to {head.number}, found the last to be {number}: the end was cut off")
        if expected is not None and not seen:
            faults.append(f"entry {expected[0]}: expected the one that was noted, {expected[1][:16]}, found another or "
                          "none: it or one before it was changed")
        return Check(number, before, faults, torn + bool(pending))

    def page(self, *, before: int | None = None, limit: int = 100) -> list[Entry]:
        """Read entries, the newest first.

        Args:
            before: Only those of a lower number.
            limit: At most so many.
        """
        found: list[Entry] = []
        with self._lock:
            try:
                log = self._path.open("rb")
            except FileNotFoundError:
                return []
            except OSError as error:
                raise self._unreadable(error) from None
            with log:
                self._scan(log)
                # Torn lines make a line's place run ahead of its number; numbers are what counts.
                place = len(self._starts) - 1
                while place >= 0 and len(found) < limit:
                    log.seek(self._starts[place])
                    entry = _decoded(log.readline(_LONGEST))
                    place -= 1
                    if entry is None:
                        continue
                    if before is not None and entry.number >= before:
                        place = min(place, max(-1, place - (entry.number - before)))
                        continue
                    found.append(entry)
        return found

    def _append(self, log: int, entry: Entry, *, first: bytes = b"") -> None:
        line = msgspec.json.encode(entry)
        assert len(line) < _LONGEST
        rest = first + line + b"\n"
        self._seen = (0, -1)    # if it fails, half a line may stand there
        try:
            while rest:
                rest = rest[os.write(log, rest):]
            os.fsync(log)
            found = os.fstat(log)
            # Behind the line and not waited for: it may lag after a power cut, and never runs ahead.
            head = os.open(self._head_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                for made in (self._path, self._head_path):
                    hand_to_folders_owner(made)
                os.pwrite(head, f"{entry.number:020d} {_digest(line)}\n".encode(), 0)
            finally:
                os.close(head)
        except OSError as error:
            raise unwritable(self._path, "what is to be done to be noted", error, "nothing was done: correct its mode",
                             kind="a file") from None
        self._number, self._before = entry.number, _digest(line)
        self._seen = (found.st_ino, found.st_size)

    def _catch_up(self, log: int) -> None:
        """Know the last entry, whoever wrote it; of what a crash left half written, say so in an entry of its own."""
        found = os.fstat(log)
        if (found.st_ino, found.st_size) == self._seen:
            return
        start = max(0, found.st_size - 2 * _LONGEST)
        lines = os.pread(log, found.st_size - start, start).splitlines(keepends=True)
        rest = b""
        self._number, self._before = self._head()   # if the log was taken away, numbers go on, and the gap shows
        while lines:
            line = lines.pop()
            entry = _decoded(line) if line.endswith(b"\n") else None
            if entry is not None:
                self._number, self._before = entry.number, _digest(line[:-1])
                break
            rest = line + rest
        if rest:
            whole = _decoded(rest)
            if whole is not None and (whole.number, whole.before) == (self._number + 1, self._before):
                os.write(log, b"\n")                # only its end was missing
                self._number, self._before = whole.number, _digest(rest)
            else:
                self._append(log, Entry(self._number + 1, self._clock(), "torn", "", "", "command", _half(rest),
                                        "half written when it crashed; what it was about was not done", self._before),
                             first=b"" if rest.endswith(b"\n") else b"\n")
        found = os.fstat(log)
        self._seen = (found.st_ino, found.st_size)

    def _lines(self, size: int) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as log:
                while log.tell() < size and (line := log.readline()):
                    yield line
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreadable(error) from None

    def _scan(self, log: Any) -> None:
        """Find where lines begin that were written since the last look."""
        inode = os.fstat(log.fileno()).st_ino
        if inode != self._scanned[0]:
            self._starts, self._scanned = array("Q"), (inode, 0)
        at = self._scanned[1]
        log.seek(at)
        for line in log:
            if not line.endswith(b"\n"):
                break
            self._starts.append(at)
            at += len(line)
        self._scanned = (inode, at)

    def _head(self) -> Head:
        try:
            number, _, digest = self._head_path.read_text("ascii").strip().partition(" ")
            return Head(int(number), digest)
        except FileNotFoundError:
            return Head(0, _NOTHING)
        except (OSError, ValueError):
            raise ConfigError(f"{self._head_path}: expected the number and digest of the audit log's last entry, found "
                              "something else; look who changed it, then move it away") from None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from writing meanwhile."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            hand_to_folders_owner(self._lock_path)
        except OSError as error:
            raise unwritable(self._lock_path, "a lock", error, "correct data or its mode", kind="a file") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _open(self, flags: int) -> Iterator[int]:
        try:
            handle = os.open(self._path, flags | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unwritable(self._path, "the audit log", error, "nothing was done: correct its mode",
                             kind="a file") from None
        try:
            yield handle
        finally:
            os.close(handle)

    def _unreadable(self, error: OSError) -> ConfigError:
        return ConfigError(f"{self._path}: expected the audit log, found {error.strerror}; correct its mode")


def _decoded(line: bytes) -> Entry | None:
    try:
        return msgspec.json.decode(line, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _half(rest: bytes) -> dict[str, Any]:
    """What an entry says of bytes that are no line."""
    rest = rest.removesuffix(b"\n")
    return {"bytes": len(rest), "sha256": _digest(rest)}
