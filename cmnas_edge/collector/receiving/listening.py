"""A listening socket that strangers cannot fill: of those who connected and said nothing yet, the longest waiting goes.

Over TLS asyncio hands a connection over only when its handshake is done, for which it waits a minute; until then
`Connection`, which knows whom to put up with, does not hear of it. A thousand silent connections of one stranger would
take all files that a process may have open, and with them the journal's and everybody's.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import socket
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from cmnas_edge.collector.receiving.peer import peer_of
from cmnas_edge.log import Repeats

__all__ = ["FILES", "MOST_SILENT", "MOST_SILENT_OF_ONE_PEER", "Listener", "may_open", "share_of_files"]

MOST_SILENT = 512
MOST_SILENT_OF_ONE_PEER = 64    # as of its connections (`cmnas_edge.collector.receiving.connection`)
FILES = 8192            # uvicorn's 1000 connections, these, and as many more as come while the loop is elsewhere
_PAUSE_S = 1.0          # asyncio's, where there are too many open files
_ENDING = 32            # that the loop is to close before more are accepted
_log = logging.getLogger("cmnas.collector")
_repeats = Repeats()


class Listener(socket.socket):
    """Accepts everybody, and keeps few of those who do not speak.

    Args:
        family: ``AF_INET`` or ``AF_INET6``.
        clock: Seconds, never going back.
    """

    _all: ClassVar[weakref.WeakSet[Listener]] = weakref.WeakSet()

    def __init__(self, family: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        # asyncio sends without delay only where the protocol is named; else an answer waits until its head is
        # acknowledged.
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._clock = clock
        self._silent: dict[int, tuple[socket.socket, object]] = {}  # by file number, the longest waiting first
        self._ending: list[tuple[socket.socket, float]] = []
        self._crowded_at = -_PAUSE_S
        self._all.add(self)

    @classmethod
    def heard(cls, number: int) -> None:
        """Say that a connection, by its file number, has done its handshake."""
        for listener in cls._all:
            listener._silent.pop(number, None)

    def accept(self) -> tuple[socket.socket, Any]:
        """Take a connection, in the place of a silent one where there are too many.

        Raises:
            BlockingIOError: Nobody waits; or the loop has to close some first.
            OSError: As of any socket; of too many open files no more than once a second, so that asyncio, which tries
                again for each, has one try to make.
        """
        now = self._clock()
        if len(self._ending) >= _ENDING:
            self._ending = [each for each in self._ending if each[0].fileno() >= 0 and now - each[1] < _PAUSE_S]
            if len(self._ending) >= _ENDING:
                raise BlockingIOError
        try:
            found, address = super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            for silent, _ in self._silent.values():
                self._end(silent)
            if 0 <= now - self._crowded_at < _PAUSE_S:
                raise BlockingIOError from error
            self._crowded_at = now
            raise
        self._take(found, str(address[0]))
        return found, address

    def _take(self, found: socket.socket, host: str) -> None:
        peer = peer_of(host)
        self._silent.pop(found.fileno(), None)      # of one that is closed since
        self._silent[found.fileno()] = found, peer
        theirs = [number for number, (_, other) in self._silent.items() if other == peer]
        most = share_of_files(MOST_SILENT, 0.2)
        if len(theirs) <= MOST_SILENT_OF_ONE_PEER and len(self._silent) <= most:
            return
        self._silent = {number: kept for number, kept in self._silent.items() if kept[0].fileno() == number}
        theirs = [number for number in theirs if number in self._silent]
        while len(theirs) > MOST_SILENT_OF_ONE_PEER or len(self._silent) > most:
            gone = theirs.pop(0) if len(theirs) > MOST_SILENT_OF_ONE_PEER else next(iter(self._silent))
            self._end(self._silent.pop(gone)[0])
            if _repeats.admit("silent") is not None:
                _log.warning("%s: too many connect and say nothing; those that wait longest are closed", host)

    def _end(self, silent: socket.socket) -> None:
        self._ending.append((silent, self._clock()))
        with contextlib.suppress(OSError):      # asyncio has it, sees its end, and closes it
            silent.shutdown(socket.SHUT_RDWR)


def share_of_files(count: int, share: float) -> int:
    """So many connections, but no more than take a share of the files that this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return count if soft == resource.RLIM_INFINITY else min(count, int(soft * share))


def may_open(count: int = FILES) -> int:
    """Let this process have so many files open, as far as the system lets it; return how many those are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
