"""A spool's database while it is open: one thread's at a time, and another in its place when it cannot be used.

What is damaged, or of a later release, is moved aside and said; so is a disk that is read-only,
for which memory stands in until the next start.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmnas_edge.camera.sending import schema
from cmnas_edge.camera.sending.database import Unusable, connect, explained, is_read_only, move_aside, take_lock
from cmnas_edge.errors import CmnasError, ConfigError, DiskFull, Transient

__all__ = ["Store"]

_IN_MEMORY_BYTES = 16 << 20     # most that stands in for a read-only disk
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
        in_memory: The disk is read-only, and what is put outlives no restart.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        """Open it, or make it.

        Raises:
            ConfigError: Another daemon has it, it is another program's, or it cannot be made.
            DiskFull: There is no room to make it.
        """
        self._path = path
        self.limit_bytes = limit_bytes
        self.name, self.run = "", 0
        self.count = self.lost_count = self.lent = 0
        self.in_memory = False
        self._untold_count = 0  # of those lost, not in a gap yet
        self._mutex = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._closed = False
        self._lock = take_lock(path)
        try:
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
            try:
                yield self._db
            except sqlite3.Error as error:
                raise self._failed(self._db, error) from error

    def close(self) -> None:
        """Close; again is harmless."""
        with self._mutex:
            if self._db is not None:
                self._db.close()
                if self.in_memory and self.count:
                    _log.error("%s: the disk is read-only; %d records were in memory only and are lost", self._path,
                               self.count)
            self._db, self._closed = None, True
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def _open(self) -> None:
        """Open what lies there; what cannot be used is moved aside, and a read-only disk stood in for."""
        if is_read_only(self._path) and not self.in_memory:
            self.in_memory = True
            self.limit_bytes = min(self.limit_bytes, _IN_MEMORY_BYTES)
            _log.error("%s: expected a disk to write to, found it read-only; from now on records are held in memory "
                       "only: replace the disk or mount it anew, then restart", self._path)
        try:
            self._try()
        except DiskFull:
            self._try(alone=True)
        except Unusable as error:
            self._set_aside(error)
            self._try()

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

    def _set_aside(self, why: Unusable) -> None:
        aside = move_aside(self._path, why.mark)
        _log.error("%s: expected a spool, found one that cannot be used (%s); it lies at %s now with whatever waited "
                   "in it, and an empty one takes its place", self._path, why, aside)

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
