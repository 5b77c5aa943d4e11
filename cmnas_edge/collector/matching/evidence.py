"""How well a tracklet matches an identity: one score, by one pair of modalities, with its threshold.

The score is the mean over the identity's `BEST` tracklets nearest to it: one alike tracklet
among many, which chance brings sooner or later, is not enough. Tracklets of the probe's own
modality decide where the identity has any, being the better evidence; else those of the
other. An identity that holds a tracklet seen by the same camera at the same time is no
candidate at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import Pair, pair
from cmnas_edge.collector.matching.tracklet import Tracklet, Tracklets
from cmnas_edge.embedding import MODALITIES

__all__ = ["BEST", "Evidence", "between", "rank", "sure"]

F64 = npt.NDArray[np.float64]
# Of 1, 2, 3 and 8 on simulated people: 3 errs as seldom as 8 and misses no more than 2; 1 errs
# more often (tests/collector/matching/test_identity_quality.py).
BEST = 3


class Evidence(msgspec.Struct, frozen=True):
    """The score against an identity, the threshold it is held to, and the nearest tracklet there."""

    score: float
    threshold: float
    pair: Pair
    against: int

    @property
    def margin(self) -> float:
        """How far above its threshold, as a share of the way to 1: comparable between pairs."""
        return (self.score - self.threshold) / max(1e-6, 1.0 - self.threshold)


def sure(identity_count: int) -> float:
    """How far a match must stand out, as a margin, among so many identities.

    Among n people a stranger has n chances to reach a threshold that was meant for one, so
    the more there are, the further a match must stand out: nothing up to 16, then 0.1 with
    every doubling, at most 0.3.

    Of 0, 0.03, 0.05, 0.07 and 0.1 on drawn people the demo bundle had not seen, 40 and 48 of
    them before six cameras: with 0.1 instead of 0 the share of links across modalities that
    are wrong changes from 0.09 and 0.13 to 0.09 and 0.09, of all links from 0.08 and 0.08 to
    0.07 and 0.06; one in a hundred fewer is found. With weaker weights it did more. Among 12
    people, links are as they are without it.
    """
    return float(np.clip(0.1 * np.log2(max(1, identity_count) / 16), 0.0, 0.3))


def rank(tracklets: Tracklets, probe: Tracklet, thresholds: Mapping[Pair, float], *, barred: int = 0
         ) -> Iterator[tuple[int, Evidence]]:
    """Yield identities by how well a tracklet matches them, best margin first.

    All that reach their threshold come, and always the nearest two.

    Args:
        tracklets: The tracklets and their identities.
        probe: One of them.
        thresholds: Per pair of modalities.
        barred: An identity to leave out.
    """
    traits, scores = tracklets.traits, tracklets.scores(probe)
    identity, same = traits["identity"], traits["modality"] == traits["modality"][probe.row]
    limits = _limits(thresholds)[traits["modality"][probe.row]][traits["modality"]]
    clash = np.unique(identity[tracklets.conflicts([probe])[0]])
    fit = (identity != 0) & (identity != barred) & (traits["transform"] == traits["transform"][probe.row])
    fit[probe.row] = False
    fit &= ~np.isin(identity, clash)
    if not fit.any():
        return
    # An identity can reach a threshold only if one of its tracklets does.
    beyond = np.where(fit, scores - limits, -np.inf)
    nearest = identity[np.argmax(beyond)]
    next_nearest = identity[np.argmax(np.where(identity == nearest, -np.inf, beyond))]
    wanted = np.unique([*identity[beyond >= 0], nearest, next_nearest])
    fit &= np.isin(identity, wanted)
    fit &= same | ~np.isin(identity, np.unique(identity[fit & same]))
    rows = np.flatnonzero(fit)
    rows = rows[np.lexsort((traits["opened_by"][rows], -scores[rows], identity[rows]))]
    first = np.flatnonzero(np.append(True, np.diff(identity[rows]) != 0))
    counts = np.minimum(np.diff(np.append(first, len(rows))), BEST)
    means = np.array([scores[rows[at:at + n]].mean(dtype=np.float64) for at, n in zip(first, counts, strict=True)])
    heads = rows[first]
    margins = (means - limits[heads]) / np.maximum(1e-6, 1 - limits[heads])
    for at in np.lexsort((identity[heads], -margins)):
        head = heads[at]
        name = pair(probe.modality, MODALITIES[traits["modality"][head]])
        yield int(identity[head]), Evidence(float(means[at]), thresholds[name], name,
                                            int(traits["opened_by"][head]))


def between(tracklets: Tracklets, ours: list[Tracklet], theirs: list[Tracklet],
            thresholds: Mapping[Pair, float]) -> Evidence:
    """Hold two identities against each other: the mean over all their tracklets, two by two.

    As in `rank`, pairs of one modality decide where there are any. Pairs have thresholds of
    their own, so it is their distances from the threshold that are averaged.
    """
    a, b = (tracklets.traits[[t.row for t in side]] for side in (ours, theirs))
    scores = tracklets.scores_between(ours, theirs).astype(np.float64)
    comparable = a["transform"][:, None] == b["transform"][None]
    assert comparable.any()
    same = comparable & (a["modality"][:, None] == b["modality"][None])
    use = same if same.any() else comparable
    beyond = scores - _limits(thresholds)[a["modality"][:, None], b["modality"][None]]
    row, column = np.unravel_index(int(np.argmax(np.where(use, scores, -np.inf))), scores.shape)
    name = pair(ours[row].modality, theirs[column].modality)
    return Evidence(thresholds[name] + float(beyond[use].mean()), thresholds[name], name, theirs[column].opened_by)


def _limits(thresholds: Mapping[Pair, float]) -> F64:
    return np.array([[thresholds[pair(a, b)] for b in MODALITIES] for a in MODALITIES])
