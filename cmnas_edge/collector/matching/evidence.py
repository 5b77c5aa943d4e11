"""How probably a tracklet is somebody known: likeness, the way there, and how many people there are.

Three things are added as log-likelihood ratios (nats): how many times as often they are seen with one person as with
two. The *score*, by the calibration: a mean cosine with an identity's newest tracklets (`prototypes`), of the probe's
own modality where the identity has any, being the better evidence; else of the other. The *way*: how long it took
from where the identity was before (`transit`). And everybody else: the probe is one of these identities or a newcomer,
and with n of them a stranger has n chances to look alike. So (Bayes)

    p(i) = exp(e_i) / (newcomer * (n + FEW) + sum over j of exp(e_j)),    e = score + way.

A score's share is a straight line in the cosine where the calibration has one. Else the line `FALLBACK` through the
threshold, found on drawn people, decides; no probability is told then, for nobody measured it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import PAIRS, Calibration, Pair, pair
from cmnas_edge.collector.matching.prototypes import NEWEST, Prototypes
from cmnas_edge.collector.matching.tracklet import Tracklet, Tracklets
from cmnas_edge.collector.matching.transit import LIMIT, Transit
from cmnas_edge.embedding import MODALITIES

__all__ = ["FEW", "JOIN", "NEWCOMER", "UNSURE", "Evidence", "Judge", "Scales"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
JOIN = 0.7
UNSURE = 0.2    # from here on somebody else is worth a look
NEWCOMER = 0.4
FEW = 16        # on an empty site most people are new
FALLBACK = (5.0, 10.0)  # evidence at the threshold, and on the way from there to a cosine of 1
# Who isn't where people go next may have gone anywhere: no way says more against somebody, unless it is impossible.
# Of 1, 2 and 3, 1 finds most, on drawn days and where all walk about at once.
_ABSENT = 1.0
_LATE = 32      # candidates for whom a tracklet that came late is put into its place among theirs


class Evidence(msgspec.Struct, frozen=True):
    """What speaks for an identity: score, the one it needed here, the nearest tracklet there, how probable it is."""

    identity: int
    score: float
    threshold: float
    pair: Pair
    against: int
    probability: float
    way: float      # evidence of where it was before, in nats


class Scales:
    """A calibration as two numbers a pair of modalities: evidence is ``slope * score + offset``."""

    def __init__(self, calibration: Calibration) -> None:
        self.known = all(name in calibration.scales for name in PAIRS)
        self._slope, self._offset = np.zeros((2, 2)), np.zeros((2, 2))
        for a, b in ((a, b) for a in range(2) for b in range(2)):
            name = pair(MODALITIES[a], MODALITIES[b])
            if (scale := calibration.scales.get(name)) is not None:
                self._slope[a, b], self._offset[a, b] = scale.slope, scale.offset
            else:
                threshold = calibration.thresholds[name].score
                self._slope[a, b] = FALLBACK[1] / max(1e-6, 1.0 - threshold)
                self._offset[a, b] = FALLBACK[0] - self._slope[a, b] * threshold

    def evidence(self, scores: F64, a: int | I64, b: I64) -> F64:
        """What cosines between modalities ``a`` and ``b`` (0 or 1) are worth, in nats; shapes broadcast."""
        found: F64 = self._slope[a, b] * scores + self._offset[a, b]
        return found

    def score(self, evidence: float, a: int, b: int) -> float:
        """The cosine that would be worth so much, within -1 to 1."""
        return float(np.clip((evidence - self._offset[a, b]) / self._slope[a, b], -1.0, 1.0))


class Judge:
    """Holds tracklets and identities against identities."""

    def __init__(self, tracklets: Tracklets, prototypes: Prototypes, transit: Transit, scales: Scales, *,
                 newcomer: float = NEWCOMER) -> None:
        self._tracklets = tracklets
        self._prototypes = prototypes
        self._transit = transit
        self._scales = scales
        self._newcomer = newcomer

    def best(self, probe: Tracklet, chains: Mapping[int, list[Tracklet]], barred: Iterable[int]) -> Evidence | None:
        """Hold a tracklet against every identity, and tell of the most probable; None if there is nobody.

        Args:
            probe: The tracklet.
            chains: Tracklets of each identity by time.
            barred: Identities that are no candidates.
        """
        own, mean = MODALITIES.index(probe.modality), self._tracklets.mean([probe])
        fit = self._prototypes.traits["transform"] == np.uint64(probe.transform)
        fit &= (self._prototypes.traits["modality"] == own) | ~self._prototypes.traits["both"]
        rows = self._without(fit, barred)
        traits = self._prototypes.traits[rows]
        likeness = self._scales.evidence((self._prototypes.vectors @ mean)[rows].astype(np.float64), own,
                                         traits["modality"])
        way = self._transit.evidence(traits["camera"], np.full(len(rows), self._tracklets.camera(probe)),
                                     probe.seen_from - traits["last_at"])
        late = np.flatnonzero(traits["last_from"] > probe.seen_from)
        way[late] = 0.0
        for at in self._worth(likeness, late, len(chains)):
            way[at] = self._between(probe, chains[int(traits["identity"][at])])
        way = _beyond_crowd(way)
        total = likeness + way
        everybody = self._everybody(total, len(chains))
        for at in _best(total, traits["identity"], 1):
            identity, row = int(traits["identity"][at]), int(rows[at])
            score = float(mean.astype(np.float64) @ self._prototypes.vectors[row].astype(np.float64))
            chain = [one for one in chains[identity] if one.transform == probe.transform]
            return self._told(chain, identity, mean, score, (own, int(traits["modality"][at])), float(way[at]),
                              float(total[at]), everybody)
        return None

    def weigh(self, identity: int, chains: Mapping[int, list[Tracklet]], most: int) -> list[Evidence]:
        """Hold an identity against every other as a whole: all tracklets of one modality, else those of the other.

        Returns:
            The most probable first, at most so many.
        """
        traits, vectors = self._prototypes.traits, self._prototypes.vectors
        parts: list[tuple[I64, F64, I64, Mask]] = []    # rows there, likeness, row here, whether of one modality
        for mine in self._prototypes.rows(identity):
            own = int(traits["modality"][mine])
            rows = self._without(traits["transform"] == traits["transform"][mine], (identity,))
            likeness = self._scales.evidence((vectors @ vectors[mine])[rows].astype(np.float64), own,
                                             traits["modality"][rows])
            parts.append((rows, likeness, np.full(len(rows), mine), traits["modality"][rows] == own))
        rows, likeness, ours, same = (np.concatenate(part) for part in zip(*parts, strict=True))
        if not len(rows):
            return []
        use = same | ~np.isin(traits["identity"][rows], traits["identity"][rows[same]])
        rows, likeness, ours = rows[use], likeness[use], ours[use]
        weight = (traits["count"][rows] * traits["count"][ours]).astype(np.float64)
        names, column = np.unique(traits["identity"][rows], return_inverse=True)
        mean = np.bincount(column, weight * likeness) / np.bincount(column, weight)
        order = np.lexsort((-likeness, column))
        likest = order[np.unique(column[order], return_index=True)[1]]
        way = np.zeros(len(names))
        near = self._worth(mean, np.arange(len(names)), len(chains))
        way[near] = _beyond_crowd(self._joined(chains[identity], [chains[int(names[at])] for at in near]))
        total = mean + way
        everybody = self._everybody(total, len(chains))
        found = []
        for at in _best(total, names, most):
            mine, theirs = int(ours[likest[at]]), int(rows[likest[at]])
            sides = int(traits["modality"][mine]), int(traits["modality"][theirs])
            chain = [one for one in chains[int(names[at])] if one.transform == int(traits["transform"][mine])]
            found.append(self._told(chain, int(names[at]), vectors[mine],
                                    self._scales.score(float(mean[at]), *sides), sides, float(way[at]),
                                    float(total[at]), everybody))
        return found

    def likeness(self, chain: list[Tracklet]) -> F64:
        """What the scores of each with the next are worth, in nats, shape ``(len(chain) - 1,)``."""
        x = self._tracklets.means(chain)
        scores = np.einsum("nd,nd->n", x[:-1], x[1:], dtype=np.float64)
        sides = np.array([MODALITIES.index(one.modality) for one in chain])
        return self._scales.evidence(scores, sides[:-1], sides[1:])

    def _without(self, fit: Mask, barred: Iterable[int]) -> I64:
        for identity in barred:
            fit[self._prototypes.rows(identity)] = False
        rows: I64 = np.flatnonzero(fit)
        return rows

    def _between(self, probe: Tracklet, chain: list[Tracklet]) -> float:
        """Evidence of a tracklet's place in a chain: of the legs it makes, less that of the one it breaks."""
        at = sum(1 for one in chain if one.seen_from <= probe.seen_from)
        before, after = chain[max(0, at - 1):at], chain[at:at + 1]
        made = self._legs([*((one, probe) for one in before), *((probe, one) for one in after)]).sum()
        gone = float(self._legs([(before[0], after[0])])[0]) if before and after else 0.0
        return min(float(made) - max(gone, -LIMIT), LIMIT)

    def _joined(self, ours: list[Tracklet], others: list[list[Tracklet]]) -> F64:
        """Evidence of one chain made of ours and each other, shape ``(len(others),)``.

        Of the legs it would have that they have not, less that of those it would not have.
        """
        owner, made, ends = [], [], []
        mine = [(_time(one), True, one) for one in ours[-NEWEST:]]
        for number, theirs in enumerate(others):
            newest: dict[bool, Tracklet] = {}
            before: bool | None = None
            for _, side, one in sorted([*mine, *((_time(one), False, one) for one in theirs[-NEWEST:])], key=_first):
                if before is not None and before != side:
                    owner.append(number)
                    made.append(1.0)
                    ends.append((newest[before], one))
                    if side in newest:
                        owner.append(number)
                        made.append(-1.0)
                        ends.append((newest[side], one))
                newest[side], before = one, side
        says, sign = self._legs(ends), np.array(made)
        says = np.where(sign < 0, np.maximum(says, -LIMIT), says)
        return np.minimum(np.bincount(np.array(owner, np.int64), says * sign, minlength=len(others)), LIMIT)

    def _legs(self, ends: list[tuple[Tracklet, Tracklet]]) -> F64:
        camera = self._tracklets.camera
        return self._transit.evidence(np.array([camera(a) for a, _ in ends], np.int64),
                                      np.array([camera(b) for _, b in ends], np.int64),
                                      np.array([b.seen_from - a.seen_at for a, b in ends]))

    def _worth(self, likeness: F64, rows: I64, count: int) -> I64:
        """Of some rows those for whom the way could decide, at most `_LATE`."""
        rows = rows[likeness[rows] + 2 * LIMIT >= math.log(self._newcomer * (count + FEW))]
        found: I64 = rows[np.argsort(-likeness[rows], kind="stable")[:_LATE]]
        return found

    def _everybody(self, total: F64, count: int) -> float:
        """Logarithm of the sum under the line."""
        new = math.log(self._newcomer * (count + FEW))
        top = max(new, float(total.max(initial=-np.inf)))
        return top + math.log(math.exp(new - top) + float(np.exp(total - top).sum()))

    def _told(self, chain: list[Tracklet], identity: int, mean: F32, score: float, sides: tuple[int, int], way: float,
              total: float, everybody: float) -> Evidence:
        share = min(1.0 - 1e-9, math.exp(total - everybody))
        needed = math.log(JOIN / (1 - JOIN)) + everybody + math.log1p(-share) - way
        alike = [one for one in chain if MODALITIES.index(one.modality) == sides[1]][-NEWEST:]
        nearest = alike[int(np.argmax(self._tracklets.means(alike) @ mean))]
        return Evidence(identity, score, self._scales.score(needed, *sides),
                        pair(MODALITIES[sides[0]], MODALITIES[sides[1]]), nearest.opened_by, share, way)


def _beyond_crowd(way: F64) -> F64:
    """Take from everybody's way what a stranger's says here: where all walk about at once, it says little.

    With strangers, a likelihood ratio is 1 on average; `FEW` who were elsewhere keep one from being all there are.
    """
    crowd = (float(np.exp(way).sum()) + FEW) / (len(way) + FEW)
    found: F64 = np.where(np.isfinite(way), np.maximum(way - max(0.0, math.log(crowd)), -_ABSENT), way)
    return found


def _best(total: F64, names: I64, most: int) -> list[int]:
    """Where the best possible are, best first."""
    top = np.argpartition(-total, most)[:most] if len(total) > most else np.arange(len(total))
    top = top[np.isfinite(total[top])]
    return [int(at) for at in top[np.lexsort((names[top], -total[top]))]]


def _first(item: tuple[tuple[float, int], bool, Tracklet]) -> tuple[float, int]:
    return item[0]


def _time(one: Tracklet) -> tuple[float, int]:
    return one.seen_from, one.opened_by
