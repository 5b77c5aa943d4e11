"""A key for each day, so that a day can be ended everywhere at once: drop its key, and no copy of it opens.

Vectors are sealed (AES-256-GCM) under the key of the UTC day they were received on. Each key is a
file of its own, wrapped by a master key, in a folder that no backup of the journal holds::

    master.key            made at the first start; keep a copy of it where backups are not
    day-2026-11-21.key    what seals that day, wrapped by the master key
    dropped               the days whose keys are gone, one a line; they stay gone

A nonce is drawn for each vector. A day at 20,000 sightings a second is 2**30.7 of them, below the
2**32 that NIST SP 800-38D (8.3) allows a key with nonces of 96 random bits. One derived from the
record's number would repeat where a number is used again, after a restore; two texts under one
nonce show each other.

Keys are dropped by overwriting and deleting a file. What a flash disk keeps of an overwritten
block is beyond us: the master key on another medium is what answers that.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Collection
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cmnas_edge.errors import ConfigError, unwritable
from cmnas_edge.private import hand_to_folders_owner, handed, read_secret, to_disk, write_private

__all__ = ["ADDED_BYTES", "DAY_S", "DROPPED", "SECRETS", "Keys", "Locked", "day_name", "day_of", "days_in",
           "new_master", "overwrite", "path_of", "refuse_lost"]

DAY_S = 86400
ADDED_BYTES = 28            # nonce and tag
_NONCE = 12
_HALF = (".day-", ".dropped.", ".master.key.", ".erased.jsonl.", ".receipts.jsonl.")    # an end amid a write left it
_FIRST = date(1970, 1, 1)
_MASTER = "cmnas-master-key-1 "
_DAY = "cmnas-day-key-1 "
DROPPED = "dropped"
SECRETS = (_MASTER.encode(), _DAY.encode())     # how a file of a key begins


class Locked(Exception):
    """A vector that does not open: its key is gone, or it, or what it belongs to, was changed."""


def day_of(at: float) -> int:
    """Return the UTC day of a time in epoch seconds, counted from 1970-01-01."""
    return int(at // DAY_S)


def day_name(day: int) -> str:
    """Write a day as people do: 2026-11-21."""
    return (_FIRST + timedelta(days=day)).isoformat()


def new_master() -> bytes:
    """Draw a master key, as its file holds it."""
    return f"{_MASTER}{secrets.token_hex(32)}\n".encode()


def path_of(folder: Path, day: int) -> Path:
    """Where the key of a day is, in a folder of keys."""
    return folder / f"day-{day_name(day)}.key"


def days_in(folder: Path) -> set[int]:
    """Return the days that have a key in a folder."""
    return {day for path in folder.glob("day-*.key") if (day := _day(path.stem[4:])) is not None}


def refuse_lost(journal: Path, days: Collection[int], folder: Path) -> None:
    """See whether a folder has the keys of days that a journal needs; it may be that there is none yet.

    Args:
        journal: The journal's file.
        days: Under whose keys its vectors are.
        folder: Of the keys.

    Raises:
        ConfigError: One is lost. A new one would open nothing.
    """
    if lost := sorted({*days} - days_in(folder) - _read_days(folder / DROPPED)):
        days_lost = ", ".join(map(day_name, lost))
        raise ConfigError(f"{journal}: expected the keys of {days_lost}, found none in {folder}; put them back from "
                          "their copy (keys_copy); or, if they are lost for good, write these days into its file "
                          "'dropped', one a line, and what they locked is taken out")


class Keys:
    """The keys of the days that are kept. Used by one thread, and written by one process.

    Promise: once `drop` returns, nothing that was sealed under that day opens again, and no
    later key stands for that day.
    """

    def __init__(self, folder: Path, *, master: Path | None = None, make: bool = True) -> None:
        """Open the folder; make it, and the master key, where there is none.

        Args:
            folder: Of the keys, made with mode 0700.
            master: File of the master key; None: ``master.key`` in the folder.
            make: Whether what is missing may be made; a reader beside a collector makes nothing.

        Raises:
            ConfigError: The folder or a key cannot be read or written, or is none.
            DiskFull: There is no room for it.
        """
        self.folder = folder
        self.master_path = master or folder / "master.key"
        self.made_master = False
        self._make = make
        self._held: int | None = None
        self._ciphers: dict[int, AESGCM] = {}
        try:
            if make:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                hand_to_folders_owner(folder)
            names = [path.name for path in folder.iterdir()]
        except OSError as error:
            raise unwritable(folder, "keys", error, "correct keys or its mode") from None
        self._dropped = _read_days(folder / DROPPED)
        for day in self._dropped & self.days():
            self._destroy(day)      # it ended between writing that it is dropped and dropping it
        self._master = self._open_master(names)

    def hold(self) -> None:
        """Keep other collectors away from the folder until `release`, as each would drop what the other needs; tidy it.

        Raises:
            ConfigError: Another has it; or it cannot be written.
        """
        path = self.folder / "keys.lock"
        try:
            self._held = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            hand_to_folders_owner(path)
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in self.folder.iterdir():
                if left.name.startswith(_HALF):     # nobody else writes here now
                    left.unlink(missing_ok=True)
        except BlockingIOError:
            self.release()
            raise ConfigError(f"{self.folder}: held by another collector, or by what restores one, and each has keys "
                              "and a list of what is erased of its own; name another folder in keys, or end that one"
                              ) from None
        except OSError as error:
            self.release()
            raise unwritable(self.folder, "keys", error, "correct keys or its mode") from None

    def release(self) -> None:
        """Let another collector have the folder."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def days(self) -> set[int]:
        """Return the days that have a key.

        Raises:
            ConfigError: The folder cannot be read.
        """
        try:
            return days_in(self.folder)
        except OSError as error:
            raise unwritable(self.folder, "keys", error, "correct keys or its mode") from None

    def dropped(self) -> set[int]:
        """Return the days whose keys were dropped."""
        return set(self._dropped)

    def day_for(self, received_at: float) -> int:
        """Return the day to seal under what is received now; a clock that steps back revives no dropped day."""
        return max(day_of(received_at), max(self._dropped, default=-1) + 1)

    def seal(self, day: int, plain: bytes, beside: bytes) -> bytes:
        """Seal a vector; ``beside`` says whose it is, and it opens beside nothing else.

        Raises:
            DiskFull: There is no room for the key of a new day.
            ConfigError: It cannot be written, or that day's key cannot be read.
        """
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher(day, make=self._make).encrypt(nonce, plain, beside)

    def open(self, day: int, sealed: bytes, beside: bytes) -> bytes:
        """Give back what was sealed.

        Raises:
            Locked: The day has no key (any more), or what was sealed or stands beside it was changed.
            ConfigError: The key's file cannot be read.
        """
        try:
            return self._cipher(day, make=False).decrypt(sealed[:_NONCE], sealed[_NONCE:], beside)
        except (InvalidTag, ValueError) as error:
            raise Locked(f"it, or what it belongs to, was changed since it was stored ({type(error).__name__})"
                         ) from None

    def drop(self, day: int) -> None:
        """End a day: its key is gone when this returns, here, for good.

        Raises:
            DiskFull: There is no room to write down that it is gone; the key is still there.
            ConfigError: The folder cannot be written.
        """
        if day not in self._dropped:
            self._write(DROPPED, "".join(f"{day_name(d)}\n" for d in sorted({*self._dropped, day})))
            self._dropped.add(day)
        self._ciphers.pop(day, None)
        self._destroy(day)

    def _destroy(self, day: int) -> None:
        try:
            path = self._path(day)
            try:
                overwrite(path)
                path.unlink()
            except FileNotFoundError:
                return
            to_disk(self.folder)
        except OSError as error:
            raise unwritable(self.folder, "a key", error, "correct keys or its mode") from None

    def _cipher(self, day: int, *, make: bool) -> AESGCM:
        found = self._ciphers.get(day)
        if found is None:
            path = self._path(day)
            if path.exists():
                key = self._unwrap(day, path)
            elif not make:
                raise Locked(f"the key of {day_name(day)} is gone" if day in self._dropped
                             else f"there is no key of {day_name(day)}")
            else:
                key = AESGCM.generate_key(256)
                nonce = os.urandom(_NONCE)
                wrapped = nonce + self._master.encrypt(nonce, key, _DAY.encode() + str(day).encode())
                self._write(path.name, f"{_DAY}{wrapped.hex()}\n")
            found = self._ciphers[day] = AESGCM(key)
        return found

    def _unwrap(self, day: int, path: Path) -> bytes:
        wrapped = _secret(path, _DAY, 32 + ADDED_BYTES)
        try:
            return self._master.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _DAY.encode() + str(day).encode())
        except InvalidTag:
            raise ConfigError(f"{path}: expected a key that {self.master_path} wrapped, found another; put the master "
                              "key of these keys there, or name it in master_key") from None

    def _open_master(self, names: list[str]) -> AESGCM:
        path = self.master_path
        if self._make and not handed(path).exists():
            if any(name.startswith("day-") for name in names):
                raise ConfigError(f"{path}: expected the master key of the keys in {self.folder}, found none; put it "
                                  "back from where you keep its copy, or name it in master_key")
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_private(path, new_master())
                hand_to_folders_owner(path)
            except OSError as error:
                raise unwritable(path, "a key", error, "correct master_key", kind="a file") from None
            self.made_master = True
        return AESGCM(_secret(path, _MASTER, 32))

    def _write(self, name: str, text: str) -> None:
        try:
            write_private(self.folder / name, text.encode())
            hand_to_folders_owner(self.folder / name)
        except OSError as error:
            raise unwritable(self.folder, "keys", error, "correct keys or its mode") from None

    def _path(self, day: int) -> Path:
        return path_of(self.folder, day)


def overwrite(path: Path) -> None:
    """Write chance over a file, on the disk when this returns; of a link, which is no key, over nothing.

    Raises:
        OSError: It cannot be.
    """
    if path.is_symlink():
        return
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), "r+b") as file:
        file.write(secrets.token_bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())


def _secret(path: Path, kind: str, size: int) -> bytes:
    text = read_secret(path)
    try:
        found = bytes.fromhex(text.removeprefix(kind))
    except ValueError:
        found = b""
    if not text.startswith(kind) or len(found) != size:
        raise ConfigError(f"{path}: expected a key that a collector made, found something else; put the right file "
                          "there")
    return found


def _day(name: str) -> int | None:
    try:
        at = datetime.strptime(name, "%Y-%m-%d").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return (at.date() - _FIRST).days


def _read_days(path: Path) -> set[int]:
    try:
        names = path.read_text("utf-8").split()
    except FileNotFoundError:
        return set()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected the days whose keys are gone, found {getattr(error, 'strerror', error)}; "
                          "put it back from where you keep its copy") from None
    return {day for name in names if (day := _day(name)) is not None}
