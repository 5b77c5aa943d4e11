"""A sent log, read back: each connection's bytes, and what of them the protocol explains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from cmnas_edge.camera.sending.sent_log import Line, Opened, Written
from cmnas_edge.errors import ConfigError
from cmnas_edge.outgoing import NOTHING, Sent, Vocabulary
from cmnas_edge.outgoing.http import Requests
from cmnas_edge.outgoing.mqtt import Packets

__all__ = ["Connection", "Spot", "read"]


class Spot(NamedTuple):
    """Bytes of a connection that nothing explains.

    Attributes:
        offset: Where what they are part of begins: a head, a body, a packet.
        size: Of that part.
        unexplained: How many of its bytes.
    """

    offset: int
    size: int
    unexplained: int


class Connection:
    """What the log holds of one connection.

    Attributes:
        opened: Between whom, and when.
        data: Every byte that is in the log, in order.
        writes: Length of each write, in order.
        holes: Offset and length of what was sent and is not in the log.
        last_at: When it was last written to.
    """

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.data = bytearray()
        self.writes: list[int] = []
        self.holes: list[tuple[int, int]] = []
        self.last_at = opened.at
        self._offsets: list[int] = []
        self._end = 0

    def add(self, written: Written) -> None:
        """Take the next write."""
        if (missing := written.offset - self._end) > 0:
            self.holes.append((self._end, missing))
        self._offsets.append(written.offset)
        self.writes.append(len(written.data))
        self.data += written.data
        self._end = written.offset + len(written.data)
        self.last_at = written.at

    def judged(self, words: Vocabulary | None = None) -> tuple[Sent, list[Spot]]:
        """Decode every field; returns what explains the bytes, and where nothing does.

        Args:
            words: Of the whole log; None takes any.
        """
        total, spots, at = NOTHING, [], 0
        judge = Requests(words) if self.opened.protocol == "http" else Packets(words)
        begins, done = 0, 0     # offset and place in the data of what is judged next

        def took(sent: Sent) -> None:
            nonlocal total, done, begins
            size = sum(sent)
            if sent.unexplained:
                spots.append(Spot(begins, size, sent.unexplained))
            total += sent
            begins, done = begins + size, done + size

        after_hole = {offset + size for offset, size in self.holes}
        for offset, size in zip(self._offsets, self.writes, strict=True):
            if offset in after_hole:
                took(judge.end())
                begins = offset
            took(judge.add(bytes(self.data[at:at + size])))
            at += size
        took(judge.end())
        assert done == len(self.data)
        return total, spots


def read(paths: Iterable[Path], notes: list[str]) -> list[Connection]:
    """Read sent logs.

    Args:
        paths: Of one device: a file for each of its daemons.
        notes: Is told of lines that cannot be read.

    Raises:
        ConfigError: A file cannot be read.
    """
    found: dict[str, Connection] = {}
    for path in paths:
        unread = 0
        for line in _lines(path):
            if line is None:
                unread += 1
            elif isinstance(line, Opened):
                found.setdefault(line.connection, Connection(line))
            elif line.connection in found:
                found[line.connection].add(line)
            else:
                unread += 1
        if unread:
            notes.append(f"{path}: {unread} lines are cut off or of connections that are not in it, as after a full "
                         "disk; what they held counts as unexplained")
    return sorted(found.values(), key=lambda connection: connection.opened.at)


def _lines(path: Path) -> Iterator[Line | None]:
    decoder = msgspec.json.Decoder(Opened | Written)
    try:
        with path.open("rb") as file:
            for text in file:
                if text.strip():
                    try:
                        yield decoder.decode(text)
                    except (msgspec.DecodeError, ValueError):
                        yield None
    except OSError as error:
        raise ConfigError(f"{path}: expected a sent log, found {error.strerror}; name it with --log, or let the daemon "
                          "write one ('sent_log' in [link]) before the network is recorded") from None
