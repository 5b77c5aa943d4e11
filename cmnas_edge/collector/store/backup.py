"""A copy of what a collector keeps, made while it runs; and a collector begun again from one.

A backup is a folder: the journal as it was at one moment, the other files beside it, and
``backup.json``, which says what is in it. It comes into being whole, by renaming, or not at all.
It holds no key: its vectors open only with the days' keys (`cmnas_edge.collector.store.keycopy`) and the
master key, so dropping a day's key ends that day in every backup, too.

What is restored is brought to what may be kept now before anything of it lies where a collector
would serve it: days that were dropped, records that were erased and whatever is past retention
go first.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from cmnas_edge import __version__
from cmnas_edge.collector.store.erasures import ERASED, RECEIPTS
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.collector.store.keys import Keys, Locked, day_name, days_in, path_of
from cmnas_edge.collector.store.reading import Reading
from cmnas_edge.collector.store.schema import beside
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.errors import CmnasError, ConfigError, DiskFull, Transient, unwritable
from cmnas_edge.private import hand_to_folders_owner, write_private

__all__ = ["Manifest", "Restored", "back_up", "restore"]

MANIFEST, JOURNAL = "backup.json", "journal.sqlite"
_PAGES = 1024       # copied at a time, 4 MiB


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup. ``made_at`` is the moment it shows; ``files`` are SHA-256 by name."""

    made_at: float
    version: str
    sightings: int
    links: int
    decisions: int
    days: list[str]
    files: dict[str, str]


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was made of a backup: how many sightings it held, were ended or erased since, were past retention."""

    made_at: float
    sightings: int
    ended: int
    over: int
    kept: int


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
        raise ConfigError(f"{source}: expected a collector's journal, found none; correct data")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConfigError(f"{to}: expected a folder that is not there yet, or an empty one, found something else; name "
                          "another: a backup is not replaced")
    partial = to.with_name(f".{to.name}.partial")
    with _alone(partial):
        try:
            files, at = {JOURNAL: _copy_database(source, partial / JOURNAL, progress)}, clock()
            for path in sorted(data.iterdir()):
                if path.is_file() and _beside_journal(path.name):
                    if path.read_bytes()[:16] == b"SQLite format 3\0":
                        files[path.name] = _copy_database(path, partial / path.name)
                    else:
                        write_private(partial / path.name, path.read_bytes())
                        files[path.name] = _digest(partial / path.name)
            with _opened(partial / JOURNAL, Keys(keys, master=master_key, make=False)) as copy:
                manifest = _verified(copy, at, files)
            write_private(partial / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
            (partial / ".lock").unlink()
            partial.rename(to)
            _sync(to.parent)
        except sqlite3.Error as error:
            if "full" in str(error):
                raise DiskFull(f"{to}: expected room for a backup, found a full disk; free some space and give the "
                               "same command again") from None
            raise Transient(f"{source}: it cannot be copied now ({error}); give the same command again") from None
        except OSError as error:
            raise unwritable(to, "a backup", error, "name another folder") from None
    return manifest


def restore(source: Path, data: Path, keys: Path, *, retention_h: float, master_key: Path | None = None,
            keys_copy: Path | None = None, clock: Callable[[], float] = time.time) -> Restored:
    """Begin a collector's folder from a backup.

    Args:
        source: The backup.
        data: Folder to begin; no journal may be there.
        keys: Folder of the days' keys. Where it has none they come from ``keys_copy``.
        retention_h: How long sightings may be kept.
        master_key: Its file; None: in the folder of keys.
        keys_copy: Where the collector that was backed up kept its keys' copy.
        clock: Epoch seconds.

    Raises:
        ConfigError: The folder is used, the backup is damaged, or a key it needs is nowhere; nothing is restored.
        DiskFull: There is no room.
    """
    manifest = _read(source)
    if (data / JOURNAL).exists():
        raise ConfigError(f"{data / JOURNAL}: expected no journal, found one; a backup is restored into a new folder: "
                          "move that one away, or name another in data")
    staging = data / ".restoring"
    with _alone(staging), _held(data):
        try:
            if keys_copy is not None and not days_in(keys):
                _fetch_keys(keys_copy, keys)
            for name in manifest.files:
                write_private(staging / name, (source / name).read_bytes())
            journal = Journal(staging, keys=keys, master_key=master_key)
            try:
                left = journal.count()
                upkeep = Upkeep(journal, retention_h=retention_h, clock=clock)
                upkeep.start()
                kept = journal.count()
                if not journal.empty_log():
                    raise Transient(f"{staging}: another program reads it; end that, and give the same command again")
            finally:
                journal.close()
            noted = (data / "audit.log").exists()   # since: that log's files are one chain, and take in none of another
            for name in sorted(manifest.files, key=JOURNAL.__eq__):     # it last: from then on there is a collector
                if not (data / name).exists() and not (noted and name.startswith("audit")):
                    # Enrolled since: a file that is there stays.
                    (staging / name).rename(data / name)
                    hand_to_folders_owner(data / name)
                    _sync(data)
            _sync(data)
        except OSError as error:
            raise unwritable(data, "what is restored", error, "correct data") from None
        shutil.rmtree(staging)
    return Restored(made_at=manifest.made_at, sightings=manifest.sightings, ended=manifest.sightings - left,
                    over=left - kept, kept=kept)


def _beside_journal(name: str) -> bool:
    """Which files of the data folder go along: not SQLite's own, locks, hidden ones, or the journal again."""
    return not (name.startswith(("journal", ".")) or name.endswith((".lock", "-wal", "-shm")))


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
    return _digest(target)


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


def _read(source: Path) -> Manifest:
    path = source / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: expected a backup, found {said}; name the folder that 'cmnas-edge collector "
                          "backup' made") from None
    for name, digest in manifest.files.items():
        if Path(name).name != name or name.startswith(".") or not (source / name).is_file() or (
                _digest(source / name) != digest):
            raise ConfigError(f"{source / name}: expected it as it was written, found another file or none; use "
                              "another backup")
    if JOURNAL not in manifest.files:
        raise ConfigError(f"{path}: expected a journal in it, found none; use another backup")
    return manifest


def _fetch_keys(copy: Path, keys: Path) -> None:
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    hand_to_folders_owner(keys)
    for name in ("dropped", ERASED, RECEIPTS, *(path_of(copy, day).name for day in sorted(days_in(copy)))):
        if (copy / name).exists():
            write_private(keys / name, (copy / name).read_bytes())
            hand_to_folders_owner(keys / name)


@contextmanager
def _opened(path: Path, keys: Keys) -> Iterator[Reading]:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        yield Reading(path, db, keys)
    finally:
        db.close()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Have a folder to work in: empty, and nobody else's. What an earlier end left in it goes."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, "what is copied", error, "name another folder") from None
    with _held(folder, ".lock"):
        for left in folder.iterdir():
            if left.name != ".lock":
                left.unlink()
        yield


@contextmanager
def _held(folder: Path, name: str = "journal.lock") -> Iterator[None]:
    """Keep others away from a folder: by the journal's lock a collector, too."""
    try:
        lock = os.open(folder / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        hand_to_folders_owner(folder / name)
    except OSError as error:
        raise unwritable(folder, "what is copied", error, "name another folder") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{folder}: another backup, restore or collector is at work there; let it end") from None
        yield
    finally:
        os.close(lock)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
