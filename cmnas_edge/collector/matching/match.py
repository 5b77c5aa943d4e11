"""Search: the sightings most probably of the same person as a query, each judged by the threshold of its pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import CalibratedOn, Calibration, Pair, Threshold, pair
from cmnas_edge.collector.matching.vectors import Filter, Vectors
from cmnas_edge.embedding import MODALITIES, Modality

__all__ = ["Match", "Model", "match"]

F32 = npt.NDArray[np.float32]


class Model(Protocol):
    """What the collector needs of a bundle (`cmnas_edge.bundle.Bundle` has it)."""

    @property
    def name(self) -> str:
        """What it calls itself."""
    @property
    def backbone(self) -> str:
        """Which network made its graphs."""
    @property
    def fingerprint(self) -> bytes:
        """Which vectors compare."""
    @property
    def dimension(self) -> int:
        """Entries of a vector."""
    @property
    def thresholds(self) -> Mapping[Pair, Threshold]:
        """From which cosine on two vectors match."""
    @property
    def calibrated_on(self) -> CalibratedOn:
        """On whom the thresholds were found."""
    @property
    def calibration(self) -> Calibration:
        """What a score is worth."""


class Match(msgspec.Struct, frozen=True):
    """A sighting found, and whether its score reaches the threshold of its pair."""

    id: int
    score: float
    threshold: float
    pair: Pair

    @property
    def above(self) -> bool:
        """Whether this is probably the same person."""
        return self.score >= self.threshold


def match(view: Vectors, query: F32, modality: Modality, *, k: int, keep: Filter,
          calibration: Calibration) -> list[Match]:
    """Find the ``k`` sightings that are most probably the same person, and judge them.

    Args:
        view: What is searched.
        query: A unit vector, shape ``(d,)``.
        modality: What kind of picture the query comes from.
        k: At most so many.
        keep: Which sightings may be found.
        calibration: What a score of each pair of modalities is worth.

    Returns:
        Best first on the scale that all pairs share, the older of two equal ones first. On raw cosines strangers of
        the query's own modality would come before the same person in the other.
    """
    wanted = MODALITIES if keep.modality is None else (keep.modality,)
    found = []
    for other in wanted:    # the best k of all are among the best k of each
        name = pair(modality, other)
        hits = view.search(query, k, msgspec.structs.replace(keep, modality=other))
        worth = calibration.normalised(name, np.array([hit.score for hit in hits]))
        found += [(-value, Match(hit.id, hit.score, calibration.thresholds[name].score, name))
                  for value, hit in zip(worth.tolist(), hits, strict=True)]
    return [each for _, each in sorted(found, key=lambda one: (one[0], one[1].id))[:k]]
