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
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.erasures import Erasure, Erasures
from cmnas_edge.collector.store.gone import note_gone
from cmnas_edge.collector.store.keys import Keys, refuse_lost
from cmnas_edge.collector.store.place import Place
from cmnas_edge.collector.store.reading import Reading
from cmnas_edge.collector.store.records import LINK_FIELDS, Arrival, Decision, JournalGap, Record
from cmnas_edge.collector.store.removal import Removed, forget_decisions, remove
from cmnas_edge.collector.store.room import lacking
from cmnas_edge.collector.store.schema import prepare, sealed_days
from cmnas_edge.collector.store.storing import take
from cmnas_edge.errors import ConfigError, DiskFull
from cmnas_edge.log import Repeats
from cmnas_edge.private import hand_to_folders_owner

__all__ = ["RESTORING", "Arrival", "Decision", "Journal", "JournalGap", "Record"]

_log = logging.getLogger("cmnas.collector")

RESTORING = ".restoring"    # a backup on its way into a folder
_SPARE = 1024       # pages beyond the limit, 4 MiB, in which full journals decide, forget and erase
_CHUNK = 2000       # sightings removed in one commit: a tenth of a second in which nobody is answered
_FEW = 50           # on a full disk


class Journal(Reading):
    """The truth about what was received; nothing is answered before it stands here.

    Raises:
        ConfigError: Another collector has it open, it is damaged, or it is of an unknown
            schema, or a key is missing; the message says which file and what to do.
        DiskFull: The disk has no room for it.
        Transient: Another program holds the file.
    """

    def __init__(self, folder: Path, *, keys: Path | None = None, master_key: Path | None = None, limit_mib: int = 0,
                 patience_s: float = 2.0) -> None:
        """Open it, or make it, or make one of an earlier release one of this.

        Args:
            folder: Of its file, made with mode 0700.
            keys: Folder of the days' keys; None: ``folder/keys``.
            master_key: File of the key that wraps them; None: in that folder.
            limit_mib: Size from which on no sightings are stored; 0 leaves it to the disk.
            patience_s: How long another program may hold the file.
        """
        path = folder / "journal.sqlite"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "journal.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            hand_to_folders_owner(folder / "journal.lock")
        except OSError as error:
            raise ConfigError(f"{folder}: expected a folder to write the journal in, found {error.strerror}; "
                              "correct data or its mode") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(f"{path}: in use by another collector; stop that one or give this one "
                              "another data folder") from None
        try:
            # Half a restore that was ended holds what may be over or erased; the lock says that none goes on.
            shutil.rmtree(folder / RESTORING, ignore_errors=True)
            self.path = path
            with self.explained():      # before a key is made, which would open nothing of it
                refuse_lost(path, sealed_days(path), keys or folder / "keys")
            super().__init__(path, sqlite3.connect(":memory:"), Keys(keys or folder / "keys", master=master_key))
            self.keys.hold()
            try:
                self._open(limit_mib, patience_s)
            except BaseException:
                self.keys.release()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, limit_mib: int, patience_s: float) -> None:
        with self.explained():
            # Made here first: SQLite's own files take this one's mode.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self.path.chmod(0o600)
            hand_to_folders_owner(self.path)
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=patience_s)
        try:
            with self.explained():
                prepare(self._db, self.path, self.keys)
                (page,) = self._db.execute("PRAGMA page_size").fetchone()
                self._most = limit_mib * 2**20 // page
                (last,) = self._db.execute("SELECT max(coalesce((SELECT max(id) FROM sighting), 0), coalesce("
                                           "(SELECT value FROM mark WHERE name = 'sighting'), 0))").fetchone()
                self._erased = {number for number, in self._db.execute("SELECT id FROM erased")}
            self._last: int = last
            self._last_identity = self.last_identity()
            self._place, self._repeats = Place(), Repeats()
            self._settle()
            with self.explained():
                self._place = Place(self.path, self._log_path)
        except BaseException:
            self._db.close()
            raise

    def _settle(self) -> None:
        """Take out what was ended while this journal lay elsewhere: a backup knows nothing of it."""
        dropped = self.keys.dropped()
        for day in self.days():
            if day in dropped:
                while ids := self.under(day, _CHUNK):
                    self.remove(ids)
        for erasure in Erasures(self.keys.folder).entries:
            if erasure.id not in self._erased:
                self.erase(erasure)
        self.empty_log()    # whatever an earlier end left there is applied, and gone from there

    def append(self, arrivals: Sequence[Arrival], links: Iterable[Link] = ()) -> list[list[int | None]]:
        """Store, in one commit, what some requests brought and links decided before.

        Returns:
            Per arrival and item: the new id of a sighting, 0 for a gap, None for a sighting
            that was stored before, be it here or gone. It is on the disk when this returns.

        Raises:
            DiskFull: Nothing of it was stored.
            Transient: Another program holds the file; nothing of it was stored.
            ConfigError: The file is damaged; nothing of it was stored.
        """
        with self._committed(spare=not arrivals):
            if arrivals and (why := lacking(self.path.parent, self._db)):
                raise DiskFull(f"{self.path}: no room for more sightings ({why}); free disk space")
            self._link(links)
            return [self._store(arrival) for arrival in arrivals]

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

    def remove(self, ids: Sequence[int]) -> Removed:
        """Take sightings out for good, with their links and what was decided about them, in commits of not too many.

        The files hold nothing of them once `empty_log` is true.

        Raises:
            DiskFull, Transient, ConfigError: As `append`.
        """
        removed, start, most = Removed(), 0, _CHUNK
        while start < len(ids):
            try:
                with self._committed():
                    part, gone = remove(self._db, ids[start:start + most],
                                        {"sighting": self._last, "identity": self._last_identity})
                    note_gone(self._db, gone)
            except DiskFull:
                if most == _FEW:
                    raise
                most = _FEW
            else:
                removed += part
                start += most
            if most == _FEW:
                self.empty_log()    # the next has that room
        return removed

    def erase(self, erasure: Erasure) -> Removed:
        """Take out what an entry of the erasure list names, as far as it is here; again to no effect.

        Raises:
            DiskFull, Transient, ConfigError: As `append`; what was not erased is at the next start.
        """
        removed = self.remove([number for each in erasure.records for number in self.numbered(*each)])
        with self._committed():
            for device, spool, first in erasure.gaps:
                removed.gaps += self._db.execute("DELETE FROM gap WHERE device = ? AND spool = ? AND first = ?",
                                                 (device, spool, first)).rowcount
            note_gone(self._db, erasure.records)    # a backup may lack some, and they may be sent again
            self._db.execute("INSERT OR IGNORE INTO erased VALUES (?)", (erasure.id,))
        self._erased.add(erasure.id)
        return removed

    def forget(self, before: float) -> Removed:
        """Take out gaps reported, and decisions made about nothing that is left, before a time."""
        removed = Removed()
        with self._committed():
            removed.gaps = self._db.execute("DELETE FROM gap WHERE received_at < ?", (before,)).rowcount
            removed.decisions = forget_decisions(self._db, before)
        return removed

    def empty_log(self) -> bool:
        """Empty the log beside the file, which may hold what was removed.

        Returns:
            False while another program reads it, or while the disk has no room to.
        """
        try:
            with self.explained():
                busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                return not busy
        except DiskFull:
            return False

    def _link(self, links: Iterable[Link]) -> None:
        links = list(links)
        self._last_identity = max((self._last_identity, *(link.identity for link in links)))
        self._db.executemany(f"INSERT INTO link ({LINK_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  no input in it
                             [msgspec.structs.astuple(link) for link in links])

    def _store(self, arrival: Arrival) -> list[int | None]:
        taken = take(self._db, self.keys, arrival, self._last)
        self._last = taken.last
        if taken.is_foreign and self._repeats.admit(arrival.device) is not None:
            _log.error("%s: sends another record under a number that is stored already, and that one is lost; if "
                       "two devices have one card's image, give each a name, a token and a spool of its own",
                       arrival.device)
        return taken.stored

    def space(self) -> tuple[int, int]:
        """Bytes that the journal takes, its log included, and bytes that are free where it lies."""
        taken = sum(path.stat().st_size for path in (self.path, self._log_path) if path.exists())
        return taken, shutil.disk_usage(self.path.parent).free

    @property
    def _log_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    def close(self) -> None:
        """Close the file and let another collector have it."""
        self._db.close()
        self.keys.release()
        os.close(self._lock)

    @contextmanager
    def _committed(self, *, spare: bool = True) -> Iterator[None]:
        """Commit what is done within, or nothing of it; sightings have no part in the spare pages."""
        last = self._last
        with self.explained():
            if self._most:
                self._db.execute(f"PRAGMA max_page_count={self._most + _SPARE * spare}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._last = last
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._place.check()     # before anything of it is acknowledged
