"""Search: the nearest sightings to a query, each judged by the threshold of its pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import CalibratedOn, Calibration, Pair, Threshold, pair
from cmnas_edge.collector.matching.vectors import Filter, Vectors
from cmnas_edge.embedding import Modality

__all__ = ["Match", "Model", "match"]

F32 = npt.NDArray[np.float32]


class Model(Protocol):
    """What the collector needs of a bundle (`cmnas_edge.bundle.Bundle` has it)."""

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
          thresholds: Mapping[Pair, Threshold]) -> list[Match]:
    """Find the ``k`` nearest sightings and judge them.

    Args:
        view: What is searched.
        query: A unit vector, shape ``(d,)``.
        modality: What kind of picture the query comes from.
        k: At most so many.
        keep: Which sightings may be found.
        thresholds: Per pair of modalities.

    Returns:
        Best first by cosine. Scores of different pairs do not compare: a lower score across
        modalities may be the stronger evidence, which is why each has its threshold beside it.
    """
    matches = []
    for hit in view.search(query, k, keep):
        name = pair(modality, hit.modality)
        matches.append(Match(hit.id, hit.score, thresholds[name].score, name))
    return matches
