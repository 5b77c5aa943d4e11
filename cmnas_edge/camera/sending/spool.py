"""What waits on the camera for the collector: a queue on disk, bounded in bytes.

SQLite in WAL mode with ``synchronous=FULL``: what `put` has returned for survives a power
cut. A record is (spool, sequence): the spool's name is drawn when its file is made, and a
sequence is never given twice, also after a crash or an emptied table, so the collector can
tell a repetition from a new record. Records that must give way are counted in gaps, which
travel to the collector and are settled there like records.

A gap counts what left without an answer. If an answer was lost on its way, the collector may
hold a record that a gap counts too; it never holds fewer than the numbers say.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import secrets
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from cmnas_edge.errors import ConfigError, DiskFull, Transient
from cmnas_edge.sighting import Gap

__all__ = ["MIN_BYTES", "OPEN_GAPS", "Spool"]

MIN_BYTES = 1 << 20
OPEN_GAPS = 16          # gaps handed out and not settled; what is lost meanwhile joins one more
_WAL_BYTES = 256 << 10  # checkpointed beyond this, and cut back to it
_APPLICATION = 0x636D7370   # "cmsp", in the file's header: this is a spool
_SCHEMA = 1
_TABLES = (
    # AUTOINCREMENT keeps its counter in the file, so a deleted number does not come back.
    "CREATE TABLE record (sequence INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)",
    "CREATE TABLE gap (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, count INTEGER NOT NULL, offered INTEGER)",
    "CREATE TABLE spool (name TEXT NOT NULL, run INTEGER NOT NULL)",
)
_DROPPED_AT_ONCE = 16
_LEAST_DRAWN_RUN = 1 << 30


class Spool:
    """A bounded queue that forgets a record only once it is answered for or displaced, and counts those.

    Safe to use from several threads. One process at a time: a lock file beside it says which.

    Attributes:
        name: 16 hexadecimal digits, of this file for good.
        run: A number no other opening has: 1 the first time, then 2; drawn while the disk is full.
        dropped_count: Records displaced since it was opened.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        """Open, or make, a spool.

        Args:
            path: The database; ``-wal``, ``-shm`` and ``.lock`` lie beside it.
            limit_bytes: Most that database and write-ahead log take together, at least `MIN_BYTES`.

        Raises:
            ConfigError: Another daemon has it, it is damaged or no spool, or cannot be made.
            DiskFull: There is no room to make it.
        """
        if limit_bytes < MIN_BYTES:
            raise ValueError(f"expected a limit of at least {MIN_BYTES} bytes, found {limit_bytes}")
        self._path = path
        self._mutex = threading.Lock()
        self.dropped_count = 0
        self._lock = _take_lock(path)
        try:
            try:
                self._db = _open(path)
            except DiskFull:
                self._db = _open(path, alone=True)
            with self._translated():
                self._prepare()
                self._page_bytes = self._number("PRAGMA page_size")
                # The log may pass its limit by one transaction before it is cut back.
                self._limit_pages = (limit_bytes - 3 * _WAL_BYTES) // self._page_bytes
                self._count = self._number("SELECT COUNT(*) FROM record")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        """Records waiting."""
        return self._count

    def put(self, bodies: Sequence[bytes]) -> int:
        """Add records, in one transaction; the oldest give way if there is no room.

        Args:
            bodies: At least one.

        Returns:
            The sequence of the first; the others follow it.

        Raises:
            DiskFull: The disk has no room; nothing was added.
        """
        with self._transaction():
            # Before, so that the file does not grow by what goes after; rows fill pages badly.
            dropped = self._make_room(3 * sum(map(len, bodies)) // (2 * self._page_bytes))
            for body in bodies:
                self._db.execute("INSERT INTO record (body) VALUES (?)", (body,))
            last = self._number("SELECT seq FROM sqlite_sequence WHERE name = 'record'")
            dropped += self._make_room(0)
        self._count += len(bodies) - dropped
        self.dropped_count += dropped
        return last - len(bodies) + 1

    def lose(self, count: int) -> None:
        """Count records that could not even be put, so that the collector learns of them.

        Raises:
            DiskFull: There is no room for that either; try again.
        """
        with self._transaction():
            # A first record makes the counter's row; it is lost like the others.
            first = self._db.execute("INSERT INTO record (body) VALUES (x'')").lastrowid
            assert first is not None
            last = first + count - 1
            self._db.execute("DELETE FROM record WHERE sequence = ?", (first,))
            self._db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'record'", (last,))
            self._widen(first, last, count)

    def peek(self, count: int, beside: Collection[int] = ()) -> list[tuple[int, bytes]]:
        """The oldest records, at most ``count`` and none of those ``beside``, as (sequence, body); they stay."""
        with self._mutex, self._translated():
            rows = self._db.execute("SELECT sequence, body FROM record ORDER BY sequence LIMIT ?",
                                    (count + len(beside),))
            return list(itertools.islice((row for row in rows if row[0] not in beside), count))

    def gaps(self) -> list[Gap]:
        """Gaps to tell the collector, oldest first; from now on they stay as they are."""
        with self._mutex, self._translated():
            rows = self._db.execute("SELECT first, last, count, offered FROM gap ORDER BY first LIMIT ?",
                                    (OPEN_GAPS,)).fetchall()
        if any(not offered for *_, offered in rows):
            # The last may have grown since it was read; what is told is what is marked.
            with self._transaction():
                rows = self._db.execute("SELECT first, last, count, offered FROM gap ORDER BY first LIMIT ?",
                                        (OPEN_GAPS,)).fetchall()
                self._db.execute("UPDATE gap SET offered = 1 WHERE first <= ?", (rows[-1][0],))
        return [Gap(self.name, first, last, count) for first, last, count, _ in rows]

    def has_gaps(self) -> bool:
        """Whether the collector has still to be told of a loss."""
        with self._mutex, self._translated():
            return self._number("SELECT EXISTS (SELECT 1 FROM gap)") == 1

    def settle(self, sequences: Iterable[int]) -> int:
        """Forget records and gaps (by their ``last``) that the collector answered for; returns how many."""
        gone = waiting = 0
        with self._transaction():
            for sequence in sequences:
                cursor = self._db.execute("DELETE FROM record WHERE sequence = ?", (sequence,))
                waiting += cursor.rowcount
                cursor = self._db.execute("DELETE FROM gap WHERE last = ? AND offered", (sequence,))
                gone += cursor.rowcount
        self._count -= waiting
        return gone + waiting

    def used_bytes(self) -> int:
        """Bytes of the database that hold something; what is beyond is reused."""
        with self._mutex, self._translated():
            return self._pages() * self._page_bytes

    def close(self) -> None:
        """Close; again is harmless."""
        with self._mutex:
            if hasattr(self, "_db"):
                self._db.close()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _prepare(self) -> None:
        application = self._number("PRAGMA application_id")
        version = self._number("PRAGMA user_version")
        if self._number("SELECT COUNT(*) FROM sqlite_master") == 0:
            with self._begun():
                for table in _TABLES:
                    self._db.execute(table)
                self._db.execute("INSERT INTO spool VALUES (?, 0)", (secrets.token_hex(8),))
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {_SCHEMA}")
        elif application != _APPLICATION:
            raise ConfigError(f"{self._path}: expected a spool, found another program's database; "
                              "name another path in [spool]")
        elif version != _SCHEMA:
            raise ConfigError(f"{self._path}: expected a spool of version {_SCHEMA}, found {version}; use the "
                              "release that made it until it is empty, or move it away")
        if (found := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(str(found).splitlines()[-1])
        self.name, self.run = self._db.execute("SELECT name, run + 1 FROM spool").fetchone()
        try:
            with self._begun():
                self._db.execute("UPDATE spool SET run = ?", (self.run,))
        except sqlite3.OperationalError as error:
            if not isinstance(_explained(error, self._path), DiskFull):
                raise
            # What waits must get out all the same; a number drawn so high is no other run's.
            self.run = _LEAST_DRAWN_RUN + secrets.randbelow(_LEAST_DRAWN_RUN)

    def _make_room(self, pages: int) -> int:
        """Drop the oldest records until this many pages are free; returns how many went."""
        dropped = 0
        while self._pages() + pages > self._limit_pages:
            rows = [row[0] for row in self._db.execute("SELECT sequence FROM record ORDER BY sequence LIMIT ?",
                                                       (_DROPPED_AT_ONCE,))]
            if not rows:
                break
            self._db.execute("DELETE FROM record WHERE sequence <= ?", (rows[-1],))
            self._widen(rows[0], rows[-1], len(rows))
            dropped += len(rows)
        return dropped

    def _widen(self, first: int, last: int, count: int) -> None:
        """Add lost records to a gap before them that was not handed out yet, or open another."""
        cursor = self._db.execute(
            "UPDATE gap SET last = ?, count = count + ? WHERE first = (SELECT first FROM gap "
            "WHERE NOT offered AND last < ? ORDER BY last DESC LIMIT 1)", (last, count, first))
        if not cursor.rowcount:
            self._db.execute("INSERT INTO gap VALUES (?, ?, ?, 0)", (first, last, count))

    def _pages(self) -> int:
        return self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")

    def _number(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._mutex, self._translated(), self._begun():
            yield

    @contextlib.contextmanager
    def _begun(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back already
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _explained(error, self._path) from error


def _open(path: Path, *, alone: bool = False) -> sqlite3.Connection:
    """Open the database; ``alone`` locks others out and so needs no ``-shm``, for which a full disk has no room."""
    try:
        # Made with its mode before SQLite sees it; -wal and -shm take theirs from it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{path}: the spool cannot be made ({error}); name a path this user may write") from None
    try:
        if alone:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON",
                       f"journal_size_limit = {_WAL_BYTES}", f"wal_autocheckpoint = {_WAL_BYTES // 4096}"):
            db.execute(f"PRAGMA {pragma}")
    except sqlite3.Error as error:
        db.close()
        raise _explained(error, path) from error
    return db


def _take_lock(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{lock}: the spool's lock cannot be made ({error.strerror}); name a path in [spool] "
                          "that this user may write") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise ConfigError(f"{path}: expected a spool of this daemon's own, found another daemon using it; stop "
                          "that one, or name another path in [spool]") from None
    return handle


def _explained(error: sqlite3.Error, path: Path) -> ConfigError | Transient:
    text = str(error)
    if isinstance(error, sqlite3.OperationalError):
        if "full" in text or "disk I/O" in text:
            return DiskFull(f"{path}: no room for more records ({text}); free disk space")
        if "locked" in text:
            return Transient(f"{path}: another program holds the spool's database; close it")
        if "readonly" in text or "unable to open" in text:
            return ConfigError(f"{path}: the spool cannot be written ({text}); give this user the right to, or "
                               "name another path in [spool]")
    return ConfigError(f"{path}: expected a spool, found a damaged file ({text}); move it away: the daemon then "
                       "starts an empty one, and what waited in it is lost")
