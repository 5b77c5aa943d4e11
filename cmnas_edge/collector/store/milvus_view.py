"""What a Milvus server and this memory hold together, as one: what the server may not show yet is in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cmnas_edge.collector.matching import index
from cmnas_edge.collector.matching.vectors import F32, Filter, Hit

__all__ = ["MilvusView", "There"]


class There(Protocol):
    """What is searched on the server; each raises `LinkDown` while it is away."""

    def search(self, queries: F32, k: int, keep: Filter, first: int, last: int) -> list[list[Hit]]:
        """Find among the ids from ``first`` to ``last``."""

    def vector(self, sighting: int) -> F32 | None:
        """Read one vector."""


@dataclass(frozen=True, eq=False)
class MilvusView:
    """What was there at one moment, less what was erased or let go since."""

    there: There
    recent: index.View
    whole: bool         # everything is still in memory
    first: int
    last: int

    def search(self, query: F32, k: int, keep: Filter | None = None) -> list[Hit]:
        """See `cmnas_edge.collector.matching.vectors.Vectors`. Which of equal ones is the k-th, Milvus decides."""
        return self.search_many(query[None], k, keep)[0]

    def search_many(self, queries: F32, k: int, keep: Filter | None = None) -> list[list[Hit]]:
        """Do as `search` does for each of some queries, shape ``(q, d)``, in one request."""
        near = self.recent.search_many(queries, k, keep)
        if self.whole or k <= 0 or not len(queries):
            return near
        far = self.there.search(queries, k, keep or Filter(), self.first, self.last)
        return [sorted({hit.id: hit for hit in (*theirs, *ours)}.values(), key=lambda hit: (-hit.score, hit.id))[:k]
                for theirs, ours in zip(far, near, strict=True)]

    def vector(self, sighting: int) -> F32 | None:
        """Return the vector of a sighting, or None when it is not here."""
        found = self.recent.vector(sighting)
        if found is not None or self.whole or not self.first <= sighting <= self.last:
            return found
        return self.there.vector(sighting)
