"""One thing the doctor looked at: how it is, what was found, and what would mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from cmnas_edge import log
from cmnas_edge.errors import CmnasError

__all__ = ["Finding", "examined", "fault", "fine", "note"]

State = Literal["fine", "note", "fault"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What came of looking at one thing.

    Attributes:
        subject: What was looked at.
        state: ``fine``; ``note``, which this device can do without; or ``fault``, which it cannot.
        found: In words, without secrets.
        fix: The step that would change it; empty where nothing needs to change.
        exit_code: Of a command that would fail on a fault; 0 otherwise.
    """

    subject: str
    state: State
    found: str
    fix: str = ""
    exit_code: int = 0


def fine(subject: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(subject=subject, state="fine", found=log.scrub(found))


def note(subject: str, found: str, fix: str) -> Finding:
    """Missing, and not missed unless somebody wants it."""
    return Finding(subject=subject, state="note", found=log.scrub(found), fix=log.scrub(fix))


def fault(subject: str, error: CmnasError) -> Finding:
    """A sentence of ours taken apart: its last part is what to do."""
    found, _, fix = log.scrub(str(error)).rpartition("; ")
    return Finding(subject=subject, state="fault", found=found or fix, fix=fix if found else "",
                   exit_code=error.exit_code)


def examined(subject: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Give what a look finds; one that fails is a fault, and the looks after it go on."""
    try:
        yield from look()
    except CmnasError as error:
        yield fault(subject, error)
