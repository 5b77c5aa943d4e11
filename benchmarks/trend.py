"""Does a figure grow with time, or is it noise? Sen's slope with the interval that Kendall's test gives it.

Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 1968: the median of the
slopes between all pairs of points. It asks nothing of the noise but that the points are independent
of each other, so points should be medians of stretches that are long beside what the noise remembers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Trend", "trend"]

_Z_99 = 2.5758      # of the normal distribution, two-sided


@dataclass(frozen=True)
class Trend:
    """Growth per unit of time, and the interval that holds it with 99 % confidence."""

    slope: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``"flat"`` if nothing speaks against it, else ``"grows"`` or ``"shrinks"``."""
        return "grows" if self.low > 0 else "shrinks" if self.high < 0 else "flat"


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """Estimate it from points, shape ``(n,)`` each, at least 8.

    Raises:
        ValueError: There are fewer, or as many times as values are not there.
    """
    count = len(values)
    if count < 8 or len(times) != count:
        raise ValueError(f"expected 8 points or more, each with a time, found {count} and {len(times)} times")
    t, v = np.asarray(times, float), np.asarray(values, float)
    one, other = np.triu_indices(count, 1)
    slopes = np.sort((v[other] - v[one]) / (t[other] - t[one]))
    ties = np.unique(v, return_counts=True)[1]
    spread = (count * (count - 1) * (2 * count + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    reach = _Z_99 * math.sqrt(spread)
    low = max(0, math.floor((len(slopes) - reach) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))
    return Trend(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))
