"""A collector begun again from a backup.

What is restored is brought to what may be kept now before anything of it lies where a collector
would serve it: days that were dropped, records that were erased and whatever is past retention
go first.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from cmnas_edge.collector.store.backup import JOURNAL, MANIFEST, Manifest, belongs
from cmnas_edge.collector.store.erasures import ERASED, RECEIPTS
from cmnas_edge.collector.store.journal import RESTORING, Journal
from cmnas_edge.collector.store.keys import DROPPED, days_in, path_of
from cmnas_edge.collector.store.staging import alone, copy_private, digest, held
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.errors import ConfigError, Transient, unwritable
from cmnas_edge.private import hand_to_folders_owner, to_disk, write_private

__all__ = ["Restored", "restore"]

_FETCHING = ".fetching"


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was made of a backup: how many sightings it held, were ended or erased since, were past retention."""

    made_at: float
    sightings: int
    ended: int
    over: int
    kept: int


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
    staging = data / RESTORING
    with held(data), alone(staging):
        try:
            _refuse_logs(data, manifest.files)
            if keys_copy is not None:
                _fetch_keys(keys_copy, keys)
            for name in manifest.files:
                copy_private(source / name, staging / name)
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
                    to_disk(data)
            to_disk(data)
        except OSError as error:
            raise unwritable(data, "what is restored", error, "correct data") from None
        shutil.rmtree(staging)
    return Restored(made_at=manifest.made_at, sightings=manifest.sightings, ended=manifest.sightings - left,
                    over=left - kept, kept=kept)


def _refuse_logs(data: Path, names: Iterable[str]) -> None:
    """SQLite would take a log that lies there for the restored file's, and put back whatever stands in it."""
    for name in names:
        for log in (data / f"{name}-wal", data / f"{name}-journal"):
            if log.exists() and not (data / name).exists():
                raise ConfigError(f"{log}: expected no log of a file that is not there, found what a collector had not "
                                  f"written into {name} yet; move that away, too")


def _read(source: Path) -> Manifest:
    path = source / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: expected a backup, found {said}; name the folder that 'cmnas-edge collector "
                          "backup' made") from None
    for name, wanted in manifest.files.items():
        if Path(name).name != name or not (belongs(name) or name == JOURNAL) or not (source / name).is_file() or (
                digest(source / name) != wanted):
            raise ConfigError(f"{source / name}: expected it as it was written, found another file or none; use "
                              "another backup")
    if JOURNAL not in manifest.files:
        raise ConfigError(f"{path}: expected a journal in it, found none; use another backup")
    return manifest


def _fetch_keys(copy: Path, keys: Path) -> None:
    """Take the keys from their copy where there are none, or not all of them yet since an earlier end.

    Raises:
        ConfigError: A collector has begun there meanwhile, with keys of its own.
        OSError: They cannot be read or written.
    """
    begun = keys / _FETCHING
    if days_in(keys) and not begun.exists():
        return
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    hand_to_folders_owner(keys)
    # First what is no more, so that nothing of it comes back.
    names = [DROPPED, ERASED, RECEIPTS, *(path_of(copy, day).name for day in sorted(days_in(copy)))]
    found = {name: (copy / name).read_bytes() for name in names if (copy / name).exists()}
    for name, data in found.items():
        if (keys / name).exists() and (keys / name).read_bytes() != data:
            raise ConfigError(f"{keys / name}: expected it as in {copy}, where the rest of the keys is, found it "
                              "changed; move these keys away, or name another folder in keys")
    write_private(begun, b"")
    for name, data in found.items():
        write_private(keys / name, data)
        hand_to_folders_owner(keys / name)
    begun.unlink()
