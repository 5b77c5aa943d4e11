"""What a socket receives before a deadline: who drips a byte at a time gets no more time than who is silent."""

from __future__ import annotations

import io
import socket
import time
from typing import Any

__all__ = ["Until", "left_s"]


class Until(io.RawIOBase):
    """A socket to read from, for as long as there is time."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        """Read from a socket until a deadline, in monotonic seconds; then ``TimeoutError`` is raised."""
        self._socket = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Wait no longer than there is time."""
        self._socket.settimeout(left_s(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of it."""
        self._raw.close()
        super().close()


def left_s(deadline: float) -> float:
    """Seconds that are left; ``TimeoutError`` where there are none."""
    if (seconds := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return seconds
