"""What a precision costs in people found: measured on drawn people, and bounded before it may serve.

Every crop asks for its person among all crops of a modality that other rooms took of 500 people, once in float32 and
once as a site would have it: cameras of one precision and packing ask, and cameras of another fill the gallery. All
ordered pairs of those that may meet are tried, and the worst one decides. The bound is a paired bootstrap over people,
all pictures of a person together (Efron and Tibshirani, An Introduction to the Bootstrap, 1993), one-sided.

A network that collapses may keep its ranks on easy people. So the variance of people's mean embeddings, which tells
them apart, is held against float32's as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Direction, Drawn, Gate, Loss, Precision
from cmnas_edge.embedding import MODALITIES, PACKINGS, Modality, Packing, pack, unpack
from cmnas_edge.retrieval import rank
from cmnas_edge.synthetic.crops import CAMERAS, CropSet
from export.calibrate import WORLD_SEED
from train.protocols.embeddings import Embeddings
from train.protocols.rules import OWN_ROOM

__all__ = ["FIRST_PERSON", "GROUP", "LARGEST_LOSS", "LARGEST_SPREAD", "QUERIES", "Site", "faults", "people", "spread"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
ByModality = Mapping[Modality, F32]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
# People in one gallery: what a large site holds. Further people make further galleries, and the bound closer.
GROUP = 500
LARGEST_LOSS = 1.0  # points of percent, of rank-1 and of mAP
LARGEST_SPREAD = 0.05
QUERIES = 2_000  # per direction, at least
CONFIDENCE = 0.95
# Nobody of these finds thresholds, is a golden crop, or gave a range: see `export.precision.crops`.
FIRST_PERSON = 20_000
_RESAMPLES = 2_000


class _Search(NamedTuple):
    """One gallery and who asks it: rows of the crops of a modality, and what is hidden from whom."""

    asks: slice
    answers: slice
    asking: I64
    answering: I64
    hidden: npt.NDArray[np.bool_]


class _Found(NamedTuple):
    """How each query of a direction fared, and who asked; shape ``(q,)`` each."""

    identity: I64
    hit: F64
    precision: F64


def people(count: int) -> Drawn:
    """Whom the gate draws: so many people, one crop by each camera, two of three cameras visible."""
    return Drawn(FIRST_PERSON, count, CAMERAS, 1, WORLD_SEED)


class Site:
    """Drawn people seen by cameras of several precisions; float32 is there from the beginning.

    Args:
        crops: Who and what they show, ordered by identity.
        embeddings: Of the crops of each modality, in order, in float32: unit vectors ``(n, d)``.
        group: People in one gallery.
    """

    def __init__(self, crops: CropSet, embeddings: ByModality, group: int = GROUP) -> None:
        self._of: dict[Modality, npt.NDArray[np.bool_]] = {"visible": ~crops.infrared, "infrared": crops.infrared}
        self._crops = crops
        self._plain = embeddings
        self._numbers = np.unique(crops.identity)
        self._searches = {direction: self._galleries(direction, group) for direction in DIRECTIONS}
        self._reference = {direction: self._search(direction, embeddings, embeddings) for direction in DIRECTIONS}
        count = len(self._numbers)
        self._weight = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
        self._seen: dict[tuple[Precision, Packing], dict[Modality, F32]] = {}
        self.admit("fp32", embeddings)

    def admit(self, precision: Precision, embeddings: ByModality) -> None:
        """Let cameras of a precision onto the site, with either packing."""
        for packing in PACKINGS:
            self._seen[precision, packing] = _sent(embeddings, packing)

    def figures(self) -> dict[Direction, tuple[float, float]]:
        """Rank-1 and mAP of float32 as it is, in percent."""
        return {direction: (100 * float(found.hit.mean()), 100 * float(found.precision.mean()))
                for direction, found in self._reference.items()}

    def judge(self, precision: Precision, embeddings: ByModality,
              progress: Callable[[int, int], None] | None = None) -> Gate:
        """Measure what it costs to let a precision onto the site.

        Args:
            precision: What it is called.
            embeddings: As for the constructor, in this precision.
            progress: Called with ordered pairs done, and all.
        """
        new = {(precision, packing): _sent(embeddings, packing) for packing in PACKINGS}
        everybody = {**self._seen, **new}
        meetings = [(asks, answers) for asks, answers in product(everybody, everybody) if asks in new or answers in new]
        rank1: dict[Direction, Loss] = {}
        mean_ap: dict[Direction, Loss] = {}
        worst, where = -np.inf, ""
        for done, (asks, answers) in enumerate(meetings, start=1):
            for direction in DIRECTIONS:
                before, after = self._reference[direction], self._search(direction, everybody[asks], everybody[answers])
                for kept, name, values in ((rank1, "rank-1", before.hit - after.hit),
                                           (mean_ap, "mAP", before.precision - after.precision)):
                    loss = self._bounded(before.identity, values)
                    if direction not in kept or not loss.bound <= kept[direction].bound:
                        kept[direction] = loss
                    if not loss.bound <= worst:
                        worst = loss.bound
                        where = f"{'/'.join(asks)} asks {'/'.join(answers)}, {direction} {name}"
            if progress is not None:
                progress(done, len(meetings))
        return Gate({direction: len(found.identity) for direction, found in self._reference.items()}, rank1, mean_ap,
                    spread(self._crops, self._of, self._plain, embeddings), where)

    def _bounded(self, identity: I64, lost: F64) -> Loss:
        person = np.searchsorted(self._numbers, identity)
        total = np.bincount(person, lost, len(self._numbers))
        count = np.bincount(person, minlength=len(self._numbers))
        drawn = (self._weight @ total) / np.maximum(self._weight @ count, 1)
        return Loss(round(100 * float(lost.mean()), 3), round(100 * float(np.quantile(drawn, CONFIDENCE)), 3))

    def _galleries(self, direction: Direction, group: int) -> list[_Search]:
        asking, answering = (modality for name in direction.split("-") for modality in MODALITIES if modality == name)
        searches = []
        for start in range(0, len(self._numbers), group):
            some = self._numbers[start:start + group]
            rows, sides = [], []
            for modality in (asking, answering):
                of = self._of[modality]
                inside = np.flatnonzero(np.isin(self._crops.identity[of], some))
                rows.append(slice(inside[0], inside[-1] + 1))
                nothing = np.zeros((len(inside), 1), np.float32)  # what is hidden depends on labels alone
                sides.append(Embeddings(nothing, self._crops.identity[of][rows[-1]], self._crops.camera[of][rows[-1]],
                                        self._crops.infrared[of][rows[-1]]))
            searches.append(_Search(rows[0], rows[1], sides[0].identity, sides[1].identity,
                                    OWN_ROOM.hides(sides[0], sides[1])))
        return searches

    def _search(self, direction: Direction, asks: ByModality, answers: ByModality) -> _Found:
        asking, answering = (modality for name in direction.split("-") for modality in MODALITIES if modality == name)
        parts = []
        for search in self._searches[direction]:
            likeness = asks[asking][search.asks] @ answers[answering][search.answers].T
            found = rank(-likeness, search.asking, search.answering, excluded=search.hidden)
            parts.append((search.asking[found.query], (found.first == 0).astype(np.float64), found.average_precision))
        return _Found(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def faults(gate: Gate) -> list[str]:
    """Why a precision may not serve, each reason with its figures; empty if it may."""
    found = [f"{name} {direction} lost {loss.drop:.2f}, at most {loss.bound:.2f}"
             for name, losses in (("rank-1", gate.rank1), ("mAP", gate.mean_ap)) for direction, loss in losses.items()
             if not loss.bound < LARGEST_LOSS]
    found += [f"spread {modality} {share:.3f}" for modality, share in gate.spread.items()
              if not round(abs(share - 1), 4) <= LARGEST_SPREAD]
    return found


def spread(crops: CropSet, of: Mapping[Modality, npt.NDArray[np.bool_]], plain: ByModality,
           other: ByModality) -> dict[Modality, float]:
    """Variance of people's mean embeddings as a share of float32's, by modality."""
    shares: dict[Modality, float] = {}
    for modality in MODALITIES:
        person = np.unique(crops.identity[of[modality]], return_inverse=True)[1]
        before, after = (_between(person, embeddings[modality]) for embeddings in (plain, other))
        shares[modality] = round(after / before, 4) if before > 0 else 0.0
    return shares


def _between(person: npt.NDArray[np.intp], embeddings: F32) -> float:
    count = np.bincount(person).astype(np.float64)
    order = np.argsort(person, kind="stable")
    total = np.add.reduceat(embeddings[order].astype(np.float64), np.cumsum(count).astype(int) - count.astype(int))
    return float((total / count[:, None]).var(0).sum())


def _sent(embeddings: ByModality, packing: Packing) -> dict[Modality, F32]:
    """As a collector has them."""
    return {modality: unpack(pack(rows, packing), packing, rows.shape[1]) for modality, rows in embeddings.items()}


