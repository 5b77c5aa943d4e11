"""How often a value lay below each of some bounds: enough for a percentile, and it never grows."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

__all__ = ["NONE", "Spread", "Spreading"]


@dataclass(frozen=True)
class Spread:
    """How values of one kind lie: cumulative counts below bounds, as Prometheus keeps them.

    Attributes:
        bounds: Upper ends, ascending, without infinity.
        counts: How many values lie at or below each bound, and last how many there are; one more than ``bounds``.
        total: Their sum.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


NONE = Spread((1.0,), (0, 0), 0.0)


class Spreading:
    """Takes values one by one; any thread may add, any may look."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Start with none.

        Args:
            bounds: Upper ends, ascending; a value equal to one lies below it.
        """
        if not bounds or any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"expected bounds that rise, found {bounds}")
        self._bounds = tuple(bounds)
        self._mutex = threading.Lock()
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        with self._mutex:
            self._counts[bisect.bisect_left(self._bounds, value)] += 1
            self._total += value

    def look(self) -> Spread:
        """As it is now."""
        with self._mutex:
            return Spread(self._bounds, tuple(accumulate(self._counts)), self._total)
