"""A folder to copy into, that is nobody else's; and copying."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmnas_edge.errors import ConfigError, unwritable
from cmnas_edge.private import hand_to_folders_owner

__all__ = ["alone", "copy_private", "digest", "held"]

_PIECE = 1 << 20


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Have a folder to work in: empty, and nobody else's. What an earlier end left in it goes.

    Raises:
        ConfigError: It cannot be made; it is a link, or another's, who could have anything of ours deleted or read; or
            somebody works in it.
        DiskFull: There is no room.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        ours = {os.geteuid()} if os.geteuid() else {0, folder.parent.stat().st_uid}
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours:
            raise ConfigError(f"{folder}: expected a folder of this user's to work in, found a link or another's; take "
                              "it away")
    except OSError as error:
        raise unwritable(folder, "what is copied", error, "name another folder") from None
    with held(folder, ".lock"):
        try:
            for left in folder.iterdir():
                if left.name != ".lock":
                    left.unlink()
        except OSError as error:
            raise unwritable(folder, "what is copied", error, "take it away") from None
        yield


@contextmanager
def held(folder: Path, name: str = "journal.lock") -> Iterator[None]:
    """Keep others away from a folder: by the journal's lock a collector, too.

    Raises:
        ConfigError: Somebody works in it, or it cannot be written.
        DiskFull: There is no room.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        hand_to_folders_owner(folder / name)
    except OSError as error:
        raise unwritable(folder, "what is copied", error, "name another folder") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{folder}: another backup, restore or collector is at work there; let it end") from None
        yield
    finally:
        os.close(lock)


def copy_private(source: Path, target: Path) -> str:
    """Copy a file piece by piece into a new one that only its owner may read; return its SHA-256.

    Raises:
        OSError: It cannot be.
    """
    found = hashlib.sha256()
    handle = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as to, source.open("rb") as one:
        while part := one.read(_PIECE):
            found.update(part)
            to.write(part)
        to.flush()
        os.fsync(to.fileno())
    return found.hexdigest()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: It cannot be read.
    """
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_PIECE):
            found.update(part)
    return found.hexdigest()
