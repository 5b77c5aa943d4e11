"""Words that a device may choose: what it and its cameras are called, and the heads and topics that carry sightings.

One word of a legal form explains itself; a new one with every request is a message. A device has few: it is named
once, its token changes seldom, and so on. Whoever holds a whole log against this takes the first few of a kind and
lets none of the others explain anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from google.protobuf.message import DecodeError

from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.fields import WireError, split

__all__ = ["Vocabulary", "Word"]

Word = Literal["head", "topic", "client", "device", "camera", "spool", "fingerprint"]

_MOST: Final[dict[Word, int]] = {"head": 4, "topic": 8, "client": 4, "device": 4, "camera": 8, "spool": 16,
                                 "fingerprint": 8}


class Vocabulary:
    """Learns the words of a whole log, and tells which come too late to be words."""

    def __init__(self, cameras: Iterable[str] = (), daemon_count: int = 1) -> None:
        """Begin.

        Args:
            cameras: Names that are known beforehand.
            daemon_count: How many daemons speak; each has words of its own.
        """
        self._cameras = {name.encode() for name in cameras}
        self._known: dict[Word, set[bytes]] = {kind: set() for kind in _MOST}
        self._daemon_count = daemon_count

    def takes(self, kind: Word, word: bytes) -> bool:
        """Whether a word of a kind is one of the few."""
        known = self._known[kind]
        if word in known or (kind == "camera" and word in self._cameras):
            return True
        if len(known) >= _MOST[kind] * self._daemon_count:
            return False
        known.add(word)
        return True

    def foreign(self, body: bytes) -> int:
        """Count the bytes of words in a batch, or in as much of one as can be read, that are none of the few."""
        words: list[tuple[Word, bytes]] = []
        try:
            for number, record in split(body):
                if number in (1, 2) and isinstance(record, bytes):
                    words += _of_sighting(record) if number == 1 else _of_gap(record)
        except WireError:
            pass    # the records before it stand, and so do their words
        return sum(len(word) for kind, word in words if not self.takes(kind, word))


def _of_sighting(record: bytes) -> list[tuple[Word, bytes]]:
    try:
        one = pb.Sighting.FromString(record)
    except DecodeError:
        return []   # nothing of it is explained anyway
    return [("device", one.device.encode()), ("camera", one.camera.encode()), ("spool", one.spool.encode()),
            ("fingerprint", one.fingerprint)]


def _of_gap(record: bytes) -> list[tuple[Word, bytes]]:
    try:
        return [("spool", pb.Gap.FromString(record).spool.encode())]
    except DecodeError:
        return []
