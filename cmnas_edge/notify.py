"""Telling systemd how it goes: ready, alive, reloading, stopping (``sd_notify(3)``).

Each message is one datagram to the socket that systemd names in ``NOTIFY_SOCKET``. Started by
anything else, or when nobody reads, nothing is sent and nothing fails: a daemon does not die of
having nobody to tell.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping

from cmnas_edge.log import scrub

__all__ = ["Notifier"]

_MOST_STATUS = 400      # characters; systemctl shows one line


class Notifier:
    """Speaks to the service manager that started this process, if one did.

    Attributes:
        watchdog_s: Within this time it wants to hear `alive` again and again; None: it does not watch.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None, *,
                 clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Look where to send, and forget it in the environment: what this process starts shall not speak for it.

        Args:
            environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are taken out of it; None: the
                process's own.
            clock_ns: systemd's clock, CLOCK_MONOTONIC.
        """
        given = os.environ if environment is None else environment
        self._clock_ns = clock_ns
        self._address = _address(given.pop("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog_s(given.pop("WATCHDOG_USEC", ""), given.pop("WATCHDOG_PID", ""))
        if self._address is None:
            self.watchdog_s = None

    def ready(self, status: str = "") -> bool:
        """Say that it has started, or that a reload is over; as all below, returns whether anybody heard."""
        return self._send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        """Give ``systemctl status`` one line; it passes the same scrubber as a log's."""
        return self._send(*_status(text))

    def alive(self) -> bool:
        """Feed the watchdog."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """Say that settings are being read again; `ready` ends it."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={self._clock_ns() // 1000}")

    def stopping(self, status: str = "") -> bool:
        """Say that it is ending in good order."""
        return self._send("STOPPING=1", *_status(status))

    def _send(self, *lines: str) -> bool:
        if self._address is None or not lines:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                end.setblocking(False)  # a manager that does not read must not stop us
                return end.sendto("\n".join(lines).encode(), self._address) > 0
        except OSError:
            return False


def _status(text: str) -> list[str]:
    line = " ".join(scrub(text).split())[:_MOST_STATUS]     # a line end would begin another field
    return [f"STATUS={line}"] if line else []


def _address(text: str) -> bytes | None:
    """Where the socket is: a path, or a name without one, which is written with ``@`` and meant with a zero."""
    if len(text) < 2 or text[0] not in "/@":
        return None     # among them vsock:, of virtual machines
    return os.fsencode("\0" + text[1:] if text[0] == "@" else text)


def _watchdog_s(microseconds: str, process: str) -> float | None:
    if not (microseconds.isdecimal() and int(microseconds)) or (process and process != str(os.getpid())):
        return None
    return int(microseconds) / 1e6
