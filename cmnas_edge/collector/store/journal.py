"""Every sighting a camera was told is stored: one SQLite file, committed before the answer.

``synchronous=FULL`` in WAL mode: a commit has reached the disk when it returns. A record is
unique by (device, spool, sequence), so what is sent twice is stored once. Beside the
sightings stand the *links*, one row per decision about who they are, in the order they were
made; reading both in order gives back the identities exactly (`cmnas_edge.collector.matching.identity`).

One thread at a time may use a `Journal`, and one process may have it open.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.embedding import Modality, pack, unpack
from cmnas_edge.errors import ConfigError, DiskFull, Transient
from cmnas_edge.sighting import EngineName, Gap, Precision, Sighting

__all__ = ["Arrival", "Journal", "JournalGap", "Record"]

F32 = npt.NDArray[np.float32]
SCHEMA = 1
_APPLICATION = 0x636D6E61  # "cmna": file(1) and we can tell this from any other SQLite file
_TABLES = """
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
_FIELDS = ("id, device, spool, sequence, received_at, camera, seen_from, seen_at, modality, tracklet, view_count, "
           "quality, box_width, box_height, engine, precision, transform")


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A sighting as stored, without its vector. ``id`` counts up in the order of storing."""

    id: int
    device: str
    spool: str
    sequence: int
    received_at: float
    camera: str
    seen_from: float
    seen_at: float
    modality: Modality
    tracklet: int
    view_count: int
    quality: float
    box_width: int
    box_height: int
    engine: EngineName
    precision: Precision
    transform: int


class JournalGap(msgspec.Struct, frozen=True):
    """Records a device's spool had to drop before they could be sent."""

    device: str
    spool: str
    first: int
    last: int
    count: int
    received_at: float


class Arrival(msgspec.Struct, frozen=True):
    """What one request brought: legal records of one device, and when."""

    device: str
    items: list[Sighting | Gap]
    received_at: float


class Journal:
    """The truth about what was received; nothing is answered before it stands here.

    Raises:
        ConfigError: Another collector has it open, it is damaged, or it is of an unknown
            schema; the message says which file and what to do.
        DiskFull: The disk has no room for it.
        Transient: Another program holds the file.
    """

    def __init__(self, folder: Path, *, limit_mib: int = 0, patience_s: float = 2.0) -> None:
        self._path = folder / "journal.sqlite"
        self._patience_s = patience_s   # for another program to let go; a camera waits 10 s for its answer
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "journal.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{folder}: expected a folder to write the journal in, found {error.strerror}; "
                              "correct data or its mode") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(f"{self._path}: in use by another collector; stop that one or give this one "
                              "another data folder") from None
        try:
            self._open(limit_mib)
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, limit_mib: int) -> None:
        with self._explained():
            # Made here first: SQLite's own files take this one's mode.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._path.chmod(0o600)
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False,
                                       timeout=self._patience_s)
        try:
            with self._explained():
                self._prepare(limit_mib)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, limit_mib: int) -> None:
        (application,), (version,) = (self._db.execute(f"PRAGMA {name}").fetchone()
                                      for name in ("application_id", "user_version"))
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != _APPLICATION:
            raise ConfigError(f"{self._path}: expected a collector's journal, found another SQLite file; "
                              "move it away or correct data")
        if tables and version != SCHEMA:
            raise ConfigError(f"{self._path}: expected journal schema {SCHEMA}, found {version}; "
                              "use the cmnas-edge that wrote it")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA journal_size_limit=16777216")
        if limit_mib:
            (page,) = self._db.execute("PRAGMA page_size").fetchone()
            self._db.execute(f"PRAGMA max_page_count={max(16, limit_mib * 2**20 // page)}")
        if not tables:
            self._db.executescript(f"BEGIN; {_TABLES} PRAGMA application_id={_APPLICATION}; "
                                   f"PRAGMA user_version={SCHEMA}; COMMIT;")
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)

    def append(self, arrivals: Sequence[Arrival], links: Iterable[Link] = ()) -> list[list[int | None]]:
        """Store, in one commit, what some requests brought and links decided before.

        Returns:
            Per arrival and item: the new id of a sighting, 0 for a gap, None for a sighting
            that was stored before. It is on the disk when this returns.

        Raises:
            DiskFull: Nothing of it was stored.
            Transient: Another program holds the file; nothing of it was stored.
            ConfigError: The file is damaged; nothing of it was stored.
        """
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT INTO link (sighting, opened_by, identity, rule, score, threshold, "
                                     "pair, against) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                                     [msgspec.structs.astuple(link) for link in links])
                ids = [[self._insert(arrival, item) for item in arrival.items] for arrival in arrivals]
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        return ids

    def _insert(self, arrival: Arrival, item: Sighting | Gap) -> int | None:
        if isinstance(item, Gap):
            # A gap that grows before it is acknowledged is sent again, longer.
            self._db.execute(
                "INSERT INTO gap VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (device, spool, first) DO UPDATE "
                "SET last = max(last, excluded.last), count = max(count, excluded.count)",
                (arrival.device, item.spool, item.first, item.last, item.count, arrival.received_at))
            return 0
        # Numbers beyond SQLite's 63 bits stand as text. The vector is packed again as it came.
        cursor = self._db.execute(
            f"INSERT INTO sighting ({_FIELDS.removeprefix('id, ')}, fingerprint, packing, vector) "  # noqa: S608  no input in it
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (arrival.device, item.spool, item.sequence, arrival.received_at, item.camera, item.seen_from,
             item.seen_at, item.modality, str(item.tracklet), item.view_count, item.quality, item.box_width,
             item.box_height, item.engine, item.precision, str(item.transform), item.fingerprint, item.packing,
             pack(item.vector[None], item.packing)[0]))
        return cursor.lastrowid if cursor.rowcount else None

    def sightings(self, fingerprint: bytes, dimension: int, *, since: float, most: int
                  ) -> Iterator[tuple[Record, F32]]:
        """Read what was received since ``since``, whole tracklets, at most about ``most``, by id.

        A tracklet that was seen since then comes with its earlier sightings.
        """
        with self._explained():
            (floor,) = self._db.execute(
                "SELECT coalesce(min(id), 0) FROM (SELECT id FROM sighting WHERE received_at >= ? AND "
                "fingerprint = ? ORDER BY id DESC LIMIT ?)", (since, fingerprint, most)).fetchone()
            if not floor:
                return
            rows = self._db.execute(
                f"SELECT {_FIELDS}, packing, vector FROM sighting "  # noqa: S608  no input in it
                "WHERE fingerprint = :print AND (id >= :floor OR id IN (SELECT sighting FROM link WHERE opened_by IN "
                "(SELECT opened_by FROM link WHERE sighting >= :floor))) ORDER BY id",
                {"print": fingerprint, "floor": floor})
            for row in rows:
                *fields, packing, vector = row
                yield _record(fields), unpack([vector], packing, dimension)[0]

    def links(self, first: int) -> Iterator[Link]:
        """Read, in the order they were made, the links of tracklets opened by sighting ``first`` or later."""
        with self._explained():
            for row in self._db.execute("SELECT sighting, opened_by, identity, rule, score, threshold, pair, against "
                                        "FROM link WHERE opened_by >= ? ORDER BY id", (first,)):
                yield Link(*row)

    def last_identity(self) -> int:
        """Return the highest identity given; 0 at first."""
        with self._explained():
            return int(self._db.execute("SELECT coalesce(max(identity), 0) FROM link").fetchone()[0])

    def gaps(self, since: float = 0) -> list[JournalGap]:
        """Read the gaps the cameras reported since ``since``."""
        with self._explained():
            return [JournalGap(*row) for row in self._db.execute(
                "SELECT * FROM gap WHERE received_at >= ? ORDER BY received_at", (since,))]

    def count(self) -> int:
        """Return how many sightings are stored."""
        with self._explained():
            return int(self._db.execute("SELECT count(*) FROM sighting").fetchone()[0])

    def close(self) -> None:
        """Close the file and let another collector have it."""
        self._db.close()
        os.close(self._lock)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> Exception:
        text = " ".join(str(error).split())
        if isinstance(error, OSError) and error.strerror:
            text = error.strerror
        # "disk I/O error" is how SQLite reports a write that failed for another reason than
        # ENOSPC (quota, file size limit); waiting may help there too.
        if any(sign in text for sign in ("full", "disk I/O", "No space", "quota", "too large")):
            return DiskFull(f"{self._path}: no room for more sightings ({text}); free disk space, raise "
                            "journal_mib, or check the disk")
        if "locked" in text:
            return Transient(f"{self._path}: another program holds the journal ({text}); close it")
        return ConfigError(f"{self._path}: the journal cannot be used ({text}); restore it from a backup, or move "
                           "it away to start an empty one")


def _record(fields: Sequence[object]) -> Record:
    row = list(fields)
    row[9], row[16] = int(str(row[9])), int(str(row[16]))
    return Record(*row)  # type: ignore[arg-type]
