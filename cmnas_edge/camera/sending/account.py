"""What was sent, counted where it is written and split by what explains it, connection by connection."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from cmnas_edge.camera.sending.sent_log import SentLog
from cmnas_edge.camera.tally import Tally
from cmnas_edge.outgoing import Sent

__all__ = ["Account"]


class _Judge(Protocol):
    def add(self, data: bytes) -> Sent: ...
    def end(self) -> Sent: ...


class Account:
    """Counts ``sent_bytes`` at once, and its three parts as soon as they can be told apart."""

    def __init__(self, tally: Tally, judge: Callable[[], _Judge], log: SentLog | None = None) -> None:
        """Start with no connection.

        Args:
            tally: Where bytes are counted.
            judge: Begins a connection's stream: `cmnas_edge.outgoing.http` or `cmnas_edge.outgoing.mqtt`.
            log: Keeps all of it, for an audit; None keeps nothing.
        """
        self._tally = tally
        self._begin = judge
        self._judge = judge()
        self._log = log

    def connected(self) -> None:
        """Begin another connection; of the last one nothing more comes."""
        self._count(self._judge.end())
        self._judge = self._begin()

    def opened(self, made: socket.socket, *, is_tls: bool) -> None:
        """Say between whom it is, as soon as it stands and before anything is written to it."""
        if self._log is not None:
            self._log.opened(made, is_tls=is_tls)

    def sent(self, data: bytes) -> None:
        """Count bytes that are written."""
        if self._log is not None:
            self._log.sent(data)
        self._tally.add("sent_bytes", len(data))
        self._count(self._judge.add(data))

    def _count(self, found: Sent) -> None:
        self._tally.add("embedding_bytes", found.embedding)
        self._tally.add("header_bytes", found.header)
        self._tally.add("unexplained_bytes", found.unexplained)
