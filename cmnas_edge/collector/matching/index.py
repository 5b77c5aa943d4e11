"""Exact nearest neighbours over the hot window: half-precision vectors in memory, scanned whole.

Recall is 1 by construction, for rows just added too. Rows come with ids that count up; the oldest leave first. They
lie in blocks: growing adds one and letting go drops one, so nothing is ever copied but a block that sightings are
erased from. Readers work on a `View`, which nothing changes afterwards: rows are only written behind its end, and a
block that a sighting is erased from is replaced, not changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmnas_edge.collector.matching.scan import Best, products
from cmnas_edge.collector.matching.vectors import F16, F32, Camera, Filter, Hit
from cmnas_edge.embedding import Modality

__all__ = ["Filter", "Hit", "Index", "View"]

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Kind = tuple[Camera, Modality, int]     # what filters ask of a row, times apart; a site has few
_ROOM = 16384           # rows of a block: 16 MiB of 512 entries
_SCORES = 1 << 17       # at once: 512 KiB, less than a core's own cache


class _Block:
    """Room for some rows; those from ``start`` to ``end`` are there."""

    def __init__(self, dimension: int, room: int) -> None:
        self.vectors: F16 = np.empty((room, dimension), np.float16)     # memory only once it is written
        self.ids: I64 = np.empty(room, np.int64)
        self.kinds = np.empty(room, np.int32)
        self.seen_from: F64 = np.empty(room, np.float64)
        self.seen_at: F64 = np.empty(room, np.float64)
        self.start = self.end = 0
        # No row is outside; with rows gone it may be wider than it must.
        self.earliest, self.latest = np.inf, -np.inf

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def room(self) -> int:
        return len(self.ids)

    def put(self, sighting: int, vector: F32, kind: int, seen_from: float, seen_at: float) -> None:
        at = self.end
        self.vectors[at], self.ids[at], self.kinds[at] = vector, sighting, kind
        self.seen_from[at], self.seen_at[at] = seen_from, seen_at
        self.earliest, self.latest = min(self.earliest, seen_from), max(self.latest, seen_at)
        self.end += 1

    def without(self, gone: Bools, room: int) -> _Block:
        """Another with those of the rows that are not gone."""
        rows = np.arange(self.start, self.end)[~gone]
        left = _Block(self.vectors.shape[1], room)
        left.end = len(rows)
        for name in ("vectors", "ids", "kinds", "seen_from", "seen_at"):
            getattr(left, name)[:left.end] = getattr(self, name)[rows]
        left.earliest, left.latest = self.earliest, self.latest
        return left


@dataclass(frozen=True, eq=False)
class View:
    """The index as it was at one moment."""

    parts: tuple[tuple[_Block, int, int], ...]      # in the order of ids: a block, and from which row to which
    kinds: tuple[Kind, ...]                         # by the code that rows have of them
    dimension: int

    def search(self, query: F32, k: int, keep: Filter | None = None) -> list[Hit]:
        """Find the ``k`` sightings of highest cosine; the older of two equal ones first.

        Args:
            query: A unit vector, shape ``(d,)``.
            k: At most so many.
            keep: Which sightings may be found; None: all of transform 0.
        """
        return self.search_many(query[None], k, keep)[0]

    def search_many(self, queries: F32, k: int, keep: Filter | None = None) -> list[list[Hit]]:
        """Do as `search` does for each of some queries, shape ``(q, d)``; they share one scan."""
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(f"expected queries of shape (q, {self.dimension}), found {queries.shape}")
        keep = keep or Filter()
        fit = np.fromiter((_fits(kind, keep) for kind in self.kinds), np.bool_, len(self.kinds))
        if k <= 0 or not len(queries) or not fit.any():
            return [[] for _ in queries]
        narrow = np.ascontiguousarray(queries, np.float16)
        best = Best(len(queries), k)
        at_once = max(256, _SCORES // len(queries))
        for block, start, end in self.parts:
            if keep.seen_from > block.latest or keep.seen_to < block.earliest:
                continue
            for at in range(start, end, at_once):
                _scan(block, slice(at, min(end, at + at_once)), narrow, keep, fit, best)
        return [[Hit(int(sighting), float(score), self._modality(int(sighting)))
                 for sighting, score in zip(*best.of(query), strict=True)] for query in range(len(queries))]

    def vector(self, sighting: int) -> F32 | None:
        """Return the vector of a sighting, or None when it is not here."""
        found = self._find(sighting)
        return None if found is None else found[0].vectors[found[1]].astype(np.float32)

    def ids(self) -> I64:
        """Every sighting that is here, counting up."""
        return np.concatenate([np.empty(0, np.int64), *(block.ids[start:end] for block, start, end in self.parts)])

    def rows(self, least: int = 0) -> Iterator[tuple[int, F16, Kind, float, float]]:
        """Id, vector, kind, first and last time of each sighting from ``least`` on."""
        for block, start, end in self.parts:
            for at in range(start + int(np.searchsorted(block.ids[start:end], least)), end):
                yield (int(block.ids[at]), block.vectors[at], self.kinds[int(block.kinds[at])],
                       float(block.seen_from[at]), float(block.seen_at[at]))

    def _find(self, sighting: int) -> tuple[_Block, int] | None:
        for block, start, end in self.parts:
            if start < end and sighting <= block.ids[end - 1]:
                at = start + int(np.searchsorted(block.ids[start:end], sighting))
                return (block, at) if block.ids[at] == sighting else None
        return None

    def _modality(self, sighting: int) -> Modality:
        found = self._find(sighting)
        assert found is not None
        return self.kinds[int(found[0].kinds[found[1]])][1]


def _fits(kind: Kind, keep: Filter) -> bool:
    camera, modality, transform = kind
    return (transform == keep.transform and keep.modality in (None, modality)
            and (keep.cameras is None or camera in keep.cameras))


def _scan(block: _Block, rows: slice, queries: F16, keep: Filter, fit: Bools, best: Best) -> None:
    """Hold some rows of a block against the queries."""
    ids, vectors = block.ids[rows], block.vectors[rows]
    mask = _mask(block, rows, keep, fit)
    if mask is None:
        best.take(products(vectors, queries), ids)
        return
    chosen = np.flatnonzero(mask)
    if not len(chosen):
        return
    if len(chosen) * 4 < len(ids):      # gathering rows copies them: worth it only when most are left out
        best.take(products(vectors[chosen], queries), ids[chosen])
    else:
        best.take(products(vectors, queries)[chosen], ids[chosen])


def _mask(block: _Block, rows: slice, keep: Filter, fit: Bools) -> Bools | None:
    """Which of the rows may be found; None: all."""
    masks: list[Bools] = []
    if not fit.all():
        masks.append(fit[block.kinds[rows]])
    if keep.seen_from > block.earliest:     # else all of them last beyond it
        masks.append(block.seen_at[rows] >= keep.seen_from)
    if keep.seen_to < block.latest:
        masks.append(block.seen_from[rows] <= keep.seen_to)
    if keep.exclude:
        ids = block.ids[rows]
        gone = np.fromiter(keep.exclude, np.int64, len(keep.exclude))
        at = np.searchsorted(ids, gone).clip(max=len(ids) - 1)
        if (hit := at[ids[at] == gone]).size:
            masks.append(np.ones(len(ids), np.bool_))
            masks[-1][hit] = False
    return np.logical_and.reduce(masks) if masks else None


class Index:
    """The vectors of the hot window. One thread writes; any number read through `view`."""

    def __init__(self, dimension: int, *, room: int = _ROOM) -> None:
        self.dimension = dimension
        self._room = room
        self._blocks: tuple[_Block, ...] = ()   # none is empty
        self._kinds: dict[Kind, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def add(self, sighting: int, vector: F32, *, camera: Camera, modality: Modality, seen_from: float,
            seen_at: float, transform: int = 0) -> None:
        """Add one sighting.

        Args:
            sighting: Its id, greater than any before.
            vector: Its unit vector, shape ``(d,)``; kept in half precision.
            camera: Device and camera.
            modality: What kind of picture it was.
            seen_from: Epoch seconds of its first view.
            seen_at: Epoch seconds of its last view.
            transform: Which site key turned the vector.

        Raises:
            ValueError: The id does not count up, or the vector is of another length.
        """
        block = self._blocks[-1] if self._blocks else None
        if block is not None and sighting <= block.ids[block.end - 1]:
            raise ValueError(f"expected an id above {block.ids[block.end - 1]}, found {sighting}")
        if vector.shape != (self.dimension,):
            raise ValueError(f"expected a vector of shape ({self.dimension},), found {vector.shape}")
        kind = (camera, modality, transform)
        code = self._kinds.get(kind)
        if code is None:
            code = self._kinds[kind] = len(self._kinds)
        if block is None or block.end == block.room:
            block = _Block(self.dimension, self._room)
            block.put(sighting, vector, code, seen_from, seen_at)
            self._blocks = (*self._blocks, block)
        else:
            block.put(sighting, vector, code, seen_from, seen_at)

    def delete(self, sightings: Collection[int]) -> int:
        """Erase these sightings, as far as they are here; return how many were."""
        wanted = np.fromiter(sightings, np.int64, len(sightings))
        before, kept = len(self), []
        for block in self._blocks:
            gone = np.isin(block.ids[block.start:block.end], wanted)
            if not gone.any():
                kept.append(block)
            elif not gone.all():
                last = block is self._blocks[-1]
                kept.append(block.without(gone, self._room if last else int((~gone).sum())))
        self._blocks = tuple(kept)
        return before - len(self)

    def drop_before(self, sighting: int) -> int:
        """Forget every sighting with an id below this one; return how many."""
        before = len(self)
        for block in self._blocks:
            block.start += int(np.searchsorted(block.ids[block.start:block.end], sighting))
        self._blocks = tuple(block for block in self._blocks if len(block))
        return before - len(self)

    def view(self) -> View:
        """Return the index as it is now."""
        return View(tuple((block, block.start, block.end) for block in self._blocks), tuple(self._kinds),
                    self.dimension)
