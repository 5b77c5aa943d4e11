"""Everything this device writes to its connections, kept on disk as it was before TLS: for `cmnas-edge audit`.

Off unless ``sent_log`` in ``[link]`` names a file. It holds what left: vectors, which are biometric
data, and this device's token. So it has mode 0600, and is for an audit, not for keeps. A line
is one JSON object: a connection (`Opened`), or bytes written to it (`Written`).

What cannot be written there is told in the log and sent all the same. A full one is not begun
anew, since that would take away what was sent before: move it away, and the next line begins
another.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from cmnas_edge.log import Repeats

__all__ = ["Line", "Opened", "Protocol", "SentLog", "Written", "keep_keys"]

Protocol = Literal["http", "mqtt"]

_log = logging.getLogger("cmnas.camera")
_REPEAT_S = 600.0
# A pipe that nobody reads must not make sending wait, and a link not lead to another's file.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class End(NamedTuple):
    """Of a connection: a numeric address and a port."""

    address: str
    port: int


class Opened(msgspec.Struct, frozen=True, tag_field="line", tag="opened"):
    """A connection was made.

    Attributes:
        connection: Its name in this log.
        at: When, epoch seconds.
        protocol: What is spoken on it.
        local: This end.
        remote: The other.
        is_tls: Whether what is written to it is encrypted on the way.
    """

    connection: str
    at: float
    protocol: Protocol
    local: End
    remote: End
    is_tls: bool


class Written(msgspec.Struct, frozen=True, tag_field="line", tag="written"):
    """Bytes were written to a connection, in one piece.

    Attributes:
        connection: Which.
        at: When, epoch seconds.
        offset: How many had been written to it before.
        data: The bytes, before TLS; in the file as base64.
    """

    connection: str
    at: float
    offset: int
    data: bytes


Line = Opened | Written


class SentLog:
    """Adds lines to a file, one process beside another; whatever goes wrong is told, and stops nobody."""

    def __init__(self, path: Path, limit: int, protocol: Protocol, *,
                 clock: Callable[[], float] = time.time) -> None:
        """Touch nothing yet.

        Args:
            path: The file; made with mode 0600 when there is something to write.
            limit: Bytes it may hold at most.
            protocol: What is spoken on the connections.
            clock: Epoch seconds.
        """
        self._path = path
        self._limit = limit
        self._protocol: Protocol = protocol
        self._clock = clock
        self._repeats = Repeats(_REPEAT_S)
        self._mutex = threading.Lock()
        self._opened: Opened | None = None
        self._told_in: tuple[int, int] | None = None    # the file that holds the present connection's line
        self._offset = 0
        self._torn = False

    def opened(self, made: socket.socket, *, is_tls: bool) -> None:
        """Begin a connection that was just made."""
        local, remote = (End(where[0].partition("%")[0], where[1]) for where in (made.getsockname(),
                                                                                made.getpeername()))
        with self._mutex:
            self._opened = Opened(secrets.token_hex(8), self._clock(), self._protocol, local, remote, is_tls)
            self._told_in, self._offset = None, 0
            self._append(b"")

    def sent(self, data: bytes) -> None:
        """Add what is written to the present connection."""
        with self._mutex:
            if self._opened is not None:
                self._append(msgspec.json.encode(
                    Written(self._opened.connection, self._clock(), self._offset, data)) + b"\n")
            self._offset += len(data)

    def _append(self, text: bytes) -> None:
        try:
            handle = os.open(self._path, _FLAGS, 0o600)
            try:
                found = os.fstat(handle)
                _check(found)
                file = found.st_dev, found.st_ino
                if self._told_in != file or found.st_size == 0:
                    text = msgspec.json.encode(self._opened) + b"\n" + text
                if found.st_size + len(text) > self._limit:
                    raise OSError(errno.EFBIG, f"{found.st_size >> 20} MiB, as many as 'sent_log_mib' allows")
                text = b"\n" + text if self._torn else text
                self._torn = True
                while text:     # a part is taken where there is no more room; the next then says so
                    text = text[os.write(handle, text):]
                self._torn, self._told_in = False, file
            finally:
                os.close(handle)
        except OSError as error:
            if self._repeats.admit(str(error.errno)) is not None:
                _log.warning("%s: what is sent is not written to the sent log (%s), and sent all the same; make room, "
                             "or move that file away", self._path, error.strerror)


def keep_keys(context: ssl.SSLContext, path: Path | None) -> None:
    """Have the keys of a context's TLS sessions added to a file, by which a capture of them can be read.

    Args:
        context: Of connections to come.
        path: The file, made with mode 0600; None keeps no keys. One that cannot be used is told in the log.
    """
    if path is None:
        return
    try:
        handle = os.open(path, _FLAGS, 0o600)
        try:
            _check(os.fstat(handle))
        finally:
            os.close(handle)
        context.keylog_filename = str(path)
    except OSError as error:
        _log.warning("%s: keys of TLS are not written there (%s), and what is to be sent is sent all the same; name "
                     "another file", path, error.strerror)


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise OSError(errno.EPERM, f"others can read it: its mode is {stat.S_IMODE(found.st_mode):04o}, not 0600")
