"""Which records were stored and are no more: a table of the journal, asked where it lies and held in no memory.

Neighbours are one row, so a spool that came whole and went takes one. A row remains for each run of numbers between
others that never came; a device that leaves out every second number makes one for each sighting it sent, for good. So
a device has at most `MOST`: beyond, the older half of the numbers of each spool counts as gone with those between,
which no spool of its size can hold any more, since it drops its oldest first. One that makes up spools has some of
them forgotten: what it sends of those again is stored again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterable

from cmnas_edge.collector.store.ranges import Range

__all__ = ["MOST", "gone_of", "note_gone"]

_log = logging.getLogger("cmnas.collector")
MOST = 2**18        # rows of a device: 10 MiB


def gone_of(db: sqlite3.Connection, device: str, spool: str, numbers: Collection[int]) -> set[int]:
    """Which of some numbers are gone."""
    newest = db.execute("SELECT last FROM gone WHERE device = ? AND spool = ? ORDER BY first DESC LIMIT 1",
                        (device, spool)).fetchone()
    if newest is None or newest[0] < min(numbers, default=0):   # as almost always
        return set()
    return {number for number in numbers if (run := _at(db, device, spool, number)) is not None and run[1] >= number}


def note_gone(db: sqlite3.Connection, ranges: Iterable[Range]) -> None:
    """Take records as gone, within a transaction of the caller's."""
    devices = set()
    for device, spool, own_first, own_last in ranges:
        devices.add(device)
        first, last = own_first, own_last
        if (before := _at(db, device, spool, first)) is not None and before[1] >= first - 1:
            first, last = before[0], max(before[1], last)
        (after,) = db.execute("SELECT max(last) FROM gone WHERE device = ? AND spool = ? AND first BETWEEN ? AND ?",
                              (device, spool, first, _next(last))).fetchone()
        db.execute("DELETE FROM gone WHERE device = ? AND spool = ? AND first BETWEEN ? AND ?",
                   (device, spool, first, _next(last)))
        db.execute("INSERT INTO gone VALUES (?, ?, ?, ?)", (device, spool, first, max(last, after or 0)))
    for device in devices:
        if _count(db, device) > MOST:
            _fold(db, device)


def _at(db: sqlite3.Connection, device: str, spool: str, number: int) -> tuple[int, int] | None:
    """The last run that begins at a number or before."""
    found: tuple[int, int] | None = db.execute(
        "SELECT first, last FROM gone WHERE device = ? AND spool = ? AND first <= ? ORDER BY first DESC LIMIT 1",
        (device, spool, number)).fetchone()
    return found


def _next(number: int) -> int:
    return min(number + 1, 2**63 - 1)


def _count(db: sqlite3.Connection, device: str) -> int:
    return int(db.execute("SELECT count(*) FROM gone WHERE device = ?", (device,)).fetchone()[0])


def _fold(db: sqlite3.Connection, device: str) -> None:
    """Bring a device's rows to three quarters of `MOST` or fewer."""
    _log.warning("%s: so many numbers between those of its records never came that the oldest of them count as gone, "
                 "and are not stored if they come; look at what sends as this device, and at what it keeps back",
                 device)
    spools = db.execute("SELECT spool, count(*) FROM gone WHERE device = ? GROUP BY spool", (device,)).fetchall()
    for spool, count in spools:
        if count < 3:
            continue
        (middle,) = db.execute("SELECT first FROM gone WHERE device = ? AND spool = ? ORDER BY first LIMIT 1 OFFSET ?",
                               (device, spool, count // 2)).fetchone()
        older = "FROM gone WHERE device = ? AND spool = ? AND first < ?"
        (first, last), = db.execute(f"SELECT min(first), max(last) {older}", (device, spool, middle))
        db.execute(f"DELETE {older}", (device, spool, middle))
        db.execute("INSERT INTO gone VALUES (?, ?, ?, ?)", (device, spool, first, last))
    if (more := _count(db, device) - 3 * MOST // 4) > 0:
        db.execute("DELETE FROM gone WHERE device = ? AND spool IN (SELECT spool FROM gone WHERE device = ? "
                   "GROUP BY spool ORDER BY count(*) LIMIT ?)", (device, device, more))
