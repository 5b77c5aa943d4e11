"""Whether scores still lie where they lay when thresholds were found.

Two measures of the same two histograms. The *population stability index* sums, over tenths of the earlier scores,
``(now - then) * log(now / then)``; by custom below 0.1 is little, from 0.25 on much (Siddiqi, Credit Risk Scorecards,
2006). Where nothing moved it is a chi-squared variable of 9 degrees, scaled by the counts (Yurdakul and Naranjo,
Statistical properties of the population stability index, J. Risk Model Validation 2020): so much is chance. The
*largest gap* between the two cumulative shares is Kolmogorov's and Smirnov's.

Pairs that share people vary together, so a little more than the said chance is chance, too.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from cmnas_edge.calibration.record import Histogram

__all__ = ["Drift", "drift"]

_TENTHS = 10
_CHANCE = 16.919    # 95% of chi-squared variables of 9 degrees are below
_LITTLE, _MUCH = 0.1, 0.25


class Drift(msgspec.Struct, frozen=True):
    """How far scores have moved.

    Attributes:
        index: Population stability index.
        by_chance: So much it reaches in one of twenty looks at scores that have not moved.
        largest_gap: Largest difference of the cumulative shares, 0 to 1.
        shift: How much the median has risen.
        then_count: Scores then.
        now_count: Scores now.
    """

    index: float
    by_chance: float
    largest_gap: float
    shift: float
    then_count: int
    now_count: int

    @property
    def word(self) -> Literal["little", "some", "much", "too few"]:
        """What it is called; "too few" where chance alone may reach more than a little, and was not passed."""
        if self.index <= self.by_chance and self.by_chance > _LITTLE:
            return "too few"
        return "little" if self.index < _LITTLE else "some" if self.index < _MUCH else "much"


def drift(then: Histogram, now: Histogram) -> Drift | None:
    """Compare scores of then and now; None where either has none.

    Both are smoothed by half a score in each tenth, so that an empty one is not endlessly far.
    """
    before, after = then.full(), now.full()
    n, m = int(before.sum()), int(after.sum())
    if not n or not m:
        return None
    rising, risen = np.cumsum(before) / n, np.cumsum(after) / m
    # Tenths of the earlier scores, as nearly as bins allow.
    tenth = np.minimum((np.concatenate([[0], rising[:-1]]) * _TENTHS + 1e-9).astype(np.int64), _TENTHS - 1)
    old, new = (np.bincount(tenth, counts, minlength=_TENTHS) + 0.5 for counts in (before, after))
    p, q = old / old.sum(), new / new.sum()
    medians = [int(np.searchsorted(shares, 0.5)) for shares in (rising, risen)]
    return Drift(float(((q - p) * np.log(q / p)).sum()), _CHANCE * (1 / n + 1 / m), float(np.abs(rising - risen).max()),
                 (medians[1] - medians[0]) / 100, n, m)
