"""What was erased on request: the list that every restored journal is held to, and a receipt for each.

Both are files beside the days' keys, where no backup of the journal is and no restore reaches.
The list (``erased.jsonl``) names records by device, spool and number, since a backup knows them by
nothing else that stays; an entry is forgotten when retention has passed over all it names.
Receipts (``receipts.jsonl``) are kept. Each carries the SHA-256 of the one before it, so whoever
holds one can tell that none before it was changed or left out.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from cmnas_edge.collector.store.keys import DAY_S
from cmnas_edge.collector.store.ranges import Range
from cmnas_edge.errors import ConfigError, Unaccounted, unwritable
from cmnas_edge.private import hand_to_folders_owner, write_private

__all__ = ["ERASED", "RECEIPTS", "Erasure", "Erasures", "Receipt", "Selection", "verified"]

ERASED, RECEIPTS = "erased.jsonl", "receipts.jsonl"
_NOBODY = "0" * 64
_T = TypeVar("_T")


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What to erase: whatever fits all that is given; nothing given fits nothing.

    Attributes:
        identity: Number of a probable person.
        device: Name of a device.
        camera: Name of a camera, with its device.
        seen_from: Epoch seconds of the footage; what was seen at that time or later.
        seen_to: What was seen at that time or earlier.
    """

    identity: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)] | None = None
    device: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    camera: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    seen_from: float | None = None
    seen_to: float | None = None

    def fault(self) -> str:
        """Say why nobody can tell what this means, or nothing."""
        if self == Selection():
            return "erase: expected an identity, a device, a camera or a time, found none; say what to erase"
        if self.camera is not None and self.device is None:
            return "erase: expected the device of the camera, found none; two devices may use one name: give it"
        if self.seen_from is not None and self.seen_to is not None and self.seen_from > self.seen_to:
            return "erase: expected a time that ends after it begins, found the reverse; exchange them"
        return ""


class Erasure(msgspec.Struct, frozen=True):
    """One entry of the list: which records were erased, at whose word.

    ``oldest`` and ``newest``: when the first and the last of them were received; 0 where there are none. ``days``:
    under whose keys they were.
    """

    id: str
    at: float
    person: str
    reason: str
    what: Selection
    records: list[Range]
    gaps: list[tuple[str, str, int]]
    oldest: float
    newest: float
    days: list[int]


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an erasure. It holds counts and times, and nothing of what was erased.

    ``received_from`` and ``received_to`` are when the erased records came, 0 where none did; ``days_ended`` those
    whose keys were dropped since nothing is left of them. ``log_emptied``: the journal's files hold nothing of it
    any more; false while another program, as a backup, reads them: it is emptied when that ends, within a minute.
    ``later``: who else held vectors or keys of it then, and drops them when they answer, in a sentence each.
    """

    id: str
    at: float
    person: str
    reason: str
    what: Selection
    sightings: int
    links: int
    gaps: int
    decisions: int
    received_from: float
    received_to: float
    days_ended: list[str]
    log_emptied: bool
    version: str
    previous: str
    later: list[str] = []


class Erasures:
    """The list and the receipts of one collector. Used by one thread.

    Raises:
        ConfigError: A file of them cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.entries = [_decoded(line, Erasure, folder / ERASED) for line in _lines(folder / ERASED)]

    def add(self, erasure: Erasure) -> None:
        """Take an entry up; it is on the disk when this returns.

        Raises:
            DiskFull: There is no room; nothing was erased.
            ConfigError: It cannot be written; nothing was erased.
        """
        self._keep([*self.entries, erasure])

    def forget(self, before: float) -> None:
        """Forget entries whose records were received on days that ended before this: their keys are gone everywhere."""
        left = [entry for entry in self.entries if entry.newest >= before
                or any((day + 1) * DAY_S > before for day in entry.days)]
        if len(left) != len(self.entries):
            self._keep(left)

    def unreceipted(self) -> list[Erasure]:
        """Return the entries that have no receipt: the collector ended between."""
        known = {receipt.id for receipt in self.receipts()}
        return [entry for entry in self.entries if entry.id not in known]

    def receipts(self) -> list[Receipt]:
        """Read all receipts, the oldest first."""
        return [_decoded(line, Receipt, self._folder / RECEIPTS) for line in _lines(self._folder / RECEIPTS)]

    def head(self) -> str:
        """Return the SHA-256 of the last receipt, as the next one will carry it."""
        lines = _lines(self._folder / RECEIPTS)
        return hashlib.sha256(lines[-1]).hexdigest() if lines else _NOBODY

    def receipt(self, receipt: Receipt) -> None:
        """Keep a receipt; it is on the disk when this returns.

        Raises:
            DiskFull: There is no room.
            ConfigError: It cannot be written.
        """
        lines = [*_lines(self._folder / RECEIPTS), msgspec.json.encode(receipt)]
        self._write(RECEIPTS, lines)

    def _keep(self, entries: list[Erasure]) -> None:
        self._write(ERASED, [msgspec.json.encode(entry) for entry in entries])
        self.entries = entries

    def _write(self, name: str, lines: list[bytes]) -> None:
        try:
            write_private(self._folder / name, b"".join(line + b"\n" for line in lines))
            hand_to_folders_owner(self._folder / name)
        except OSError as error:
            raise unwritable(self._folder, "the list of what was erased", error, "correct keys or its mode") from None


def verified(folder: Path) -> int:
    """Count the receipts in a folder of keys, each of which follows from the one before it.

    Raises:
        Unaccounted: One does not.
        ConfigError: They cannot be read.
    """
    previous, lines = _NOBODY, _lines(folder / RECEIPTS)
    for number, line in enumerate(lines, start=1):
        try:
            found = msgspec.json.decode(line, type=Receipt).previous
        except msgspec.DecodeError:
            found = ""
        if found != previous:
            raise Unaccounted(f"{folder / RECEIPTS}: expected receipt {number} to follow from the one before it, found "
                              "another: a receipt was changed or left out; compare it with a backup, and "
                              "ask who could write there")
        previous = hashlib.sha256(line).hexdigest()
    return len(lines)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: expected what was erased, found {os.strerror(error.errno or 0)}; put it back from "
                          "where you keep its copy") from None


def _decoded(line: bytes, kind: type[_T], path: Path) -> _T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected what was erased, found another thing ({error}); put it back from where "
                          "you keep its copy") from None
