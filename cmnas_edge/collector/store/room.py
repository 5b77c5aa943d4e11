"""Room on the disk that sightings do not take, since letting go of them needs some, too.

What is deleted is written to the journal's log first and overwritten in the file after; a receipt, a key's end and an
entry of the audit log are files. A journal that had taken the last byte could let go of nothing any more.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

__all__ = ["KEPT", "lacking"]

KEPT = 64 << 20     # bytes; of a small disk an eighth


def lacking(folder: Path, db: sqlite3.Connection) -> str:
    """Say why nothing more should be stored, or nothing.

    Args:
        folder: Where the journal is.
        db: The journal.

    Raises:
        OSError, sqlite3.Error: They cannot be looked at.
    """
    disk = os.statvfs(folder)
    free, kept = disk.f_bavail * disk.f_frsize, min(KEPT, disk.f_blocks * disk.f_frsize // 8)
    # What was let go of leaves its room in the file: sightings may have that, as long as the log can be written.
    if free >= kept or (free >= kept // 2 and _within(db) >= kept // 4):
        return ""
    return f"{free >> 20} MiB are left, and the last {kept >> 20} are kept for letting go of what is over"


def _within(db: sqlite3.Connection) -> int:
    """Bytes that are free inside of its file."""
    (pages,), (size,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_size"))
    return int(pages * size)
