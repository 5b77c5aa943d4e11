"""What stands in the journal, read back: for a start, for erasing, and for a copy of it that is looked at.

One thread at a time may use a `Reading`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.keys import Keys, Locked
from cmnas_edge.collector.store.ranges import Range, Ranges
from cmnas_edge.collector.store.records import FIELDS, LINK_FIELDS, Decision, JournalGap, Record, record
from cmnas_edge.collector.store.schema import beside, days_stored
from cmnas_edge.embedding import unpack
from cmnas_edge.errors import ConfigError, DiskFull, Transient

__all__ = ["Reading"]

F32 = npt.NDArray[np.float32]
_log = logging.getLogger("cmnas.collector")


class Reading:
    """A journal that is open, and the keys of its days."""

    def __init__(self, path: Path, db: sqlite3.Connection, keys: Keys) -> None:
        self.path = path
        self.keys = keys
        self._db = db

    def database(self) -> sqlite3.Connection:
        """Give the file itself, to look at."""
        return self._db

    def sightings(self, fingerprint: bytes, dimension: int, *, since: float, most: int
                  ) -> Iterator[tuple[Record, F32]]:
        """Read those of one bundle; see `sightings_of`."""
        return self.sightings_of({fingerprint: dimension}, since=since, most=most)

    def sightings_of(self, dimensions: Mapping[bytes, int], *, since: float, most: int
                     ) -> Iterator[tuple[Record, F32]]:
        """Read what was received since ``since``, whole tracklets, at most about ``most``, by id.

        A tracklet that was seen since then comes with its earlier sightings. A vector that does not
        open, for it or its row was changed, is passed over, and the log says so.

        Args:
            dimensions: Entries of a vector of each bundle wanted, by fingerprint.
            since: The collector's epoch seconds.
            most: Sightings.
        """
        marks = ", ".join("?" * len(dimensions))
        with self.explained():
            (floor,) = self._db.execute(
                "SELECT coalesce(min(id), 0) FROM (SELECT id FROM sighting WHERE received_at >= ? AND "  # noqa: S608
                f"fingerprint IN ({marks}) ORDER BY id DESC LIMIT ?)",
                (since, *dimensions, most)).fetchone()
            if not floor:
                return
            rows = self._db.execute(
                f"SELECT {FIELDS}, fingerprint, packing, vector, day FROM sighting "  # noqa: S608  no input in it
                f"WHERE fingerprint IN ({marks}) AND (id >= ? OR id IN (SELECT sighting FROM link WHERE opened_by IN "
                "(SELECT opened_by FROM link WHERE sighting >= ?))) ORDER BY id", (*dimensions, floor, floor))
            yield from self._opened(rows, dimensions)

    def by_others(self, accepted: Collection[bytes], since: float) -> list[tuple[bytes, int, float]]:
        """Fingerprints of bundles, none of these, that made sightings received since then; how many, the last when."""
        with self.explained():
            return self._db.execute(
                "SELECT fingerprint, count(*), max(received_at) FROM sighting WHERE received_at >= ? AND "  # noqa: S608
                f"fingerprint NOT IN ({', '.join('?' * len(accepted))}) GROUP BY fingerprint ORDER BY 3 DESC",
                (since, *accepted)).fetchall()

    def stored_after(self, dimensions: Mapping[bytes, int], after: int, most: int) -> Iterator[tuple[Record, F32]]:
        """Read the sightings of higher ids than ``after``, by id, at most ``most``."""
        with self.explained():
            rows = self._db.execute(
                f"SELECT {FIELDS}, fingerprint, packing, vector, day FROM sighting "  # noqa: S608  no input in it
                f"WHERE id > ? AND fingerprint IN ({', '.join('?' * len(dimensions))}) ORDER BY id LIMIT ?",
                (after, *dimensions, most))
            yield from self._opened(rows, dimensions)

    def _opened(self, rows: Iterable[Sequence[Any]], dimensions: Mapping[bytes, int]) -> Iterator[tuple[Record, F32]]:
        for *fields, packing, vector, day in rows:
            found = record(fields)
            try:
                opened = self.keys.open(day, vector, beside(found.device, found.spool, found.sequence, packing))
            except Locked as error:
                _log.error("%s: sighting %d cannot be read: %s; it is left out", self.path, found.id, error)
                continue
            yield found, unpack([opened], packing, dimensions[found.fingerprint])[0]

    def links(self, first: int) -> Iterator[Link]:
        """Read, in the order they were made, the links of tracklets opened by sighting ``first`` or later.

        And of tracklets that lost what opened them to retention, and were seen since.
        """
        with self.explained():
            for row in self._db.execute(
                    f"SELECT {LINK_FIELDS} FROM link WHERE opened_by >= :first OR opened_by IN "  # noqa: S608  no input in it
                    "(SELECT opened_by FROM link WHERE sighting >= :first AND rule = 'tracklet') ORDER BY id",
                    {"first": first}):
                yield Link(*row)

    def decisions(self, since: int = 0) -> Iterator[Decision]:
        """Read what people decided after decision ``since``, in the order they did."""
        with self.explained():
            for made_at, person, kind, reason, body, number in self._db.execute(
                    "SELECT made_at, person, kind, reason, body, id FROM decision WHERE id > ? ORDER BY id", (since,)):
                yield Decision(made_at, person, kind, reason, msgspec.json.decode(body), number)

    def last_identity(self) -> int:
        """Return the highest identity given; 0 at first."""
        with self.explained():
            (last,) = self._db.execute("SELECT max(coalesce((SELECT max(identity) FROM link), 0), coalesce("
                                       "(SELECT value FROM mark WHERE name = 'identity'), 0))").fetchone()
            return int(last)

    def gaps(self, since: float = 0) -> list[JournalGap]:
        """Read the gaps the cameras reported since ``since``."""
        with self.explained():
            return [JournalGap(*row) for row in self._db.execute(
                "SELECT * FROM gap WHERE received_at >= ? ORDER BY received_at", (since,))]

    def count(self) -> int:
        """Return how many sightings are stored."""
        with self.explained():
            return int(self._db.execute("SELECT count(*) FROM sighting").fetchone()[0])

    def oldest(self) -> float | None:
        """Return when the oldest sighting was received; None when there is none."""
        with self.explained():
            (found,) = self._db.execute("SELECT min(received_at) FROM sighting").fetchone()
            return None if found is None else float(found)

    def newest(self) -> float | None:
        """Return when the newest sighting was received; None when there is none."""
        with self.explained():
            (found,) = self._db.execute("SELECT max(received_at) FROM sighting").fetchone()
            return None if found is None else float(found)

    def meant(self, what: Selection) -> tuple[list[Range], list[tuple[str, str, int]], float, float, list[int]]:
        """Find what a selection means.

        Returns:
            Records and gaps; when the first and the last of the records were received; and under which days' keys.
        """
        wanted, given = ["true"], msgspec.structs.asdict(what)
        if what.identity is not None:
            # The first link of a sighting says which tracklet it belongs to, the last of a tracklet whose it is.
            wanted.append("id IN (SELECT own.sighting FROM link own WHERE own.opened_by IN (SELECT opened_by "
                          "FROM link l WHERE identity = :identity AND id = "
                          "(SELECT max(id) FROM link WHERE opened_by = l.opened_by)) "
                          "AND own.id = (SELECT min(id) FROM link WHERE sighting = own.sighting))")
        wanted += [f"{name} = :{name}" for name in ("device", "camera") if given[name] is not None]
        if what.seen_from is not None:
            wanted.append("seen_at >= :seen_from")
        if what.seen_to is not None:
            wanted.append("seen_from <= :seen_to")
        found, oldest, newest, days = Ranges(), 0.0, 0.0, set()
        gaps: list[tuple[str, str, int]] = []
        with self.explained():
            for device, spool, sequence, received_at, day in self._db.execute(
                    f"SELECT device, spool, sequence, received_at, day FROM sighting WHERE {' AND '.join(wanted)} "  # noqa: S608  no input in it
                    "ORDER BY device, spool, sequence", given):
                found.add(device, spool, sequence, sequence)
                oldest, newest = min(oldest or received_at, received_at), max(newest, received_at)
                days.add(day)
            if what.identity is None and what.camera is None:   # a gap has neither; its time is when it was told of
                gaps = self._db.execute(
                    "SELECT device, spool, first FROM gap WHERE (:device IS NULL OR device = :device) AND "
                    "(:seen_from IS NULL OR received_at >= :seen_from) AND "
                    "(:seen_to IS NULL OR received_at <= :seen_to)", given).fetchall()
        return list(found), gaps, oldest, newest, sorted(days)

    def past(self, before: float, most: int) -> list[int]:
        """Return sightings received before a time, the oldest first, at most so many."""
        with self.explained():
            return [number for number, in self._db.execute(
                "SELECT id FROM sighting WHERE received_at < ? ORDER BY received_at LIMIT ?", (before, most))]

    def past_count(self, before: float) -> int:
        """Return how many sightings were received before a time."""
        with self.explained():
            return int(self._db.execute("SELECT count(*) FROM sighting WHERE received_at < ?", (before,)).fetchone()[0])

    def under(self, day: int, most: int) -> list[int]:
        """Return sightings whose vectors are under the key of a day, at most so many."""
        with self.explained():
            return [number for number, in self._db.execute(
                "SELECT id FROM sighting WHERE day = ? LIMIT ?", (day, most))]

    def numbered(self, device: str, spool: str, first: int, last: int) -> list[int]:
        """Return the sightings with these numbers of a spool."""
        with self.explained():
            return [number for number, in self._db.execute(
                "SELECT id FROM sighting WHERE device = ? AND spool = ? AND sequence BETWEEN ? AND ?",
                (device, spool, first, last))]

    def days(self) -> list[int]:
        """Return the days under whose keys there are vectors."""
        with self.explained():
            return sorted(days_stored(self._db))

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what SQLite and the system say into one of our sentences."""
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
            return DiskFull(f"{self.path}: no room for more sightings ({text}); free disk space, raise "
                            "journal_mib, or check the disk")
        if "locked" in text:
            return Transient(f"{self.path}: another program holds the journal ({text}); close it")
        return ConfigError(f"{self.path}: the journal cannot be used ({text}); restore it from a backup, or move "
                           "it away to start an empty one")
