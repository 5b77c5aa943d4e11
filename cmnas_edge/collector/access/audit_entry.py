"""One entry of the audit log: a line of JSON that carries the SHA-256 of the line before it."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, get_args

import msgspec

__all__ = ["KINDS", "LONGEST", "NOTHING", "Entry", "Kind", "decoded", "digest", "half"]

Kind = Literal["log-in", "log-in refused", "log-out", "search", "export", "erasure", "decision", "audit log", "people",
               "devices", "calibration", "let go", "torn"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NOTHING = "0" * 64      # before the first
LONGEST = 1 << 20       # bytes of a line; what is asked is at most 256 KiB


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line.

    ``at`` is in epoch seconds; ``who`` as enrolled, empty where nobody is, or the user of a command; ``origin`` the
    address asked from, or ``command``; ``before`` the SHA-256 of the line before. Of the kind ``let go``, ``asked``
    says which entries are kept no longer, and what the ``last`` of them hashed to.
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


def decoded(line: bytes) -> Entry | None:
    """Read a line; None if it is no entry."""
    try:
        return msgspec.json.decode(line, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def digest(line: bytes) -> str:
    """SHA-256 of a line without its end, as the next entry carries it."""
    return hashlib.sha256(line).hexdigest()


def half(rest: bytes) -> dict[str, Any]:
    """What an entry of the kind ``torn`` says of bytes that are no line."""
    rest = rest.removesuffix(b"\n")
    return {"bytes": len(rest), "sha256": digest(rest)}
