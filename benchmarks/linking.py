"""How right identities are: pairs of tracklets, IDF1 across cameras, switches; and two rivals that link without rules.

`nearest`: a new tracklet takes the identity of the nearest one seen so far if their cosine reaches one threshold for
all pairs of modalities. `clustered`: NVIDIA's published way with multi-camera tracking in micro-batches. The
tracklets that ended in the last minute are clustered hierarchically (average linkage); clusters and the identities
there are, each the mean of its tracklets, are then matched by the Hungarian method, which keeps numbers. Both may
know, as ours does, that one camera doesn't see one person twice at one time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform

from benchmarks.drawn_day import Day

__all__ = ["Judged", "Truth", "clustered", "means", "nearest", "scores"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_BATCH_S = 60.0


class Judged(NamedTuple):
    """What identities are worth; shares, and switches counted."""

    precision: float        # of pairs of tracklets linked, one person
    recall: float           # of pairs of tracklets of one person, linked
    precision_across: float
    recall_across: float
    idf1: float
    switches: int           # over a day, from one tracklet of a person to the next


class Truth:
    """Who every tracklet of a day really shows, and which pairs count."""

    def __init__(self, day: Day) -> None:
        self.person = np.array([one.person for one in day.passes])
        infrared = np.array([one.modality == "infrared" for one in day.passes])
        start, end = (np.array([getattr(one, name) for one in day.passes]) for name in ("start", "end"))
        camera = np.array([one.camera for one in day.passes])
        self._upper = np.triu(np.ones((len(infrared), len(infrared)), bool), 1)
        self.same: Mask = (self.person[:, None] == self.person[None]) & self._upper
        self.across: Mask = (infrared[:, None] != infrared[None]) & self._upper
        self.clash: Mask = ((camera[:, None] == camera[None]) & (start[:, None] <= end[None])
                            & (start[None] <= end[:, None]))
        np.fill_diagonal(self.clash, val=False)

    def linked(self, identity: I64) -> Mask:
        """Pairs that got one identity, ``(n, n)``, above the diagonal."""
        found: Mask = (identity[:, None] == identity[None]) & self._upper
        return found

    def judge(self, identity: I64) -> Judged:
        """Judge an identity for every tracklet, ``(n,)``."""
        linked = self.linked(identity)
        right = linked & self.same
        parts = [_share(right[of], linked[of], self.same[of]) for of in (self._upper, self.across)]
        people, column = np.unique(self.person, return_inverse=True)
        names, row = np.unique(identity, return_inverse=True)
        together = np.zeros((len(names), len(people)), np.int64)
        np.add.at(together, (row, column), 1)
        best = linear_sum_assignment(-together)
        order = np.lexsort((np.arange(len(identity)), self.person))
        switches = np.count_nonzero((np.diff(self.person[order]) == 0) & (np.diff(identity[order]) != 0))
        return Judged(*parts[0], *parts[1], float(together[best].sum() / len(identity)), int(switches))


def _share(right: Mask, linked: Mask, same: Mask) -> tuple[float, float]:
    hits = int(np.count_nonzero(right))
    return hits / max(1, int(np.count_nonzero(linked))), hits / max(1, int(np.count_nonzero(same)))


def means(day: Day) -> F32:
    """The mean vector of every tracklet, ``(n, d)``, not scaled to length one again."""
    total = np.zeros((len(day.passes), day.vectors.shape[1]), np.float32)
    rows = np.array([look.tracklet for look in day.looks])
    np.add.at(total, rows, day.vectors)
    found: F32 = total / np.bincount(rows, minlength=len(total)).astype(np.float32)[:, None]
    return found


def scores(day: Day) -> F32:
    """Mean cosine of each tracklet with each, ``(n, n)``."""
    x = means(day)
    found: F32 = x @ x.T
    return found


def nearest(score: F32, clash: Mask, threshold: float) -> I64:
    """Link each tracklet, in the order they come, to the nearest before it, or to none."""
    identity = np.arange(len(score))
    for row in range(1, len(score)):
        barred = np.unique(identity[:row][clash[row, :row]])
        open_to = np.where(np.isin(identity[:row], barred), -2.0, score[row, :row])
        best = int(open_to.argmax())
        if open_to[best] >= threshold:
            identity[row] = identity[best]
    return identity


def clustered(day: Day, clash: Mask, threshold: float) -> I64:
    """Cluster the tracklets of each minute, then match clusters with the identities there are."""
    x = means(day)
    end = np.array([one.end for one in day.passes])
    identity = np.zeros(len(x), np.int64)
    sums: list[F32] = []
    members: list[list[int]] = []
    for minute in np.unique(np.floor(end / _BATCH_S)):
        rows = np.flatnonzero(np.floor(end / _BATCH_S) == minute)
        groups = _groups(x[rows], clash[np.ix_(rows, rows)], threshold)
        found = [rows[groups == group] for group in np.unique(groups)]
        taken: dict[int, int] = {}
        if sums:
            here = np.stack([x[some].mean(0) for some in found])
            there = np.stack([total / len(of) for total, of in zip(sums, members, strict=True)])
            cost = 1 - here @ there.T
            for at, some in enumerate(found):
                barred = {identity[other] for other in np.flatnonzero(clash[some].any(0)) if identity[other]}
                cost[at, [int(number) - 1 for number in barred]] = 9.0
            for at, to in zip(*linear_sum_assignment(np.minimum(cost, 1 - threshold + 1e-6)), strict=True):
                if cost[at, to] <= 1 - threshold:
                    taken[int(at)] = int(to)
        for at, some in enumerate(found):
            if (to := taken.get(at)) is None:
                to = len(sums)
                sums.append(np.zeros_like(x[0]))
                members.append([])
            sums[to] = sums[to] + x[some].sum(0)
            members[to] += some.tolist()
            identity[some] = to + 1
    return identity


def _groups(x: F32, clash: Mask, threshold: float) -> I64:
    if len(x) == 1:
        return np.ones(1, np.int64)
    apart = np.clip(1 - (x @ x.T).astype(np.float64), 0, 2)
    apart[clash] = 9.0      # average linkage then keeps small clusters apart; the few it doesn't are parted below
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average")
    groups: I64 = fcluster(tree, 1 - threshold, "distance").astype(np.int64)
    for row in range(len(x)):
        if np.any(clash[row, :row] & (groups[:row] == groups[row])):
            groups[row] = groups.max() + 1
    return groups
