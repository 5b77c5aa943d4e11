"""How much of the collector one device may take, so that no other waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["AT_ONCE", "BURST_S", "Rates"]

AT_ONCE = 4         # requests of one device; a daemon sends one after another
BURST_S = 10.0      # what a device has not used of so many seconds it may use at once


class Rates:
    """A purse per device: so many records a second go in, up to `BURST_S` of them; what it sends goes out.

    A device is let in while its purse is not empty and told to wait otherwise, so it may overdraw it
    by one batch, never by two. Any thread may call it.

    Args:
        per_s: Records a second over time; 0: no limit.
        clock: Seconds, never going back.
    """

    def __init__(self, per_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._purses: dict[str, tuple[float, float]] = {}   # what is in it, and when that was
        self._inside: dict[str, int] = {}

    @property
    def per_s(self) -> float:
        """Records a second over time; 0: no limit."""
        return self._per_s

    def wait_s(self, device: str) -> float:
        """Seconds until a device may send again; 0: now."""
        if not self._per_s:
            return 0.0
        with self._lock:
            level = self._level(device, self._clock())
        return 0.0 if level > 0 else (1 - level) / self._per_s

    def charge(self, device: str, record_count: int) -> None:
        """Take from a purse what a batch held; an unreadable one counts as one record at least."""
        if self._per_s:
            with self._lock:
                now = self._clock()
                self._purses[device] = (self._level(device, now) - max(1, record_count), now)

    def enter(self, device: str) -> bool:
        """Let a request in, and say so; not if `AT_ONCE` of this device are inside. What enters must `leave`."""
        with self._lock:
            count = self._inside.get(device, 0)
            if count >= AT_ONCE:
                return False
            self._inside[device] = count + 1
            return True

    def leave(self, device: str) -> None:
        """Let a request out."""
        with self._lock:
            count = self._inside.pop(device)
            if count > 1:
                self._inside[device] = count - 1

    def _level(self, device: str, now: float) -> float:
        full = self._per_s * BURST_S
        level, at = self._purses.get(device, (full, now))
        return min(full, level + (now - at) * self._per_s)
