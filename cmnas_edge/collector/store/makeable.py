"""Whether what a collector keeps could be written where its settings say, seen without making anything."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from cmnas_edge.collector.store.keys import refuse_lost
from cmnas_edge.collector.store.schema import sealed_days
from cmnas_edge.errors import unwritable
from cmnas_edge.private import handed

__all__ = ["check"]


def check(data: Path, keys: Path, master_key: Path | None) -> None:
    """See whether a collector could begin there.

    Args:
        data: Folder of the journal.
        keys: Folder of the days' keys.
        master_key: File of the key that wraps them; None: in that folder.

    Raises:
        ConfigError: A folder could not be made or written to, a key is lost, or the journal is another program's.
    """
    for folder, what, setting in ((data, "the journal", "data"), (keys, "keys", "keys")):
        _refuse(folder, folder, what, f"correct {setting} or its mode")
    if master_key is not None and not handed(master_key).exists():
        _refuse(master_key, master_key.parent, "a key", "correct master_key", kind="a file")
    try:
        days = sealed_days(data / "journal.sqlite")
    except sqlite3.Error:       # damaged, or in use: starting it says more
        return
    refuse_lost(data / "journal.sqlite", days, keys)


def _refuse(where: Path, folder: Path, what: str, other: str, *, kind: str = "a folder") -> None:
    """Refuse a folder that is not there and cannot be made, or cannot be written to."""
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        number = 0 if folder.is_dir() else errno.ENOTDIR
        if not number and not os.access(folder, os.W_OK | os.X_OK):
            number = errno.EACCES
        if number:
            raise OSError(number, f"{os.strerror(number)} at {folder}")
    except OSError as error:
        raise unwritable(where, what, error, other, kind=kind) from None
