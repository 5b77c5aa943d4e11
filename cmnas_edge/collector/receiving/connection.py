"""A connection as far as strangers can use it: how long it may wait, and how many from one address.

uvicorn waits for a request's head for as long as it takes, and answers 503 to everybody once it
holds 1000 connections: whoever can reach the port could lock every device out without a token.
Here a head must be whole within `HEAD_S`, and of one peer's connections beyond `MOST_OF_ONE_PEER`
the one that has waited longest without a request gives way, so that a new one always gets in. Of all beyond `MOST` one
goes that belongs to no device and nobody who is logged in (`prove`): strangers at many addresses crowd each other.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from cmnas_edge.collector.receiving.listening import Listener, share_of_files
from cmnas_edge.collector.receiving.peer import peer_of
from cmnas_edge.log import Repeats

__all__ = ["HEAD_S", "MOST", "MOST_OF_ONE_PEER", "Connection", "prove"]

HEAD_S = 10.0
MOST = 900              # uvicorn answers 503 to everybody from 1000 on
MOST_OF_ONE_PEER = 64   # devices behind one router share an address; each needs one, a browser six
_log = logging.getLogger("cmnas.collector")
_repeats = Repeats()


class Connection(H11Protocol):
    """One connection, closed when it waits too long or too many wait beside it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.peer: object = ""
        self.waits_since = 0.0
        self.is_known = False       # somebody's, not a stranger's
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, in the place of another where its peer has too many."""
        super().connection_made(transport)
        if (ours := transport.get_extra_info("socket")) is not None:
            Listener.heard(ours.fileno())
        # uvicorn hands this to every request as its state; who a device is, TLS has proven before a byte of it came.
        certificate = _certified(transport.get_extra_info("ssl_object"))
        self.is_known = bool(certificate)
        self.app_state = {**self.app_state, "certificate": certificate, "connection": self}
        self.peer = peer_of(self.client[0] if self.client else "")
        self.waits_since = self.loop.time()
        self._watch()
        others = [other for other in self.connections if isinstance(other, Connection) and other is not self
                  and not other.transport.is_closing()]
        theirs = [other for other in others if other.peer == self.peer]
        if len(theirs) >= MOST_OF_ONE_PEER:
            self._make_way([other for other in theirs if other.waits])
            if _repeats.admit("crowd") is not None:
                _log.warning("%s: has more than %d connections; those that wait longest are closed",
                             self.client[0] if self.client else "?", MOST_OF_ONE_PEER)
        elif len(others) >= share_of_files(MOST, 0.5):
            self._make_way([other for other in others if not other.is_known])
            if _repeats.admit("crowds") is not None:
                _log.warning("%s: one connection more than there may be; those of strangers are closed",
                             self.client[0] if self.client else "?")

    def _make_way(self, some: list[Connection]) -> None:
        """Close the one of some that is missed least; this one, if there is none."""
        gone = min(some, key=lambda other: (other.is_known, not other.waits, other.waits_since), default=self)
        gone.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those that make no whole request do not keep the connection open."""
        super().data_received(data)
        if self.waits:
            self._watch()
        else:
            self._unwatch()

    def on_response_complete(self) -> None:
        """Note when it began to wait for the next request."""
        self.waits_since = self.loop.time()
        super().on_response_complete()

    def shutdown(self) -> None:
        """End with the collector; over TLS a polite end would wait for a word from the other side, which is silent."""
        if self.waits and not self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self._give_up)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.waits:
            self.transport.abort()


def prove(state: Mapping[str, Any]) -> None:
    """Say of the connection a request came by, from its state, that it is a device's or somebody's who is logged in."""
    connection = state.get("connection")
    if isinstance(connection, Connection):
        connection.is_known = True


def _certified(tls: ssl.SSLObject | None) -> str:
    """The common name of the other side's certificate; empty if it showed none, or none was asked for.

    Python tells of a certificate only once it was verified by the authority that was set.
    """
    shown: dict[str, Any] = {} if tls is None else dict(tls.getpeercert() or {})
    names = [value for part in shown.get("subject", ()) for key, value in part if key == "commonName"]
    return str(names[0]) if len(names) == 1 else ""
