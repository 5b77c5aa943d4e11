"""What each identity looks like, per modality: the mean of its newest tracklets, one row of a table for each bundle.

A score against an identity is the mean cosine with those tracklets: noise of single tracklets goes, and the cost is
one row a person and modality, however long somebody stays. Each row also says where the identity was last, for the way
from there (`cmnas_edge.collector.matching.transit`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cmnas_edge.collector.matching.scan import products
from cmnas_edge.collector.matching.tracklet import Tracklet, Tracklets
from cmnas_edge.embedding import MODALITIES

__all__ = ["MANY", "NEAR", "NEWEST", "Prototypes"]

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Traits = npt.NDArray[np.void]
_TRAITS = np.dtype([("identity", np.int64), ("modality", np.int64), ("transform", np.uint64), ("count", np.int64),
                    ("both", np.bool_), ("last_from", np.float64), ("last_at", np.float64), ("camera", np.int64)])
NEWEST = 32     # of a modality; with more an old coat would count for ever
MANY = 4096     # rows: 8 MiB of 512 entries, which a processor's cache holds
NEAR = 64       # rows: whoever could be chosen is among the likest


class Prototypes:
    """A dense table of prototypes by one bundle. Removing one moves the last row into its place."""

    def __init__(self, dimension: int, bundle: int = 0) -> None:
        self._bundle = bundle
        self._vectors: F32 = np.zeros((64, dimension), np.float32)
        self._halves: F16 = np.zeros((64, dimension), np.float16)   # the same
        self._traits: Traits = np.zeros(64, _TRAITS)
        self._rows: dict[int, list[int]] = {}   # of each identity
        self._end = 0

    @property
    def traits(self) -> Traits:
        """What decides about each row, see `_TRAITS`; ``both``: its identity has the other modality, too."""
        return self._traits[:self._end]

    @property
    def vectors(self) -> F32:
        """The means, shape ``(n, d)``, not scaled to length one again."""
        return self._vectors[:self._end]

    def rows(self, identity: int) -> list[int]:
        """Where an identity stands."""
        return self._rows.get(identity, [])

    def scores(self, vector: F32, rows: I64) -> F32:
        """Dot products of some rows with a vector, shape ``(len(rows),)``.

        Of very many only the `NEAR` highest are exact: all are read in half precision first, which takes half the time.
        """
        if len(rows) <= MANY:
            return np.asarray((self.vectors @ vector)[rows])
        found: F32 = products(self._halves[:self._end], vector.astype(np.float16)[None])[rows, 0]
        near = np.argpartition(found, -NEAR)[-NEAR:]
        found[near] = self._vectors[rows[near]] @ vector
        return found

    def put(self, identity: int, members: Sequence[Tracklet], tracklets: Tracklets) -> None:
        """Describe an identity anew.

        Args:
            identity: Which.
            members: Its tracklets by time, also those that this bundle did not tell of; none: it is no more.
            tracklets: The table they stand in.
        """
        kinds: dict[tuple[int, int], list[Tracklet]] = {}
        for one in (one for one in members if self._bundle in one.means):
            kinds.setdefault((MODALITIES.index(one.modality), one.transform), []).append(one)
        rows = self._rows.setdefault(identity, [])
        while len(rows) > len(kinds):
            self._drop(rows.pop())
        while len(rows) < len(kinds):
            rows.append(self._room())
            self._traits[rows[-1]]["identity"] = identity
        if not kinds:
            del self._rows[identity]
            return
        last, last_at = members[-1], max(one.seen_at for one in members[-NEWEST:])
        for row, ((modality, transform), some) in zip(rows, sorted(kinds.items()), strict=True):
            self._vectors[row] = self._halves[row] = tracklets.mean(some[-NEWEST:], self._bundle)
            self._traits[row] = (identity, modality, transform, min(len(some), NEWEST),
                                 (1 - modality, transform) in kinds, last.seen_from, last_at, tracklets.camera(last))

    def _room(self) -> int:
        if self._end == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
            self._halves = np.concatenate([self._halves, np.zeros_like(self._halves)])
            self._traits = np.concatenate([self._traits, np.zeros_like(self._traits)])
        self._end += 1
        return self._end - 1

    def _drop(self, row: int) -> None:
        self._end -= 1
        if row != self._end:
            for table in (self._vectors, self._halves, self._traits):
                table[row] = table[self._end]
            rows = self._rows[int(self._traits[row]["identity"])]
            rows[rows.index(self._end)] = row
