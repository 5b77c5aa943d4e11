"""What was sent, counted where it is written and split by what explains it, connection by connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cmnas_edge.camera.tally import Tally
from cmnas_edge.outgoing import Sent

__all__ = ["Account"]


class _Judge(Protocol):
    def add(self, data: bytes) -> Sent: ...
    def end(self) -> Sent: ...


class Account:
    """Counts ``sent_bytes`` at once, and its three parts as soon as they can be told apart."""

    def __init__(self, tally: Tally, judge: Callable[[], _Judge]) -> None:
        """Start with no connection.

        Args:
            tally: Where bytes are counted.
            judge: Begins a connection's stream: `cmnas_edge.outgoing.http` or `cmnas_edge.outgoing.mqtt`.
        """
        self._tally = tally
        self._begin = judge
        self._judge = judge()

    def connected(self) -> None:
        """Begin another connection; of the last one nothing more comes."""
        self._count(self._judge.end())
        self._judge = self._begin()

    def sent(self, data: bytes) -> None:
        """Count bytes that were written."""
        self._tally.add("sent_bytes", len(data))
        self._count(self._judge.add(data))

    def _count(self, found: Sent) -> None:
        self._tally.add("embedding_bytes", found.embedding)
        self._tally.add("header_bytes", found.header)
        self._tally.add("unexplained_bytes", found.unexplained)
