"""A copy of what a collector keeps, made while it runs.

A backup is a folder: the journal as it was at one moment, the other files beside it, and
``backup.json``, which says what is in it. It comes into being whole, by renaming, or not at all.
It holds no key: its vectors open only with the days' keys (`cmnas_edge.collector.store.keycopy`) and the
master key, so dropping a day's key ends that day in every backup, too. Secrets that lie beside the journal,
against advice, stay there.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from cmnas_edge import __version__
from cmnas_edge.collector.store.erasures import ERASED, RECEIPTS
from cmnas_edge.collector.store.keys import DROPPED, SECRETS, Keys, Locked, day_name
from cmnas_edge.collector.store.reading import Reading
from cmnas_edge.collector.store.schema import beside
from cmnas_edge.collector.store.staging import alone, copy_private, digest
from cmnas_edge.errors import CmnasError, ConfigError, DiskFull, Transient, unwritable
from cmnas_edge.private import to_disk, write_private

__all__ = ["JOURNAL", "MANIFEST", "Manifest", "back_up", "belongs"]

MANIFEST, JOURNAL = "backup.json", "journal.sqlite"
_PAGES = 1024       # copied at a time, 4 MiB
_LOOK = 4096        # bytes of a file that say whether it is a secret


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup. ``made_at`` is the moment it shows; ``files`` are SHA-256 by name."""

    made_at: float
    version: str
    sightings: int
    links: int
    decisions: int
    days: list[str]
    files: dict[str, str]


def back_up(data: Path, to: Path, keys: Path, *, master_key: Path | None = None,
            progress: Callable[[int, int], None] | None = None, clock: Callable[[], float] = time.time) -> Manifest:
    """Copy what a collector keeps, which may run meanwhile, and look at what was written.

    Args:
        data: Its folder.
        to: Folder to make; it may be there if it is empty.
        keys: Folder of the days' keys; they are looked at, not copied.
        master_key: Its file; None: in that folder.
        progress: Called with pages done and all.
        clock: Epoch seconds.

    Raises:
        ConfigError: There is no journal, or something is where the backup was to be.
        DiskFull: There is no room for it.
        Transient: Another program holds the journal.
        CmnasError: What was written is not what was read.
    """
    source = data / JOURNAL
    if not source.is_file():
        raise ConfigError(f"{source}: expected a collector's journal, found none; correct data, or run the collector")
    to = to.absolute()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConfigError(f"{to}: expected a folder that is not there yet, or an empty one, found something else; name "
                          "another: a backup is not replaced")
    partial = to.with_name(f".{to.name}.partial")
    with alone(partial):
        try:
            files, at = {JOURNAL: _copy_database(source, partial / JOURNAL, progress)}, clock()
            for path in sorted(data.iterdir()):
                if path.is_file() and belongs(path.name) and not _is_secret(begins := _beginning(path)):
                    copied = _copy_database if begins.startswith(b"SQLite format 3\0") else copy_private
                    files[path.name] = copied(path, partial / path.name)
            with _opened(partial / JOURNAL, Keys(keys, master=master_key, make=False)) as copy:
                manifest = _verified(copy, at, files)
            write_private(partial / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
            (partial / ".lock").unlink()
            partial.rename(to)
            to_disk(to.parent)
        except sqlite3.Error as error:
            if "full" in str(error):
                raise DiskFull(f"{to}: expected room for a backup, found a full disk; free some space and give the "
                               "same command again") from None
            raise Transient(f"{source}: it cannot be copied now ({error}); give the same command again") from None
        except OSError as error:
            raise unwritable(to, "a backup", error, "name another folder") from None
    return manifest


def belongs(name: str) -> bool:
    """Whether a file of the data folder goes along: not the journal again, and none of keys, of SQLite's own, locks."""
    return not (name.startswith(("journal", ".")) or name.endswith((".lock", "-wal", "-shm", ".key"))
                or name in (DROPPED, ERASED, RECEIPTS))


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LOOK)


def _is_secret(begins: bytes) -> bool:
    """Whether a file opens something: a key of ours, of TLS or of sealing, a token."""
    return begins.startswith(SECRETS) or b"PRIVATE KEY-----" in begins


def _copy_database(source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> str:
    """Copy an SQLite file as it is at one moment, whoever writes it; return the copy's SHA-256."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None,
                                 timeout=10)) as one, closing(sqlite3.connect(target, isolation_level=None)) as other:
        one.execute("BEGIN")
        one.execute("SELECT count(*) FROM sqlite_master").fetchone()    # the moment; a writer does not restart it
        one.backup(other, pages=_PAGES, sleep=0, progress=None if progress is None else (
            lambda _, left, total: progress(total - left, total)))
        one.execute("COMMIT")
        other.execute("PRAGMA journal_mode=DELETE").fetchone()
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return digest(target)


def _verified(copy: Reading, at: float, files: dict[str, str]) -> Manifest:
    """Look at a copy: its pages, its counts, and whether a vector of each day opens."""
    db = copy.database()
    (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise CmnasError(f"{copy.path}: expected a whole copy, found: {verdict}; look at the disk, and back up again")
    days = copy.days()
    for day in days:
        device, spool, sequence, packing, vector = db.execute(
            "SELECT device, spool, sequence, packing, vector FROM sighting WHERE day = ? LIMIT 1", (day,)).fetchone()
        try:
            copy.keys.open(day, vector, beside(device, spool, sequence, packing))
        except Locked as error:
            if day in copy.keys.days():
                raise CmnasError(f"{copy.path}: expected vectors of {day_name(day)} that open, found one that does not "
                                 f"({error}); look at the disk, and back up again") from None
    counts = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]     # noqa: S608  no input in it
              for table in ("sighting", "link", "decision")}
    return Manifest(made_at=at, version=__version__, sightings=counts["sighting"], links=counts["link"],
                    decisions=counts["decision"], days=[day_name(day) for day in days], files=files)


@contextmanager
def _opened(path: Path, keys: Keys) -> Iterator[Reading]:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        yield Reading(path, db, keys)
    finally:
        db.close()
