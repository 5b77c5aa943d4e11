"""Words that a device may choose: what it and its cameras are called, and the heads and topics that carry sightings.

One word of a legal form explains itself; a new one with every request is a message. A device has few: it is named
once, its token changes seldom, and so on. Whoever holds a whole log against this takes the first few of a kind and
lets none of the others explain anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

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
