"""The file under a spool: one daemon's at a time, moved aside when it cannot be read, its errors said in words.

A file is moved aside with its write-ahead log, under a name that says why and when
(``spool.db.damaged-20261121T180500Z``), and never written again; the newest of them are kept.
A disk that became read-only is stood in for by memory, until the next start.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
import time
from pathlib import Path

from cmnas_edge.camera.sending.write_ahead import is_damaged
from cmnas_edge.errors import ConfigError, DiskFull, Transient
from cmnas_edge.private import to_disk

__all__ = ["WAL_BYTES", "Unusable", "connect", "explained", "is_read_only", "make_durable", "move_aside", "take_lock"]

WAL_BYTES = 256 << 10   # checkpointed beyond this, and cut back to it
_KEPT_ASIDE = 3         # of damaged files; each may be as large as a spool
_log = logging.getLogger("cmnas.camera")


class Unusable(Exception):
    """A file that no spool can go on with, and that stands in nobody else's service."""

    def __init__(self, found: str, mark: str = "damaged") -> None:
        """Say what was found, and the word that goes into the name it is moved to."""
        super().__init__(found)
        self.mark = mark


def connect(path: Path | None, *, alone: bool = False) -> sqlite3.Connection:
    """Open a database, or make an empty one; None: in memory.

    Args:
        path: The file.
        alone: Lock others out, and so need no ``-shm``, for which a full disk has no room.

    Raises:
        Unusable: Its log is damaged.
        ConfigError: It cannot be made.
        DiskFull: There is no room even for an empty file.
    """
    try:
        if path is not None:
            _make(path)
        db = sqlite3.connect(path or ":memory:", timeout=5.0, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DiskFull(f"{path}: no room for a spool ({error.strerror}); free disk space") from None
        raise ConfigError(f"{path}: the spool cannot be made ({error}); name a path this user may write") from None
    if alone:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
    return db


def make_durable(db: sqlite3.Connection) -> None:
    """From now on what is committed is on disk, and what is deleted is wiped.

    Raises:
        sqlite3.Error: It cannot be written, or is no database.
    """
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON",
                   f"journal_size_limit = {WAL_BYTES}", f"wal_autocheckpoint = {WAL_BYTES // 4096}"):
        db.execute(f"PRAGMA {pragma}")


def _make(path: Path) -> None:
    """Make the file with its mode before SQLite sees it (``-wal`` and ``-shm`` take theirs from it); look at its log.

    A file cut to nothing and its log belong together no more: SQLite would drop the log and begin again.
    """
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and (is_damaged(wal) or not path.exists() or path.stat().st_size == 0 < wal.stat().st_size):
        raise Unusable("its write-ahead log does not fit together")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)


def take_lock(path: Path) -> int:
    """Hold a lock file beside a spool; returns its handle, -1 where a read-only or full disk has none.

    Raises:
        ConfigError: Another daemon holds it, or it cannot be made.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.ENOSPC):
            raise ConfigError(f"{lock}: the spool's lock cannot be made ({error.strerror}); name a path in [spool] "
                              "that this user may write") from None
        if not lock.exists():
            return -1
        handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise ConfigError(f"{path}: expected a spool of this daemon's own, found another daemon using it; stop "
                          "that one, or name another path in [spool]") from None
    return handle


def is_read_only(path: Path) -> bool:
    """Whether the disk that a file lies on, or would, is read-only, also by the kernel's mistrust of it."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        # A disk in its emergency does not say so when asked; it refuses a file, here one without a name.
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError as error:
        return error.errno == errno.EROFS or bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    return False


def move_aside(path: Path, mark: str) -> Path:
    """Rename a database and its log, and forget the oldest that were damaged; returns the new name.

    Raises:
        ConfigError: The disk does not let it.
    """
    stem = f"{path.name}.{mark}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    aside, row = path.with_name(stem), 1
    while aside.exists():
        row += 1
        aside = path.with_name(f"{stem}-{row}")
    try:
        # The database first: a log without one is no danger, but a database without its log has forgotten numbers.
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        damaged = sorted((p for p in path.parent.glob(f"{path.name}.damaged-*") if not p.name.endswith("-wal")),
                         key=lambda p: p.stat().st_mtime)
        for old in [p for p in damaged if p != aside][:max(0, len(damaged) - _KEPT_ASIDE)]:
            _log.warning("%s: forgotten, since %d damaged spools were kept", old, _KEPT_ASIDE)
            old.unlink()
            old.with_name(old.name + "-wal").unlink(missing_ok=True)
        to_disk(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: expected a spool, found a damaged file that cannot be moved aside "
                          f"({error.strerror}); give this user the right to") from None
    return aside


def explained(error: sqlite3.Error, path: Path) -> ConfigError | Transient | Unusable:
    """What SQLite says, as what the daemon can do about it."""
    text = str(error)
    if isinstance(error, sqlite3.OperationalError):
        if "full" in text:
            return DiskFull(f"{path}: no room for more records ({text}); free disk space")
        if "disk I/O" in text:
            return DiskFull(f"{path}: no room for more records, or a failing disk ({text}); free disk space, or "
                            "replace the disk")
        if "locked" in text:
            return Transient(f"{path}: another program holds the spool's database; close it")
        if "readonly" in text or "unable to open" in text:
            return ConfigError(f"{path}: the spool cannot be written ({text}); give this user the right to, or "
                               "name another path in [spool]")
    return Unusable(text.splitlines()[-1])
