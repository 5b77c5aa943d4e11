"""How alike people are, in nats: scores held against a calibration, each by the bundle that can compare them.

While a site changes from one bundle to another, each bundle has prototypes and a calibration of its own, and whoever is
asked about is held against those of the bundles that saw them. What two bundles say of one pair is not added, since
they looked at the same pictures: who can be compared within a modality is, and of bundles the first of those accepted
speaks. Vectors of two bundles are never multiplied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import PAIRS, Calibration, pair
from cmnas_edge.collector.matching.prototypes import Prototypes
from cmnas_edge.collector.matching.tracklet import Tracklet, Tracklets
from cmnas_edge.embedding import MODALITIES

__all__ = ["FALLBACK", "Compared", "Comparer", "Known", "Scales"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
FALLBACK = (5.0, 10.0)  # evidence at the threshold, and on the way from there to a cosine of 1


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


class Known(NamedTuple):
    """Everybody as one bundle sees them, and what its scores are worth."""

    prototypes: Prototypes
    scales: Scales


class Compared(NamedTuple):
    """Prototypes that somebody was held against, each field an array with a row for each.

    Attributes:
        rows: Where they stand, in the table of their bundle.
        identity: Whose they are.
        modality: Place in `MODALITIES`.
        likeness: What the scores are worth, in nats.
        weight: How many pairs of tracklets were compared.
        ours: Where the prototype stands that they were held against; -1: it is a tracklet's.
        place: Bundle, and after all bundles of one modality those of the other: the least is the best to go by.
    """

    rows: I64
    identity: I64
    modality: I64
    likeness: F64
    weight: I64
    ours: I64
    place: I64


class Comparer:
    """Holds tracklets and identities against prototypes.

    Args:
        tracklets: Everything seen.
        known: By bundle, the leading one first.
    """

    def __init__(self, tracklets: Tracklets, known: Sequence[Known]) -> None:
        self._tracklets = tracklets
        self._known = known

    def bundle(self, place: int) -> int:
        """The bundle of a place."""
        return int(place) % len(self._known)

    def trait(self, held: Compared, name: str) -> npt.NDArray[Any]:
        """A field of `Prototypes.traits` of each row."""
        every = [known.prototypes.traits[name] for known in self._known]
        if len(every) == 1:
            return np.asarray(every[0][held.rows])
        found = np.empty(len(held.rows), every[0].dtype)
        for bundle, column in enumerate(every):
            at = held.place % len(every) == bundle
            found[at] = column[held.rows[at]]
        return found

    def tracklet(self, probe: Tracklet, barred: Iterable[int]) -> Compared:
        """Hold a tracklet against each identity: its prototype of the same modality, else that of the other.

        Args:
            probe: The tracklet.
            barred: Identities that are left out.

        Returns:
            At most one row an identity.
        """
        own, barred, every = MODALITIES.index(probe.modality), list(barred), []
        for bundle in sorted(probe.means):
            prototypes, _ = self._known[bundle]
            fit = prototypes.traits["transform"] == np.uint64(probe.transform)
            fit &= (prototypes.traits["modality"] == own) | ~prototypes.traits["both"]
            every.append(self._held(bundle, fit, barred, self._tracklets.mean([probe], bundle), own, -1))
        return every[0] if len(every) == 1 else self._decisive(every)

    def identity(self, identity: int) -> Compared:
        """Hold an identity against every other: all that both have in one modality, else all in two."""
        every = []
        for bundle, (prototypes, _) in enumerate(self._known):
            for mine in prototypes.rows(identity):
                ours = prototypes.traits[mine]
                every.append(self._held(bundle, prototypes.traits["transform"] == ours["transform"], (identity,),
                                        prototypes.vectors[mine], int(ours["modality"]), mine))
        return self._decisive(every)

    def likeness(self, chain: list[Tracklet]) -> F64:
        """What the scores of each with the next are worth, in nats, shape ``(len(chain) - 1,)``.

        ``-inf`` where no bundle saw both.
        """
        found = np.full(len(chain) - 1, -np.inf)
        sides = np.array([MODALITIES.index(one.modality) for one in chain])
        by = np.array([min(a.means.keys() & b.means.keys(), default=-1) for a, b in pairwise(chain)])
        for bundle, (_, scales) in enumerate(self._known):
            if len(at := np.flatnonzero(by == bundle)):
                a, b = (self._tracklets.means([chain[one] for one in side], bundle) for side in (at, at + 1))
                found[at] = scales.evidence(np.einsum("nd,nd->n", a, b, dtype=np.float64), sides[at], sides[at + 1])
        return found

    def _held(self, bundle: int, fit: npt.NDArray[np.bool_], barred: Iterable[int], vector: F32, own: int,
              mine: int) -> Compared:
        prototypes, scales = self._known[bundle]
        for identity in barred:
            fit[prototypes.rows(identity)] = False
        rows = np.flatnonzero(fit)
        traits = prototypes.traits      # a field at a time: rows of all fields are slow to gather
        modality = traits["modality"][rows]
        scores = prototypes.scores(vector, rows).astype(np.float64)
        weight = traits["count"][rows] * (1 if mine < 0 else int(traits["count"][mine]))
        return Compared(rows, traits["identity"][rows], modality, scales.evidence(scores, own, modality), weight,
                        np.full(len(rows), mine), bundle + len(self._known) * (modality != own))

    def _decisive(self, every: Sequence[Compared]) -> Compared:
        """Of each identity only what is best to go by."""
        held = every[0] if len(every) == 1 else Compared(*(np.concatenate(part) for part in zip(*every, strict=True)))
        use = held.place == 0
        for place in range(1, 2 * len(self._known)):
            if (here := held.place == place).any():
                use |= here & ~np.isin(held.identity, held.identity[use])
        return held if use.all() else Compared(*(part[use] for part in held))
