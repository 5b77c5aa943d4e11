"""A spool's database while it is open: one thread's at a time, and another in its place when it cannot be used.

What is damaged, or of a later release, is moved aside and said; what somebody moved or deleted
is missed and said; so is a disk that is read-only, or too full to begin, for which memory stands
in until the next start.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cmnas_edge.camera.sending import schema
from cmnas_edge.camera.sending.database import (
    WAL_BYTES,
    Unusable,
    connect,
    explained,
    is_read_only,
    move_aside,
    take_lock,
)
from cmnas_edge.errors import CmnasError, ConfigError, DiskFull, Transient

__all__ = ["Store"]

_IN_MEMORY_BYTES = 16 << 20     # most that stands in for a read-only disk
_KEPT_BYTES = 4 * WAL_BYTES     # its log, with a transaction over its limit, and the pages of it that go to the file
_SLACK_BYTES = 64 << 10         # pages that a transaction touches beside those it fills
_UNTAKEN = -2           # instead of a lock's handle; -1: a read-only disk has none
_log = logging.getLogger("cmnas.camera")


class Store:
    """The tables of `schema`, in a file or in memory.

    Attributes:
        name: Of the spool in it; another once it was replaced.
        run: Number of this opening.
        count: Records in it; whoever adds or removes them counts.
        lost_count: Records lost with damaged files, all told.
        lent: Where the gap begins that is none as long as this is open; 0: there is none.
        limit_bytes: Most that it may hold.
        in_memory: The disk is read-only, or was full before there was a spool; what is put outlives no restart.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        """Open it, or make it.

        Raises:
            ConfigError: Another daemon has it, it is another program's, or it cannot be made.
        """
        self._path = path = Path(os.path.realpath(path))    # so that a link to it has the same lock
        self.limit_bytes = limit_bytes
        self.name, self.run = "", 0
        self.count = self.lost_count = self.lent = 0
        self.in_memory = False
        self._untold_count = 0  # of those lost, not in a gap yet
        self._file: tuple[int, int] | None = None   # device and number of the one that is open
        self._numbered: tuple[str, int] = "", 0     # name of the one that went away, and its last number
        self._mutex = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._closed = False
        self._lock = _UNTAKEN
        try:
            try:
                self._open()
            except DiskFull as error:   # with no spool on it, or none that can be used
                self._stand_in()
                _log.error("%s; no spool can be begun: from now on records are held in memory only, until the next "
                           "start", error)
                self._open()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def used(self) -> Iterator[sqlite3.Connection]:
        """The database, for one thread at a time; a database that fails is said, or replaced."""
        with self._mutex:
            if self._closed:
                raise ValueError(f"{self._path}: expected an open spool, found a closed one")
            if self._db is None:    # replacing it failed, as on a full disk
                self._open()
            assert self._db is not None
            if self._file is not None and _at(self._path) not in (None, self._file):
                raise self._went_away(self._db)
            try:
                yield self._db
            except sqlite3.Error as error:
                raise self._failed(self._db, error) from error

    def see_room(self, db: sqlite3.Connection, size: int) -> None:
        """See whether the file may grow by what is put: the disk's last bytes are for forgetting, which is written too.

        Args:
            db: The database, in use.
            size: Bytes that are to be put.

        Raises:
            DiskFull: It may not. A spool that had taken the last byte could never give one back.
        """
        if self.in_memory or (within := schema.free_bytes(db)) >= size + _SLACK_BYTES:
            return
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:     # it went away just now, which is said elsewhere
            return
        left = disk.f_bavail * disk.f_frsize
        kept = min(_KEPT_BYTES, disk.f_blocks * disk.f_frsize // 4)
        if left + within < kept + size:
            raise DiskFull(f"{self._path}: no room for more records ({left >> 10} KiB are left, and the last "
                           f"{kept >> 10} are kept for forgetting what was sent); free disk space")

    def close(self) -> None:
        """Close; again is harmless."""
        with self._mutex:
            if self._db is not None:
                self._db.close()
                if self.in_memory and self.count:
                    _log.error("%s: the disk could not be used; %d records were in memory only and are lost",
                               self._path, self.count)
            self._db, self._closed = None, True
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _open(self) -> None:
        """Open what lies there; what cannot be used is moved aside, and a read-only disk stood in for."""
        if self._lock == _UNTAKEN:
            self._lock = take_lock(self._path)
        if is_read_only(self._path) and not self.in_memory:
            self._stand_in()
            _log.error("%s: expected a disk to write to, found it read-only; from now on records are held in memory "
                       "only: replace the disk or mount it anew, then restart", self._path)
        try:
            self._try()
        except DiskFull:
            self._try(alone=True)
        except Unusable as error:
            self._set_aside(error)
            self._try()

    def _stand_in(self) -> None:
        self.in_memory = True
        self.limit_bytes = min(self.limit_bytes, _IN_MEMORY_BYTES)

    def _try(self, *, alone: bool = False) -> None:
        """Open one database, and count in it what was lost with the one before.

        Raises:
            Unusable: It is damaged, or of a later release.
            ConfigError: As `__init__`.
            DiskFull: There is no room.
        """
        db = connect(None if self.in_memory else self._path, alone=alone)
        try:
            self.name, self.run = schema.prepare(db, self._path, self.run)
            self.count = schema.record_count(db)
            if self.name == self._numbered[0]:  # a copy, which may not give again what was given since it was made
                with schema.begun(db):
                    schema.count_from(db, max(schema.last_number(db), self._numbered[1]))
            if self._untold_count:
                with schema.begun(db):
                    schema.lose(db, self._untold_count)
                self._untold_count = 0
        except BaseException as error:
            db.close()
            if isinstance(error, sqlite3.Error):
                raise explained(error, self._path) from error
            raise
        self._db = db
        self._file = None if self.in_memory else _at(self._path)

    def _set_aside(self, why: Unusable) -> None:
        aside = move_aside(self._path, why.mark)
        _log.error("%s: expected a spool, found one that cannot be used (%s); it lies at %s now with whatever waited "
                   "in it, and an empty one takes its place", self._path, why, aside)

    def _went_away(self, db: sqlite3.Connection) -> Transient:
        """What to raise when another file, or none, lies where the open one was; the next attempt finds a spool."""
        _log.error("%s: expected the spool that is in use, found it moved or deleted; %d records that waited in it "
                   "count as lost, and what lies there now, or an empty one, takes its place", self._path, self.count)
        with suppress(sqlite3.Error):
            self._numbered = self.name, schema.last_number(db)
        self._untold_count += self.count
        self.lost_count += self.count
        self.count, self.lent, self._db = 0, 0, None
        db.close()
        if self._lock >= 0:     # it may have gone with its folder, and somebody else's may lie there now
            os.close(self._lock)
        self._lock = _UNTAKEN
        self._open()
        return Transient(f"{self._path}: the spool was moved or deleted, and replaced; try again")

    def _failed(self, db: sqlite3.Connection, error: sqlite3.Error) -> CmnasError:
        """What to raise of an error in the middle of a run; after it, the next attempt finds a spool that works."""
        problem = explained(error, self._path)
        if isinstance(problem, Unusable):
            # The collector learns how many are missing, if not which.
            self._untold_count += self.count
            self.lost_count += self.count
        elif not isinstance(problem, Transient | ConfigError) or self.in_memory or not is_read_only(self._path):
            return problem if isinstance(problem, Transient) else DiskFull(str(problem))
        self.count, self.lent, self._db = 0, 0, None
        db.close()
        if isinstance(problem, Unusable) and not self.in_memory:
            self._set_aside(problem)
        self._open()
        return Transient(f"{self._path}: the spool could not be used ({error}) and was replaced; try again")


def _at(path: Path) -> tuple[int, int] | None:
    """Which file lies there: device and number, both 0 for none; None if nobody can say."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0
    except OSError:
        return None
    return found.st_dev, found.st_ino
