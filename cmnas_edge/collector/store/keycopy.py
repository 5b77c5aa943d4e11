"""A copy of the days' keys elsewhere, kept up as days come and go: what a restored backup is opened with.

A backup of the journal may lie anywhere, for as long as anybody likes; it opens nothing without
keys. Their copy is one folder that changes with ours: a key that is dropped here is dropped there.
So it must not be on a medium that keeps what was deleted, and the master key is never in it.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from cmnas_edge.collector.store.erasures import ERASED, RECEIPTS
from cmnas_edge.collector.store.keys import Keys, day_name, days_in, overwrite, path_of
from cmnas_edge.private import hand_to_folders_owner, write_private

__all__ = ["KeyCopy"]

_log = logging.getLogger("cmnas.collector")
_LISTS = ("dropped", ERASED, RECEIPTS)


class KeyCopy:
    """Keeps the copy up on a thread of its own: a server that hangs must not hold up who writes."""

    def __init__(self, keys: Keys, folder: Path | None) -> None:
        self.trouble = ""
        self._keys = keys.folder
        self._folder = folder
        self._thread: threading.Thread | None = None
        self._again = False

    def keep_up(self) -> None:
        """Bring it to what the keys are now, soon."""
        if self._folder is None:
            return
        if self._thread is not None and self._thread.is_alive():
            self._again = True
            return
        self._thread = threading.Thread(target=self._run, args=(self._folder,), name="keys-copy", daemon=True)
        self._thread.start()

    def close(self, patience_s: float = 10.0) -> None:
        """Wait for what is under way, but not for ever."""
        if self._thread is not None:
            self._thread.join(patience_s)

    def _run(self, folder: Path) -> None:
        self._again = True
        while self._again:
            self._again = False
            said = self.trouble
            try:
                _copy(self._keys, folder)
                self.trouble = ""
            except OSError as error:
                self.trouble = (f"keys_copy: {folder} cannot be kept up ({error.strerror or error}): keys dropped here "
                                "may still be there, and new ones are not; make it writable")
            if self.trouble and self.trouble != said:
                _log.error("%s", self.trouble)


def _copy(keys: Path, folder: Path) -> None:
    """Bring a folder to what the keys are.

    Raises:
        OSError: It cannot be read or written, or is the copy of other keys.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ours, dropped = {day: path_of(keys, day).read_bytes() for day in days_in(keys)}, set(_read(keys, "dropped").split())
    theirs = {day: path_of(folder, day).read_bytes() for day in days_in(folder)}
    # A machine that begins anew must not take the keys of the one it replaces for some that it dropped.
    if (any(ours.get(day) != data for day, data in theirs.items() if day_name(day).encode() not in dropped)
            or not set(_read(folder, "dropped").split()) <= dropped
            or not _read(keys, RECEIPTS).startswith(_read(folder, RECEIPTS))):
        raise OSError(0, "it holds the keys of another collector, or of this one before it began anew: restore from "
                         "it, or name another folder")
    for name in _LISTS:     # first what is no more, so that no restore revives it
        if data := _read(keys, name):
            _write(folder / name, data)
    for day in theirs.keys() - ours.keys():
        path = path_of(folder, day)
        overwrite(path)
        path.unlink()
    for day, data in ours.items():
        _write(path_of(folder, day), data)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    return path.read_bytes() if path.exists() else b""


def _write(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        write_private(path, data)
        hand_to_folders_owner(path)
