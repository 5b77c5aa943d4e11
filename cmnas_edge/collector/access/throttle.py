"""How often a password may be tried: guessing is made slow, and a stranger locks nobody out.

Tries are counted in lanes. Whoever comes with a browser that this person logged in from before has
a lane of their own (OWASP's device cookie); everybody else shares one per name, which stops
guessing one password from many addresses, and one per address, which stops guessing many names
from one. A stranger can fill the lane of a name, never that of a known browser, and an empty lane
refills by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

__all__ = ["Throttle"]

# Tries at once, and seconds until there is one more.
LANES = {"browser": (10, 30.0), "name": (5, 60.0), "address": (20, 20.0)}
_MOST = 20_000  # lanes kept; each is some hundred bytes


class Throttle:
    """Counts tries. One thread at a time may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[tuple[str, str], float] = {}    # when a lane will have all its tries back

    def wait_s(self, lanes: Iterable[tuple[str, str]]) -> float:
        """Take one try from each of some lanes; 0, or how many seconds to wait, and none was taken.

        Args:
            lanes: Kind (a key of `LANES`) and whose.
        """
        now, lanes = self._clock(), list(lanes)
        taken = {}
        longest = 0.0
        for lane in lanes:
            most, every_s = LANES[lane[0]]
            full_at = max(self._full_at.get(lane, now), now) + every_s
            taken[lane] = full_at
            longest = max(longest, full_at - now - most * every_s)
        if longest > 0:
            return longest
        self._full_at.update(taken)
        if len(self._full_at) > _MOST:
            self._forget(now)
        return 0.0

    def give_back(self, lanes: Iterable[tuple[str, str]]) -> None:
        """Give one try back to each: it was the right password."""
        for lane in lanes:
            if lane in self._full_at:
                self._full_at[lane] -= LANES[lane[0]][1]

    def _forget(self, now: float) -> None:
        """Drop lanes that are full again; if that is not enough, those that are nearest to it."""
        kept = sorted(((at, lane) for lane, at in self._full_at.items() if at > now), reverse=True)[:_MOST * 3 // 4]
        self._full_at = {lane: at for at, lane in kept}
