"""Every sighting a camera was told is stored: one SQLite file, committed before the answer.

``synchronous=FULL`` in WAL mode: a commit has reached the disk when it returns. A record is
unique by (device, spool, sequence), so what is sent twice is stored once. Its vector is sealed
under the key of its day (`cmnas_edge.collector.store.keys`). Beside the sightings stand the *links*,
one row per decision about who they are, in the order they were made; reading both in order gives
back the identities exactly (`cmnas_edge.collector.matching.identity`); and what people decided.

One thread at a time may use a `Journal`, and one process may have it open.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.keys import Keys, Locked
from cmnas_edge.collector.store.records import FIELDS, Arrival, Decision, JournalGap, Record, record
from cmnas_edge.collector.store.schema import beside, prepare
from cmnas_edge.embedding import pack, unpack
from cmnas_edge.errors import ConfigError, DiskFull, Transient
from cmnas_edge.sighting import Gap, Sighting

__all__ = ["Arrival", "Decision", "Journal", "JournalGap", "Record"]

F32 = npt.NDArray[np.float32]
_log = logging.getLogger("cmnas.collector")
_LINK = "sighting, opened_by, identity, rule, score, threshold, pair, against, probability, fingerprint"


class Journal:
    """The truth about what was received; nothing is answered before it stands here.

    Raises:
        ConfigError: Another collector has it open, it is damaged, or it is of an unknown
            schema; the message says which file and what to do.
        DiskFull: The disk has no room for it.
        Transient: Another program holds the file.
    """

    def __init__(self, folder: Path, *, keys: Keys | None = None, limit_mib: int = 0, patience_s: float = 2.0) -> None:
        """Open it, or make it, or make one of an earlier release one of this.

        Args:
            folder: Of its file, made with mode 0700.
            keys: Of the days; None: those in ``folder/keys``.
            limit_mib: Largest size; 0 leaves it to the disk.
            patience_s: How long another program may hold the file.
        """
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
            self.keys = keys or Keys(folder / "keys")
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
                prepare(self._db, self._path, self.keys, limit_mib)
                marked = dict(self._db.execute("SELECT name, value FROM mark"))
                (last,) = self._db.execute("SELECT coalesce(max(id), 0) FROM sighting").fetchone()
        except BaseException:
            self._db.close()
            raise
        self._last: int = max(last, marked.get("sighting", 0))
        self._last_identity: int = marked.get("identity", 0)

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
        with self._committed():
            self._link(links)
            return [[self._insert(arrival, item) for item in arrival.items] for arrival in arrivals]

    def decide(self, decision: Decision, links: Iterable[Link] = ()) -> int:
        """Store what a person decided, and the links that follow from it, in one commit; return its id.

        Raises:
            DiskFull, Transient, ConfigError: As `append`.
        """
        with self._committed():
            self._link(links)
            return int(self._db.execute(
                "INSERT INTO decision (made_at, person, kind, reason, body) VALUES (?, ?, ?, ?, ?)",
                (decision.made_at, decision.person, decision.kind, decision.reason,
                 msgspec.json.encode(decision.body).decode())).lastrowid or 0)

    def _link(self, links: Iterable[Link]) -> None:
        self._db.executemany(f"INSERT INTO link ({_LINK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  no input in it
                             [msgspec.structs.astuple(link) for link in links])

    def _insert(self, arrival: Arrival, item: Sighting | Gap) -> int | None:
        if isinstance(item, Gap):
            # A gap that grows before it is acknowledged is sent again, longer.
            self._db.execute(
                "INSERT INTO gap VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (device, spool, first) DO UPDATE "
                "SET last = max(last, excluded.last), count = max(count, excluded.count)",
                (arrival.device, item.spool, item.first, item.last, item.count, arrival.received_at))
            return 0
        # Numbers beyond SQLite's 63 bits stand as text. The vector is packed again as it came.
        day = self.keys.day_for(arrival.received_at)
        sealed = self.keys.seal(day, pack(item.vector[None], item.packing)[0],
                                beside(arrival.device, item.spool, item.sequence, item.packing))
        cursor = self._db.execute(
            f"INSERT INTO sighting ({FIELDS}, fingerprint, packing, vector, day) "  # noqa: S608  no input in it
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (self._last + 1, arrival.device, item.spool, item.sequence, arrival.received_at, item.camera,
             item.seen_from, item.seen_at, item.modality, str(item.tracklet), item.view_count, item.quality,
             item.box_width, item.box_height, item.engine, item.precision, str(item.transform), item.fingerprint,
             item.packing, sealed, day))
        if not cursor.rowcount:
            return None
        self._last += 1     # never the number of one that is gone
        return self._last

    def sightings(self, fingerprint: bytes, dimension: int, *, since: float, most: int
                  ) -> Iterator[tuple[Record, F32]]:
        """Read what was received since ``since``, whole tracklets, at most about ``most``, by id.

        A tracklet that was seen since then comes with its earlier sightings. A vector that does not
        open, for it or its row was changed, is passed over, and the log says so.
        """
        with self._explained():
            (floor,) = self._db.execute(
                "SELECT coalesce(min(id), 0) FROM (SELECT id FROM sighting WHERE received_at >= ? AND "
                "fingerprint = ? ORDER BY id DESC LIMIT ?)", (since, fingerprint, most)).fetchone()
            if not floor:
                return
            rows = self._db.execute(
                f"SELECT {FIELDS}, packing, vector, day FROM sighting "  # noqa: S608  no input in it
                "WHERE fingerprint = :print AND (id >= :floor OR id IN (SELECT sighting FROM link WHERE opened_by IN "
                "(SELECT opened_by FROM link WHERE sighting >= :floor))) ORDER BY id",
                {"print": fingerprint, "floor": floor})
            for row in rows:
                *fields, packing, vector, day = row
                found = record(fields)
                try:
                    opened = self.keys.open(day, vector, beside(found.device, found.spool, found.sequence, packing))
                except Locked as error:
                    _log.error("%s: sighting %d cannot be read: %s; it is left out", self._path, found.id, error)
                    continue
                yield found, unpack([opened], packing, dimension)[0]

    def links(self, first: int) -> Iterator[Link]:
        """Read, in the order they were made, the links of tracklets opened by sighting ``first`` or later."""
        with self._explained():
            for row in self._db.execute(f"SELECT {_LINK} FROM link WHERE opened_by >= ? ORDER BY id", (first,)):  # noqa: S608  no input in it
                yield Link(*row)

    def decisions(self, since: int = 0) -> Iterator[Decision]:
        """Read what people decided after decision ``since``, in the order they did."""
        with self._explained():
            for made_at, person, kind, reason, body, number in self._db.execute(
                    "SELECT made_at, person, kind, reason, body, id FROM decision WHERE id > ? ORDER BY id", (since,)):
                yield Decision(made_at, person, kind, reason, msgspec.json.decode(body), number)

    def last_identity(self) -> int:
        """Return the highest identity given; 0 at first."""
        with self._explained():
            return max(self._last_identity,
                       int(self._db.execute("SELECT coalesce(max(identity), 0) FROM link").fetchone()[0]))

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
    def _committed(self) -> Iterator[None]:
        """Commit what is done within, or nothing of it."""
        last = self._last
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._last = last
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

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
