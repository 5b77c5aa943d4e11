"""The file of people and sessions: SQLite, mode 0600, used by a running collector and by commands at once.

What a command changes holds for the collector's next request. Any thread may use it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cmnas_edge.errors import ConfigError, DiskFull, Transient
from cmnas_edge.private import hand_to_folders_owner

__all__ = ["Database"]

SCHEMA = 1
_APPLICATION = 0x636D6163   # "cmac"
_TABLES = """
CREATE TABLE person (
    name TEXT PRIMARY KEY COLLATE NOCASE, role TEXT NOT NULL, password TEXT NOT NULL, created_at REAL NOT NULL,
    changed_at REAL NOT NULL);
CREATE TABLE session (
    hash BLOB PRIMARY KEY, person TEXT NOT NULL, opened_at REAL NOT NULL, used_at REAL NOT NULL);
CREATE INDEX session_person ON session (person);
CREATE TABLE link (hash BLOB PRIMARY KEY, person TEXT NOT NULL, ends_at REAL NOT NULL);
CREATE TABLE browser (hash BLOB PRIMARY KEY, person TEXT NOT NULL, seen_at REAL NOT NULL);
"""


class Database:
    """One connection, and a lock around it.

    Raises:
        ConfigError: The file is damaged, of another program or schema, or others may read it.
        DiskFull: There is no room.
        Transient: Another program holds it.
    """

    def __init__(self, folder: Path, *, patience_s: float = 5.0) -> None:
        self._path = folder / "access.sqlite"
        self._lock = threading.Lock()
        with self._explained():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here first: SQLite's own files take this one's mode.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            hand_to_folders_owner(self._path)   # SQLite gives its own files to whom this one belongs
            mode = self._path.stat().st_mode & 0o777
            if mode & 0o077:
                raise ConfigError(f"{self._path}: expected mode 0600, found {mode:04o}; run chmod 600 {self._path}")
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=patience_s)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        # Of two that open it first at once, the second waits here and finds the tables.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA secure_delete=ON")
        with self.writing():
            (application,), (version,) = (self._db.execute(f"PRAGMA {name}").fetchone()
                                          for name in ("application_id", "user_version"))
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and (application, version) != (_APPLICATION, SCHEMA):
                raise ConfigError(f"{self._path}: expected the people of a collector in schema {SCHEMA}, found another "
                                  "SQLite file; use the cmnas-edge that wrote it, or move it away")
            if not tables:
                for statement in _TABLES.split(";")[:-1]:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id={_APPLICATION}")
                self._db.execute(f"PRAGMA user_version={SCHEMA}")

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read rows."""
        with self._lock, self._explained():
            return self._db.execute(statement, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Change several things or none; on the disk at the end."""
        with self._lock, self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def write(self, statements: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Change what some statements say, all or none."""
        with self.writing() as db:
            for statement, values in statements:
                db.execute(statement, values)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            text = getattr(error, "strerror", None) or " ".join(str(error).split())
            if any(sign in text for sign in ("full", "disk I/O", "No space", "quota", "too large")):
                raise DiskFull(f"{self._path}: no room for people and sessions ({text}); free disk space") from error
            if "locked" in text:
                raise Transient(f"{self._path}: another program holds the file ({text}); close it") from error
            raise ConfigError(f"{self._path}: people and sessions cannot be read ({text}), and nobody is let in; "
                              "restore the file from a backup, or move it away and enrol people again") from error
