"""Whether an audit log is as it was written: every line held against the one before, from file to file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cmnas_edge.collector.access.audit_entry import NOTHING, Entry, decoded, digest, half
from cmnas_edge.collector.access.audit_files import Head

__all__ = ["Check", "check"]


class Check(NamedTuple):
    """What a look through the whole log found.

    Attributes:
        last: Number of the last entry.
        digest: What that hashes to.
        faults: What was changed or removed.
        torn: How often a crash left half a line, which is no fault.
        let_go: So many of the first entries are kept no longer, as the log itself says.
    """

    last: int
    digest: str
    faults: list[str]
    torn: int
    let_go: int = 0


def check(lines: Iterable[bytes], head: Head, expected: tuple[int, str] | None = None) -> Check:
    """Hold every line against the one before.

    Args:
        lines: Of all files, with their ends, the oldest first.
        head: How far the log is.
        expected: Number and SHA-256 of an entry, noted earlier elsewhere.
    """
    faults: list[str] = []
    number, before, torn, pending = 0, NOTHING, 0, b""
    began: Head | None = None       # whom the first entry that is there holds on to
    gone: set[Head] = set()         # ends of what the log says is kept no longer
    seen = expected is None
    for line in lines:
        entry = decoded(line)
        if entry is None or not line.endswith(b"\n"):
            pending += line
            continue
        if pending:
            if entry.kind == "torn" and entry.asked == half(pending):
                torn += 1
            else:
                faults.append(f"after entry {number}: expected an entry, found a line that is none: it was changed")
            pending = b""
        if began is None:
            began = Head(entry.number - 1, entry.before)
            number, before = began
        if entry.number != number + 1:
            faults.append(f"expected entry {number + 1} after entry {number}, found entry {entry.number}: some "
                          "were removed or put in")
        elif entry.before != before:
            faults.append(f"entry {entry.number}: expected it to hold on to entry {number} as it stands, found "
                          "another: one of the two was changed")
        if entry.kind == "let go":
            gone.add(_end(entry))
        number, before = entry.number, digest(line[:-1])
        seen = seen or (number, before) == expected
        if number == head.number and before != head.digest:
            faults.append(f"entry {number}: expected it as it was written, found it changed")
    if began is not None and began not in {Head(0, NOTHING), *gone}:
        faults.insert(0, f"expected entry 1 after entry 0, found entry {began.number + 1}: those before it were "
                         "removed, and no entry says that they are kept no longer")
    if number < head.number:
        faults.append(f"expected entries up to {head.number}, found the last to be {number}: the end was cut off")
    let_go = 0 if began is None else began.number
    if expected is not None and not seen:
        faults.append(f"entry {expected[0]}: is kept no longer, so nobody can tell; hold a later one against it"
                      if began in gone and expected[0] <= let_go else
                      f"entry {expected[0]}: expected the one that was noted, {expected[1][:16]}, found another or "
                      "none: it or one before it was changed")
    return Check(number, before, faults, torn + bool(pending), let_go)


def _end(entry: Entry) -> Head:
    last, found = entry.asked.get("last"), entry.asked.get("digest")
    return Head(last, found) if isinstance(last, int) and isinstance(found, str) else Head(-1, "")
