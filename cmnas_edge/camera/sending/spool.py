"""What waits on the camera for the collector: a queue on disk, bounded in bytes.

SQLite in WAL mode with ``synchronous=FULL``: what `put` has returned for survives a power
cut. A record is (spool, sequence): the spool's name is drawn when its file is made, and a
sequence is never given twice, also after a crash or an emptied table, so the collector can
tell a repetition from a new record. Records that must give way are counted in gaps, which
travel to the collector and are settled there like records.

A gap counts what left without an answer. If an answer was lost on its way, the collector may
hold a record that a gap counts too; it never holds fewer than the numbers say.

A file that is damaged, or of a later release, is moved aside and said, and an empty spool of
another name takes its place, also in the middle of a run. Where the disk is read-only, memory
does until the next start.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType

from cmnas_edge.camera.sending import schema
from cmnas_edge.camera.sending.database import WAL_BYTES
from cmnas_edge.camera.sending.store import Store
from cmnas_edge.errors import Transient
from cmnas_edge.sighting import Gap

__all__ = ["MIN_BYTES", "OPEN_GAPS", "Spool"]

MIN_BYTES = 1 << 20
OPEN_GAPS = 16          # gaps handed out and not settled; what is lost meanwhile joins one more
_DROPPED_AT_ONCE = 16


class Spool:
    """A bounded queue that forgets a record only once it is answered for or displaced, and counts those.

    Safe to use from several threads. One process at a time: a lock file beside it says which.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        """Open, or make, a spool.

        Args:
            path: The database; ``-wal``, ``-shm`` and ``.lock`` lie beside it.
            limit_bytes: Most that database and write-ahead log take together, at least `MIN_BYTES`.

        Raises:
            ConfigError: Another daemon has it, it is another program's, or it cannot be made.
        """
        if limit_bytes < MIN_BYTES:
            raise ValueError(f"expected a limit of at least {MIN_BYTES} bytes, found {limit_bytes}")
        # The log may pass its limit by one transaction before it is cut back.
        self._store = Store(path, limit_bytes - 3 * WAL_BYTES)
        self._displaced_count = 0

    @property
    def name(self) -> str:
        """16 hexadecimal digits, of this file for good; another's when a damaged file was replaced."""
        return self._store.name

    @property
    def run(self) -> int:
        """A number no other opening has: 1 the first time, then 2; drawn while the disk is full."""
        return self._store.run

    @property
    def dropped_count(self) -> int:
        """Records displaced, or lost with a damaged file, since it was opened."""
        return self._displaced_count + self._store.lost_count

    @property
    def in_memory(self) -> bool:
        """Whether the disk is read-only, or was too full to begin, so that what is put outlives no restart."""
        return self._store.in_memory

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        """Records waiting."""
        return self._store.count

    def put(self, bodies: Sequence[bytes]) -> int:
        """Add records, in one transaction; the oldest give way if there is no room.

        Args:
            bodies: At least one.

        Returns:
            The sequence of the first; the others follow it.

        Raises:
            DiskFull: The disk has no room; nothing was added.
            Transient: The file turned out to be damaged and was replaced; nothing was added.
        """
        size = 3 * sum(map(len, bodies)) // 2   # rows fill pages badly
        with self._store.used() as db:
            self._store.see_room(db, size)
            with schema.begun(db):
                dropped = self._make_room(db, size)     # before, so that the file does not grow by what goes after
                for body in bodies:
                    db.execute("INSERT INTO record (body) VALUES (?)", (body,))
                last = schema.last_number(db)
                dropped += self._make_room(db, 0)
            self._store.count += len(bodies) - dropped
            self._displaced_count += dropped
            return last - len(bodies) + 1

    def lose(self, count: int) -> None:
        """Count records that could not even be put, so that the collector learns of them.

        Raises:
            DiskFull: There is no room for that either; try again.
            Transient: As `put`.
        """
        with self._store.used() as db, schema.begun(db):
            schema.lose(db, count)

    def peek(self, count: int, beside: Collection[int] = (), after: int = 0) -> list[tuple[int, bytes]]:
        """The oldest records after a number, at most ``count`` and none ``beside``, as (sequence, body); they stay."""
        with self._store.used() as db:
            rows = db.execute("SELECT sequence, body FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?",
                              (after, count + len(beside)))
            return list(itertools.islice((row for row in rows if row[0] not in beside), count))

    def gaps(self) -> list[Gap]:
        """Gaps to tell the collector, oldest first; from now on they stay as they are."""
        with self._store.used() as db:
            rows = db.execute("SELECT first, last, count, offered FROM gap WHERE first != ? ORDER BY first LIMIT ?",
                              (self._store.lent, OPEN_GAPS)).fetchall()
            if any(not offered for *_, offered in rows):
                with schema.begun(db):
                    db.execute("UPDATE gap SET offered = 1 WHERE first <= ? AND first != ?",
                               (rows[-1][0], self._store.lent))
            return [Gap(self.name, first, last, count) for first, last, count, _ in rows]

    def has_gaps(self) -> bool:
        """Whether the collector may still have to be told of a loss."""
        try:
            with self._store.used() as db:
                return db.execute("SELECT 1 FROM gap WHERE first != ?", (self._store.lent,)).fetchone() is not None
        except Transient:
            return True

    def settle(self, sequences: Iterable[int], name: str | None = None) -> int:
        """Forget records and gaps (by their ``last``) that the collector answered for.

        Args:
            sequences: Which.
            name: Of the spool they were sent from; nothing is forgotten if this is another by now.

        Returns:
            How many went.
        """
        gone = waiting = 0
        with self._store.used() as db:
            if name not in (None, self.name):
                return 0
            with schema.begun(db):
                for sequence in sequences:
                    waiting += db.execute("DELETE FROM record WHERE sequence = ?", (sequence,)).rowcount
                    gone += db.execute("DELETE FROM gap WHERE last = ? AND offered", (sequence,)).rowcount
            self._store.count -= waiting
            return gone + waiting

    def keep(self) -> None:
        """Put on disk what was in memory for long enough: nothing, since all of it is there.

        Raises:
            Transient: As `put`.
        """

    def last_number(self) -> int:
        """The highest sequence that was given, or lent; 0 before the first."""
        with self._store.used() as db:
            return schema.last_number(db)

    def lend(self, first: int, last: int, count: int, records: Iterable[tuple[int, bytes]] = ()) -> None:
        """Take numbers for records that may never reach the disk, in place of those lent before.

        They stand as a gap on disk, which is told only if this process ends without taking it back.

        Args:
            first: The lowest sequence that could be lost.
            last: The highest; none up to here is given again.
            count: How many of those may be lost; 0 takes all of it back.
            records: What was lent a number and goes on disk now, in the same transaction.

        Raises:
            Transient: As `put`.
        """
        records = list(records)
        size = 3 * sum(len(body) for _, body in records) // 2
        with self._store.used() as db:
            if records:
                self._store.see_room(db, size)
            with schema.begun(db):
                db.execute("DELETE FROM gap WHERE first = ?", (self._store.lent,))
                dropped = self._make_room(db, size)
                db.executemany("INSERT INTO record VALUES (?, ?)", records)
                schema.count_from(db, last)
                if count:
                    db.execute("INSERT INTO gap VALUES (?, ?, ?, 0)", (first, last, count))
                dropped += self._make_room(db, 0)
            self._store.lent = first if count else 0
            self._store.count += len(records) - dropped
            self._displaced_count += dropped

    def used_bytes(self) -> int:
        """Bytes of the database that hold something; what is beyond is reused."""
        with self._store.used() as db:
            return schema.used_bytes(db)

    def close(self) -> None:
        """Close; again is harmless."""
        self._store.close()

    def _make_room(self, db: sqlite3.Connection, size: int) -> int:
        """Drop the oldest records until this many bytes are free; returns how many went."""
        dropped = 0
        while schema.used_bytes(db) + size > self._store.limit_bytes:
            rows = [row[0] for row in db.execute("SELECT sequence FROM record ORDER BY sequence LIMIT ?",
                                                 (_DROPPED_AT_ONCE,))]
            if not rows:
                break
            db.execute("DELETE FROM record WHERE sequence <= ?", (rows[-1],))
            schema.widen(db, rows[0], rows[-1], len(rows))
            dropped += len(rows)
        return dropped

