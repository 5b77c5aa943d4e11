"""What searching by likeness asks of whatever keeps the vectors: `VectorStore`, and the words it is asked in.

Two keep this promise, held by one suite of tests: `cmnas_edge.collector.matching.index.Index` in memory, and
`cmnas_edge.collector.store.milvus.MilvusStore` on a server.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import Modality

__all__ = ["F16", "F32", "Camera", "Filter", "Hit", "VectorStore", "Vectors"]

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
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
    """A sighting found, its cosine with the query, and what kind of picture it comes from.

    Stored vectors and queries are rounded to half precision, each entry by at most 2**-11 of itself (2**-25 where
    it is below 2**-14), so a score is at most 0.001 from that of the unrounded ones (Cauchy-Schwarz), and those
    that arrive as fp16 lose nothing.
    """

    id: int
    score: float
    modality: Modality


class Vectors(Protocol):
    """What was there at one moment; nothing changes it afterwards."""

    def search(self, query: F32, k: int, keep: Filter | None = None) -> list[Hit]:
        """Find the ``k`` sightings of highest cosine; the older of two equal ones first.

        Args:
            query: A unit vector, shape ``(d,)``.
            k: At most so many.
            keep: Which sightings may be found; None: all of transform 0.

        Raises:
            Transient: What keeps them cannot be reached.
        """

    def search_many(self, queries: F32, k: int, keep: Filter | None = None) -> list[list[Hit]]:
        """Do as `search` does for each of some queries, shape ``(q, d)``, in one go."""

    def vector(self, sighting: int) -> F32 | None:
        """Return the vector of a sighting, or None when it is not here.

        Raises:
            Transient: What keeps them cannot be reached.
        """


class VectorStore(Protocol):
    """The vectors of the hot window. One thread writes; any number read through `view`."""

    def __len__(self) -> int:
        """How many sightings it holds."""

    def add(self, sighting: int, vector: F32, *, camera: Camera, modality: Modality, seen_from: float,
            seen_at: float, transform: int = 0) -> None:
        """Add one sighting; every view taken from now on finds it.

        Args:
            sighting: Its id, greater than any before.
            vector: Its unit vector, shape ``(d,)``; kept in half precision.
            camera: Device and camera.
            modality: What kind of picture it was.
            seen_from: Epoch seconds of its first view.
            seen_at: Epoch seconds of its last view.
            transform: Which site key turned the vector.

        Raises:
            ValueError: The id does not count up.
        """

    def delete(self, sightings: Collection[int]) -> int:
        """Erase these sightings, as far as they are here; return how many were."""

    def drop_before(self, sighting: int) -> int:
        """Let go of every sighting with an id below this one; return how many."""

    def view(self) -> Vectors:
        """Return what is here now."""
