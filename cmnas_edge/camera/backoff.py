"""How long to wait before trying again: longer each time, never in step with others.

A hundred cameras that lost the same switch must not all come back in the same second, and a
peer that refuses at once must not be asked in a busy loop.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Waits that double from `first_s` to `last_s`, each drawn at random between half and all of it.

    The very first is drawn between `first_s` and its double, so that not even those come back in step.

    Only an attempt that then held for `settled_s` starts over: a peer that accepts and dies at
    once is no better than one that refuses.
    """

    def __init__(self, first_s: float = 1.0, last_s: float = 60.0, *, settled_s: float = 10.0,
                 clock: Callable[[], float] = time.monotonic,
                 draw: Callable[[], float] = random.random) -> None:
        """Start with the shortest wait.

        Args:
            first_s: No wait is shorter.
            last_s: No wait is longer.
            settled_s: How long an attempt must have worked to be counted as a success.
            clock: Seconds, monotonic.
            draw: A number in 0..1, new each time.
        """
        if not 0 < first_s <= last_s:
            raise ValueError(f"expected 0 < first_s <= last_s, found {first_s} and {last_s}")
        self._first_s = first_s
        self._last_s = last_s
        self._settled_s = settled_s
        self._clock = clock
        self._draw = draw
        self._failures = 0
        self._worked_since: float | None = None

    def worked(self) -> None:
        """Note that the current attempt works, as often as it shows: each frame, each answer."""
        now = self._clock()
        if self._worked_since is None:
            self._worked_since = now
        elif now - self._worked_since >= self._settled_s:
            self._failures = 0

    def failed(self) -> float:
        """Note that the current attempt failed; returns the seconds to wait before the next."""
        self._worked_since = None
        full_s = min(self._last_s, self._first_s * 2.0 ** min(max(1, self._failures), 64))
        self._failures += 1
        return max(self._first_s, full_s * (1 - self._draw() / 2))
