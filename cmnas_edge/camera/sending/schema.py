"""What a spool's database holds: records, gaps and the spool's own name, in SQLite's tables."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cmnas_edge.camera.sending.database import Unusable, explained, make_durable
from cmnas_edge.errors import ConfigError, DiskFull

__all__ = ["begun", "count_from", "free_bytes", "last_number", "lose", "prepare", "record_count", "used_bytes", "widen"]

_APPLICATION = 0x636D7370   # "cmsp", in the file's header: this is a spool
_SCHEMA = 1
_TABLES = (
    # AUTOINCREMENT keeps its counter in the file, so a deleted number does not come back.
    "CREATE TABLE record (sequence INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)",
    "CREATE TABLE gap (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, count INTEGER NOT NULL, offered INTEGER)",
    "CREATE TABLE spool (name TEXT NOT NULL, run INTEGER NOT NULL)",
)
_LEAST_DRAWN_RUN = 1 << 30


def prepare(db: sqlite3.Connection, path: Path, after_run: int = 0) -> tuple[str, int]:
    """Make the tables, or check those found, and count a run.

    Args:
        db: The database.
        path: Its file, for messages.
        after_run: A new spool's runs are counted from here on.

    Returns:
        The spool's name and this run's number.

    Raises:
        Unusable: It is damaged, or of a later release.
        ConfigError: It is another program's.
        sqlite3.Error: It cannot be read, or not be made.
    """
    is_empty = _number(db, "SELECT COUNT(*) FROM sqlite_master") == 0
    if not is_empty and _number(db, "PRAGMA application_id") != _APPLICATION:
        raise ConfigError(f"{path}: expected a spool, found another program's database; name another path in [spool]")
    make_durable(db)
    version = _number(db, "PRAGMA user_version")
    if is_empty:
        with begun(db):
            for table in _TABLES:
                db.execute(table)
            db.execute("INSERT INTO spool VALUES (?, ?)", (secrets.token_hex(8), after_run % _LEAST_DRAWN_RUN))
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {_SCHEMA}")
    elif version != _SCHEMA:
        raise Unusable(f"of version {version}, where this release knows {_SCHEMA}; the release that made it sends what "
                       "waits in it", f"version-{version}")
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise Unusable(str(found).splitlines()[-1])
    name, run = db.execute("SELECT name, run + 1 FROM spool").fetchone()
    try:
        with begun(db):
            db.execute("UPDATE spool SET run = ?", (run,))
    except sqlite3.OperationalError as error:
        if not isinstance(explained(error, path), DiskFull):
            raise
        # What waits must get out all the same; a number drawn so high is no other run's.
        run = _LEAST_DRAWN_RUN + secrets.randbelow(_LEAST_DRAWN_RUN)
    return name, run


def used_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the database that hold something; what is beyond is reused."""
    pages = _number(db, "PRAGMA page_count") - _number(db, "PRAGMA freelist_count")
    return pages * _number(db, "PRAGMA page_size")


def free_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the database that hold nothing, and are used before the file grows."""
    return _number(db, "PRAGMA freelist_count") * _number(db, "PRAGMA page_size")


def record_count(db: sqlite3.Connection) -> int:
    """Records waiting."""
    return _number(db, "SELECT COUNT(*) FROM record")


def last_number(db: sqlite3.Connection) -> int:
    """The highest sequence given so far; 0 before the first."""
    return _number(db, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'record'")


def count_from(db: sqlite3.Connection, last: int) -> None:
    """Give numbers above this one from now on."""
    if not db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'record'", (last,)).rowcount:
        db.execute("INSERT INTO sqlite_sequence VALUES ('record', ?)", (last,))


def lose(db: sqlite3.Connection, count: int) -> None:
    """Give numbers to records that never came, and count them in a gap."""
    first = last_number(db) + 1
    count_from(db, first + count - 1)
    widen(db, first, first + count - 1, count)


def widen(db: sqlite3.Connection, first: int, last: int, count: int) -> None:
    """Add lost records to a gap before them that was not handed out yet, or open another."""
    cursor = db.execute(
        "UPDATE gap SET last = ?, count = count + ? WHERE first = (SELECT first FROM gap "
        "WHERE NOT offered AND last < ? ORDER BY last DESC LIMIT 1)", (last, count, first))
    if not cursor.rowcount:
        db.execute("INSERT INTO gap VALUES (?, ?, ?, 0)", (first, last, count))


def _number(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


@contextmanager
def begun(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing, and on disk when it returns."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk may have rolled back already
            db.execute("ROLLBACK")
        raise
