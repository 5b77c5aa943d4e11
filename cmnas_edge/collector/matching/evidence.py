"""How probably a tracklet is somebody known: likeness, the way there, and how many people there are.

Three things are added as log-likelihood ratios (nats): how many times as often they are seen with one person as with
two. The *score*, by the calibration: a mean cosine with an identity's newest tracklets (`prototypes`), of the probe's
own modality where the identity has any, being the better evidence; else of the other (`compare`). The *way*: how long
it took from where the identity was before (`transit`). And everybody else: the probe is one of these identities or a
newcomer, and with n of them a stranger has n chances to look alike. So (Bayes)

    p(i) = exp(e_i) / (newcomer * (n + FEW) + sum over j of exp(e_j)),    e = score + way.

A score's share is a straight line in the cosine where the calibration has one. Else the line `FALLBACK` through the
threshold, found on drawn people, decides; no probability is told then, for nobody measured it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import Pair, pair
from cmnas_edge.collector.matching.compare import Comparer, Known
from cmnas_edge.collector.matching.prototypes import NEWEST
from cmnas_edge.collector.matching.tracklet import Tracklet, Tracklets
from cmnas_edge.collector.matching.transit import LIMIT, Transit
from cmnas_edge.embedding import MODALITIES

__all__ = ["FEW", "JOIN", "NEWCOMER", "UNSURE", "Evidence", "Judge"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
JOIN = 0.7
UNSURE = 0.2    # from here on somebody else is worth a look
NEWCOMER = 0.4
FEW = 16        # on an empty site most people are new
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
    bundle: int     # which compared them


class Judge:
    """Holds tracklets and identities against identities.

    Args:
        tracklets: Everything seen.
        known: By bundle, the leading one first.
        transit: The ways between cameras.
        newcomer: How many strangers count as much as one person known.
    """

    def __init__(self, tracklets: Tracklets, known: Sequence[Known], transit: Transit, *,
                 newcomer: float = NEWCOMER) -> None:
        self._tracklets = tracklets
        self._known = known
        self._comparer = Comparer(tracklets, known)
        self._transit = transit
        self._newcomer = newcomer

    def best(self, probe: Tracklet, chains: Mapping[int, list[Tracklet]], barred: Iterable[int]) -> Evidence | None:
        """Hold a tracklet against every identity, and tell of the most probable; None if there is nobody.

        Args:
            probe: The tracklet.
            chains: Tracklets of each identity by time.
            barred: Identities that are no candidates.
        """
        held = self._comparer.tracklet(probe, barred)
        way = self._transit.evidence_to(self._tracklets.camera(probe), self._comparer.trait(held, "camera"),
                                        probe.seen_from - self._comparer.trait(held, "last_at"))
        late = np.flatnonzero(self._comparer.trait(held, "last_from") > probe.seen_from)
        way[late] = 0.0
        for at in self._worth(held.likeness, late, len(chains)):
            way[at] = self._between(probe, chains[int(held.identity[at])])
        way = _beyond_crowd(way)
        total = held.likeness + way
        everybody = self._everybody(total, len(chains))
        for at in _best(total, held.identity, 1):
            identity, bundle = int(held.identity[at]), self._comparer.bundle(held.place[at])
            mean, theirs = self._tracklets.mean([probe], bundle), self._known[bundle].prototypes.vectors[held.rows[at]]
            score = float(mean.astype(np.float64) @ theirs.astype(np.float64))
            chain = [one for one in chains[identity] if one.transform == probe.transform]
            sides = MODALITIES.index(probe.modality), int(held.modality[at])
            return self._told(bundle, chain, identity, mean, score, sides, float(way[at]), float(total[at]), everybody)
        return None

    def weigh(self, identity: int, chains: Mapping[int, list[Tracklet]], most: int) -> list[Evidence]:
        """Hold an identity against every other as a whole: all tracklets of one modality, else those of the other.

        Returns:
            The most probable first, at most so many.
        """
        held = self._comparer.identity(identity)
        if not len(held.rows):
            return []
        names, column = np.unique(held.identity, return_inverse=True)
        mean = np.bincount(column, held.weight * held.likeness) / np.bincount(column, held.weight)
        order = np.lexsort((-held.likeness, column))
        likest = order[np.unique(column[order], return_index=True)[1]]
        way = np.zeros(len(names))
        near = self._worth(mean, np.arange(len(names)), len(chains))
        way[near] = _beyond_crowd(self._joined(chains[identity], [chains[int(names[at])] for at in near]))
        total = mean + way
        everybody = self._everybody(total, len(chains))
        found = []
        for at in _best(total, names, most):
            bundle, mine = self._comparer.bundle(held.place[likest[at]]), int(held.ours[likest[at]])
            prototypes, scales = self._known[bundle]
            sides = int(prototypes.traits["modality"][mine]), int(held.modality[likest[at]])
            transform = int(prototypes.traits["transform"][mine])
            chain = [one for one in chains[int(names[at])] if one.transform == transform]
            found.append(self._told(bundle, chain, int(names[at]), prototypes.vectors[mine],
                                    scales.score(float(mean[at]), *sides), sides, float(way[at]),
                                    float(total[at]), everybody))
        return found

    def likeness(self, chain: list[Tracklet]) -> F64:
        """What the scores of each with the next are worth; see `Comparer.likeness`."""
        return self._comparer.likeness(chain)

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

    def _told(self, bundle: int, chain: list[Tracklet], identity: int, mean: F32, score: float,
              sides: tuple[int, int], way: float, total: float, everybody: float) -> Evidence:
        share = min(1.0 - 1e-9, math.exp(total - everybody))
        needed = math.log(JOIN / (1 - JOIN)) + everybody + math.log1p(-share) - way
        alike = [one for one in chain if MODALITIES.index(one.modality) == sides[1] and bundle in one.means][-NEWEST:]
        nearest = alike[int(np.argmax(self._tracklets.means(alike, bundle) @ mean))]
        return Evidence(identity, score, self._known[bundle].scales.score(needed, *sides),
                        pair(MODALITIES[sides[0]], MODALITIES[sides[1]]), nearest.opened_by, share, way, bundle)


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
