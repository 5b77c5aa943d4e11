"""Exact nearest neighbours over the hot window: a matrix in memory, scanned whole.

Recall is 1 by construction, for rows just added too. Rows come with ids that count up; the
oldest leave first. Readers work on a `View`, which nothing changes afterwards: rows are only
written behind its end, and growing or compacting copies to new memory.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import MODALITIES, Modality

__all__ = ["Filter", "Hit", "Index", "View"]

F32 = npt.NDArray[np.float32]
_TRAITS = np.dtype([("id", np.int64), ("camera", np.int32), ("modality", np.int8), ("transform", np.uint64),
                    ("seen_from", np.float64), ("seen_at", np.float64)])
Traits = npt.NDArray[np.void]
Camera = tuple[str, str]  # device, camera


class Filter(msgspec.Struct, frozen=True):
    """Which sightings a search may find.

    Attributes:
        cameras: Only these (device, camera); None: all.
        seen_from: Only sightings that last beyond this time, in epoch seconds.
        seen_to: Only sightings that begin before this time.
        modality: Only this one.
        exclude: Never these ids.
        transform: The site key the query's vector was turned with; others do not compare.
    """

    cameras: frozenset[Camera] | None = None
    seen_from: float = -np.inf
    seen_to: float = np.inf
    modality: Modality | None = None
    exclude: frozenset[int] = frozenset()
    transform: int = 0


class Hit(msgspec.Struct, frozen=True):
    """A sighting found, its cosine with the query, and what kind of picture it comes from."""

    id: int
    score: float
    modality: Modality


@dataclass(frozen=True, eq=False)
class View:
    """The index as it was at one moment."""

    vectors: F32                    # (n, d)
    traits: Traits                  # (n,)
    cameras: dict[Camera, int]

    def search(self, query: F32, k: int, keep: Filter | None = None) -> list[Hit]:
        """Find the ``k`` sightings of highest cosine; the older of two equal ones first.

        Args:
            query: A unit vector, shape ``(d,)``.
            k: At most so many.
            keep: Which sightings may be found; None: all of transform 0.
        """
        rows = np.flatnonzero(self._mask(keep or Filter()))
        if not len(rows) or k <= 0:
            return []
        # Gathering rows copies them: worth it only when most are left out.
        scores = (self.vectors[rows] @ query if len(rows) * 4 < len(self.traits)
                  else (self.vectors @ query)[rows])
        if k < len(rows):
            least = np.partition(scores, len(rows) - k)[len(rows) - k]
            near = np.flatnonzero(scores >= least)
            rows, scores = rows[near], scores[near]
        best = np.lexsort((rows, -scores))[:k]
        return [Hit(int(self.traits["id"][rows[i]]), float(scores[i]), MODALITIES[self.traits["modality"][rows[i]]])
                for i in best]

    def vector(self, sighting: int) -> F32 | None:
        """Return the vector of a sighting, or None when it is not here."""
        row = int(np.searchsorted(self.traits["id"], sighting))
        if row < len(self.traits) and self.traits["id"][row] == sighting:
            found: F32 = self.vectors[row]
            return found
        return None

    def _mask(self, keep: Filter) -> npt.NDArray[np.bool_]:
        traits = self.traits
        mask = traits["transform"] == np.uint64(keep.transform)
        if keep.cameras is not None:
            mask &= np.isin(traits["camera"], _codes(keep.cameras, self.cameras))
        if keep.modality is not None:
            mask &= traits["modality"] == MODALITIES.index(keep.modality)
        if keep.seen_from > -np.inf:
            mask &= traits["seen_at"] >= keep.seen_from
        if keep.seen_to < np.inf:
            mask &= traits["seen_from"] <= keep.seen_to
        if keep.exclude:
            mask &= ~np.isin(traits["id"], list(keep.exclude))
        found: npt.NDArray[np.bool_] = mask
        return found


class Index:
    """The vectors of the hot window. One thread writes; any number read through `view`."""

    def __init__(self, dimension: int, *, room: int = 1024) -> None:
        self._vectors: F32 = np.zeros((room, dimension), np.float32)
        self._traits: Traits = np.zeros(room, _TRAITS)
        self._cameras: dict[Camera, int] = {}
        self._start = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def add(self, sighting: int, vector: F32, *, camera: Camera, modality: Modality, seen_from: float,
            seen_at: float, transform: int = 0) -> None:
        """Add one sighting.

        Args:
            sighting: Its id, greater than any before.
            vector: Its unit vector, shape ``(d,)``.
            camera: Device and camera.
            modality: What kind of picture it was.
            seen_from: Epoch seconds of its first view.
            seen_at: Epoch seconds of its last view.
            transform: Which site key turned the vector.

        Raises:
            ValueError: The id does not count up.
        """
        if len(self) and sighting <= int(self._traits["id"][self._end - 1]):
            raise ValueError(f"expected an id above {self._traits['id'][self._end - 1]}, found {sighting}")
        if self._end == len(self._traits):
            self._move(max(len(self._traits), 2 * len(self)))
        self._vectors[self._end] = vector
        code = self._cameras.get(camera)
        if code is None:
            code = len(self._cameras)
            self._cameras = {**self._cameras, camera: code}  # a view keeps the one it has
        self._traits[self._end] = (sighting, code, MODALITIES.index(modality), transform, seen_from, seen_at)
        self._end += 1

    def drop_before(self, sighting: int) -> int:
        """Forget every sighting with an id below this one; return how many."""
        gone = int(np.searchsorted(self._traits["id"][self._start:self._end], sighting))
        self._start += gone
        if self._start * 2 > len(self._traits):
            self._move(len(self._traits))
        return gone

    def view(self) -> View:
        """Return the index as it is now."""
        return View(self._vectors[self._start:self._end], self._traits[self._start:self._end], self._cameras)

    def _move(self, room: int) -> None:
        """Copy what is left to the front of new memory, at least as large as it needs."""
        n = len(self)
        vectors = np.zeros((max(room, 1), self._vectors.shape[1]), np.float32)
        traits = np.zeros(max(room, 1), _TRAITS)
        vectors[:n] = self._vectors[self._start:self._end]
        traits[:n] = self._traits[self._start:self._end]
        self._vectors, self._traits, self._start, self._end = vectors, traits, 0, n


def _codes(wanted: Collection[Camera], known: dict[Camera, int]) -> list[int]:
    return [known[camera] for camera in wanted if camera in known]
