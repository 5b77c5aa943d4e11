"""The vectors of the hot window by the bundle that made them: a store for each, so that vectors of two never meet."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cmnas_edge.collector.matching.index import Index
from cmnas_edge.collector.matching.tracklet import Seen
from cmnas_edge.collector.matching.vectors import F32, VectorStore

__all__ = ["Stores"]


class Stores:
    """One `VectorStore` for each bundle. One thread writes; any number read through views.

    Args:
        dimensions: Entries of a vector, by fingerprint.
    """

    def __init__(self, dimensions: Mapping[bytes, int]) -> None:
        self._of: dict[bytes, VectorStore] = {name: Index(entries) for name, entries in dimensions.items()}

    def of(self, fingerprint: bytes) -> VectorStore:
        """The store of one bundle."""
        return self._of[fingerprint]

    def put(self, seen: Seen, vector: F32, fingerprint: bytes) -> None:
        """Add a sighting."""
        self._of[fingerprint].add(seen.id, vector, camera=(seen.device, seen.camera), modality=seen.modality,
                                  seen_from=seen.seen_from, seen_at=seen.seen_at, transform=seen.transform)

    def delete(self, sightings: Collection[int]) -> None:
        """Erase these sightings, as far as they are here."""
        for store in self._of.values():
            store.delete(sightings)

    def drop_before(self, sighting: int) -> None:
        """Let go of every sighting with an id below this one."""
        for store in self._of.values():
            store.drop_before(sighting)

    def replace(self, fingerprint: bytes, store: VectorStore) -> VectorStore:
        """Keep the vectors of one bundle in another store from now on; return the one they were in."""
        before, self._of[fingerprint] = self._of[fingerprint], store
        return before
