"""The journal's tables, and how a journal of an earlier release becomes one of this.

Schema 1 (0.1.0) held vectors as they came. Schema 2 seals them (`cmnas_edge.collector.store.keys`),
knows what people decided, and which records it holds no more, so that they are not stored again. Schema 3 knows when
identities changed by themselves.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from cmnas_edge.collector.store.keys import Keys
from cmnas_edge.errors import ConfigError

__all__ = ["SCHEMA", "beside", "days_stored", "prepare", "sealed_days"]

_log = logging.getLogger("cmnas.collector")
SCHEMA = 3
_APPLICATION = 0x636D6E61  # "cmna": file(1) and we can tell this from any other SQLite file
_SINCE_1 = """
CREATE TABLE sighting (
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, spool TEXT NOT NULL, sequence INTEGER NOT NULL,
    received_at REAL NOT NULL, camera TEXT NOT NULL, seen_from REAL NOT NULL, seen_at REAL NOT NULL,
    modality TEXT NOT NULL, tracklet TEXT NOT NULL, view_count INTEGER NOT NULL, quality REAL NOT NULL,
    box_width INTEGER NOT NULL, box_height INTEGER NOT NULL, engine TEXT NOT NULL, precision TEXT NOT NULL,
    transform TEXT NOT NULL, fingerprint BLOB NOT NULL, packing TEXT NOT NULL, vector BLOB NOT NULL,
    UNIQUE (device, spool, sequence));
CREATE INDEX sighting_received ON sighting (received_at);
CREATE TABLE gap (
    device TEXT NOT NULL, spool TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    count INTEGER NOT NULL, received_at REAL NOT NULL, UNIQUE (device, spool, first));
CREATE TABLE link (
    id INTEGER PRIMARY KEY, sighting INTEGER NOT NULL, opened_by INTEGER NOT NULL, identity INTEGER NOT NULL,
    rule TEXT NOT NULL, score REAL, threshold REAL, pair TEXT, against INTEGER);
CREATE INDEX link_tracklet ON link (opened_by);
CREATE INDEX link_sighting ON link (sighting);
"""
# day: whose key the vector is under. gone: numbers of records that were stored and are no more.
# mark: the highest numbers ever given, which are not given again though their rows are gone.
# erased: which entries of the erasure list have been applied here.
_SINCE_2 = """
ALTER TABLE sighting ADD COLUMN day INTEGER;
CREATE INDEX sighting_day ON sighting (day);
ALTER TABLE link ADD COLUMN probability REAL;
ALTER TABLE link ADD COLUMN fingerprint BLOB;
CREATE TABLE decision (
    id INTEGER PRIMARY KEY AUTOINCREMENT, made_at REAL NOT NULL, person TEXT NOT NULL, kind TEXT NOT NULL,
    reason TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE gone (
    device TEXT NOT NULL, spool TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (device, spool, first)) WITHOUT ROWID;
CREATE TABLE mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE erased (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_SINCE_3 = """
ALTER TABLE link ADD COLUMN made_at REAL;
"""


def beside(device: str, spool: str, sequence: int, packing: str) -> bytes:
    """What a sealed vector belongs to: moved to another row, it does not open."""
    return f"cmnas vector 2\0{device}\0{spool}\0{sequence}\0{packing}".encode()


def sealed_days(path: Path) -> set[int]:
    """Under the keys of which days the vectors of a journal are, before it is opened; of none where there is none.

    Raises:
        ConfigError: It is another program's file, or of a later schema.
        sqlite3.Error: It is damaged, or in use.
    """
    if not path.exists():
        return set()
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        if _version(db, path) < 2:
            return set()
        return days_stored(db)


def days_stored(db: sqlite3.Connection) -> set[int]:
    """Under the keys of which days the vectors in an open journal are."""
    found: set[int] = set()
    while True:     # a step in the index for each; DISTINCT would walk all of it
        (day,) = db.execute("SELECT min(day) FROM sighting WHERE day > ?", (max(found, default=-1),)).fetchone()
        if day is None:
            return found
        found.add(day)


def _version(db: sqlite3.Connection, path: Path) -> int:
    """The schema of an open file; 0: it is new.

    Raises:
        ConfigError: It is another program's, or of a later schema.
    """
    (application,), (version,) = (db.execute(f"PRAGMA {name}").fetchone()
                                  for name in ("application_id", "user_version"))
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION:
        raise ConfigError(f"{path}: expected a collector's journal, found another SQLite file; "
                          "move it away or correct data")
    if tables and not 1 <= version <= SCHEMA:
        raise ConfigError(f"{path}: expected journal schema {SCHEMA} or earlier, found {version}; "
                          "use the cmnas-edge that wrote it")
    return int(version) if tables else 0


def prepare(db: sqlite3.Connection, path: Path, keys: Keys) -> None:
    """Make an open file a journal of this release, all of it or nothing.

    Raises:
        ConfigError: It is another program's file, or of a later schema.
        sqlite3.Error: It is damaged, or there is no room.
    """
    version = _version(db, path)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA journal_size_limit=16777216")
    db.execute("PRAGMA secure_delete=ON")       # what is deleted is overwritten, not only unlinked
    if version < SCHEMA:
        _upgrade(db, path, keys, version)
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _upgrade(db: sqlite3.Connection, path: Path, keys: Keys, version: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for script in (_SINCE_1, _SINCE_2, _SINCE_3)[version:]:
            for statement in script.split(";")[:-1]:    # executescript would commit first
                db.execute(statement)
        if version == 1:
            (count,) = db.execute("SELECT count(*) FROM sighting").fetchone()
            _log.info("%s: sealing %d vectors of an earlier release; this is done once", path, count)
            _seal(db, keys)
        db.execute(f"PRAGMA application_id={_APPLICATION}")
        db.execute(f"PRAGMA user_version={SCHEMA}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _seal(db: sqlite3.Connection, keys: Keys) -> None:
    last = 0
    while rows := db.execute("SELECT id, device, spool, sequence, received_at, packing, vector FROM sighting "
                             "WHERE id > ? ORDER BY id LIMIT 1000", (last,)).fetchall():
        sealed = []
        for number, device, spool, sequence, received_at, packing, vector in rows:
            day = keys.day_for(received_at)
            sealed.append((day, keys.seal(day, vector, beside(device, spool, sequence, packing)), number))
        db.executemany("UPDATE sighting SET day = ?, vector = ? WHERE id = ?", sealed)
        last = rows[-1][0]
