"""Which devices may report: enrolment, and recognising a device by its token.

A token is 256 random bits, shown once. Only its SHA-256 is kept: a digest of that much
randomness cannot be searched, so it needs no salt and no slow hash. The file is re-read when
it changes, so a device can be enrolled while the collector runs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from cmnas_edge.errors import CmnasError, ConfigError, DiskFull
from cmnas_edge.private import hand_to_folders_owner, write_private
from cmnas_edge.sighting import NAME_WORDS, is_name

__all__ = ["Device", "Devices", "new_token"]


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One enrolled device: its name, and what its token hashes to."""

    name: str
    token_sha256: str
    enrolled_at: float


class Devices:
    """The enrolled devices in one file (mode 0600), readable while another process enrols."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "devices.json"
        self._stamp: tuple[int, ...] | None = None
        self._devices: list[Device] = []

    def enrol(self, name: str, *, rotate: bool = False, token: str = "", now: float | None = None,
              first: Callable[[], None] = lambda: None) -> str:
        """Give a device a token, replacing its old one only when told to.

        Args:
            name: Of the device.
            rotate: Replace the token of an enrolled device.
            token: One of `new_token` that is kept already; empty draws one.
            now: Epoch seconds; None asks the clock.
            first: Called when it can be done and is not yet; if it raises, nothing is changed.

        Returns:
            The token. It is not kept: this is the only time it can be read.

        Raises:
            ConfigError: No device may be called this; it is enrolled already and ``rotate``
                is false; another differs only in upper and lower case; or the file cannot be
                used.
            DiskFull: There is no room to write it; what was enrolled stays so.
        """
        if not is_name(name):
            raise ConfigError(f"device name: expected {NAME_WORDS}, found {name[:80]!a}; choose another")
        with self._locked():
            known = self._read()
            if any(device.name == name for device in known) and not rotate:
                raise ConfigError(f"{self._path}: {name!r} is enrolled already, and a new token would stop its "
                                  "cameras until they have it; pass --rotate to replace it")
            if twin := next((d.name for d in known if d.name != name and d.name.lower() == name.lower()), ""):
                raise ConfigError(f"device name: {name!r} differs from the enrolled {twin!r} only in upper and lower "
                                  "case, and people would take one for the other; choose another")
            token = token or new_token()
            device = Device(name, _digest(token), time.time() if now is None else now)
            kept = [old for old in known if old.name != name]
            first()
            self._write([*kept, device])
        return token

    def revoke(self, name: str, *, first: Callable[[], None] = lambda: None) -> None:
        """Take a device out: its token is refused from its next batch on, by a running collector too.

        Args:
            name: Of an enrolled device, to the letter.
            first: As of `enrol`.

        Raises:
            ConfigError: None is called this; or the file cannot be used.
            DiskFull: There is no room to write it; the device stays enrolled.
        """
        with self._locked():
            known = self._read()
            kept = [device for device in known if device.name != name]
            if len(kept) == len(known):
                raise ConfigError(f"{self._path}: expected an enrolled device, found none called {name[:80]!a}, and "
                                  "nothing was changed; 'cmnas-edge collector CONFIG.toml --check' lists them")
            first()
            self._write(kept)

    def recognise(self, token: str) -> str | None:
        """Return the name of the device whose token this is, or None."""
        digest, found = _digest(token), None
        for device in self.known():  # every one is compared, so the time tells nothing
            if hmac.compare_digest(device.token_sha256, digest):
                found = device.name
        return found

    def known(self) -> list[Device]:
        """Return the enrolled devices, from the file when it has changed.

        Raises:
            ConfigError: The file cannot be read, is damaged, or others may read it.
        """
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._devices = None, []
            return []
        except OSError as error:
            raise _explained(self._path, error) from None
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size, stat.st_mode)
        if stamp != self._stamp:
            self._devices = self._read()
            self._stamp = stamp
        return self._devices

    def _write(self, devices: list[Device]) -> None:
        try:
            write_private(self._path, msgspec.json.format(msgspec.json.encode(devices)) + b"\n")
            hand_to_folders_owner(self._path)
        except OSError as error:
            raise _explained(self._path, error) from None

    def _read(self) -> list[Device]:
        try:
            mode = self._path.stat().st_mode & 0o777
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _explained(self._path, error) from None
        if mode & 0o077:
            raise ConfigError(f"{self._path}: expected mode 0600, found {mode:04o}; run chmod 600 {self._path}")
        try:
            return msgspec.json.decode(data, type=list[Device])
        except msgspec.DecodeError as error:
            raise ConfigError(f"{self._path}: expected the list of enrolled devices, found something else "
                              f"({error}); restore it from a backup or enrol the devices again") from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self._path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(folder / "devices.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            hand_to_folders_owner(folder / "devices.lock")
        except OSError as error:
            raise _explained(folder, error) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def new_token() -> str:
    """Draw a token: 256 random bits."""
    return "cmnas_" + secrets.token_urlsafe(32)


def _explained(path: Path, error: OSError) -> CmnasError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return DiskFull(f"{path}: no room for the list of devices ({error.strerror}); free disk space and try again")
    return ConfigError(f"{path}: expected a folder and files of this user's to keep the devices in, found: "
                       f"{error.strerror}; correct data or the mode")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
