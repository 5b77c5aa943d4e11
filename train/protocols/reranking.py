"""Re-ranking by k-reciprocal neighbours: two people are alike if they have the same neighbours.

Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017); equations
are numbered as there. Neighbourhoods are sparse and kept so: a matrix of all queries and gallery
entries by themselves never exists.

It looks at all queries and the whole gallery at once, which no live search can; figures that use it
stand on a line of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["reranked_distances"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

_AT_ONCE = 1 << 23  # numbers worked on at once


class _Sparse(NamedTuple):
    """Rows of a sparse matrix, end to end: row r is ``column`` and ``value`` from ``start[r]`` to ``start[r + 1]``."""

    start: Ints
    column: Ints
    value: F64


def reranked_distances(query: F32, gallery: F32, *, k1: int = 20, k2: int = 6, weight: float = 0.3,
                       hidden: Mask | None = None) -> F32:
    """Distances after re-ranking, shape ``(q, g)``.

    The distance underneath is the squared Euclidean one over the row's largest, as in the authors'
    code; for unit vectors it ranks as the cosine does.

    Args:
        query: Shape ``(q, d)``.
        gallery: Shape ``(g, d)``.
        k1: How many neighbours make a neighbourhood.
        k2: Over how many of the nearest a neighbourhood is averaged.
        weight: Share of the distance underneath; lambda.
        hidden: Pairs that do not know of each other, shape ``(q, g)``: neither becomes the other's
            neighbour. Published figures hide nothing here, even where the protocol does later.

    Raises:
        ValueError: Shapes do not belong together, or a setting is out of range.
    """
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1] or not len(query) * len(gallery):
        raise ValueError(f"expected queries (q, d) and a gallery (g, d), got {query.shape} and {gallery.shape}")
    if k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
        raise ValueError(f"expected k1 and k2 of at least 1 and a weight of 0 to 1, got {k1}, {k2} and {weight}")
    if hidden is not None and hidden.shape != (len(query), len(gallery)):
        raise ValueError(f"hidden: expected shape ({len(query)}, {len(gallery)}), got {hidden.shape}")
    everybody = np.concatenate([query, gallery])
    near, farthest = _nearest(everybody, len(query), min(k1 + 1, len(everybody)), hidden)
    encoded = _encode(everybody, near, farthest, len(query), hidden, min(round(k1 / 2) + 1, near.shape[1]))
    if k2 > 1:
        encoded = _averaged(encoded, near[:, :k2])
    return _combined(query, gallery, encoded, farthest, weight)


def _squared(a: F32, b: F32) -> F32:
    return np.asarray(np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T), 0))


def _nearest(everybody: F32, q: int, k: int, hidden: Mask | None) -> tuple[Ints, F32]:
    """Each row's k nearest, itself first, ``(n, k)``; and its largest distance, ``(n,)``."""
    n = len(everybody)
    near, farthest = np.empty((n, k), np.intp), np.empty(n, everybody.dtype)
    step = max(1, _AT_ONCE // n)
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        squared = _squared(everybody[rows], everybody)
        farthest[rows] = squared.max(1)
        if hidden is not None:
            asking = rows[rows < q]
            squared[:len(asking), q:][hidden[asking]] = np.inf
            squared[len(asking):, :q][hidden[:, rows[len(asking):] - q].T] = np.inf
        squared[np.arange(len(rows)), rows] = -1
        some = np.sort(np.argpartition(squared, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(np.take_along_axis(squared, some, 1), axis=1, kind="stable")
        near[rows] = np.take_along_axis(some, order, 1)
    return near, np.maximum(farthest, np.finfo(np.float32).tiny)


def _reciprocal(near: Ints) -> Mask:
    """Whether each neighbour has the row among its own as well (eq. 3), ``(n, k)``."""
    found = np.empty(near.shape, bool)
    step = max(1, _AT_ONCE // near.shape[1] ** 2)
    for start in range(0, len(near), step):
        some = near[start:start + step]
        itself = np.arange(start, start + len(some))[:, None, None]
        found[start:start + step] = (near[some] == itself).any(2)
    return found


def _encode(everybody: F32, near: Ints, farthest: F32, q: int, hidden: Mask | None, half: int) -> _Sparse:
    """Each row's neighbourhood (eq. 3 to 5) as weights that fall with distance and sum to one (eq. 7)."""
    n, k = near.shape
    mutual, mutual_half = _reciprocal(near), _reciprocal(near[:, :half])
    keys = []
    step = max(1, _AT_ONCE // (k * half * k))
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        members = np.where(mutual[rows], near[rows], -1)
        # The half-sized neighbourhood of a member joins if more than two thirds of it are members (eq. 5).
        theirs, there = near[near[rows], :half], mutual_half[near[rows]] & mutual[rows][:, :, None]
        shared = (theirs[..., None] == members[:, None, None]).any(3) & there
        joins = 3 * shared.sum(2) > 2 * there.sum(2)
        row, member = np.nonzero(mutual[rows])
        more, candidate, place = np.nonzero(there & joins[:, :, None])
        keys.append(np.unique(np.concatenate([rows[row] * n + near[rows][row, member],
                                              rows[more] * n + theirs[more, candidate, place]])))
    row, column = np.divmod(np.concatenate(keys), n)
    if hidden is not None:
        asks, asked = np.minimum(row, column), np.maximum(row, column) - q
        across = (asks < q) & (asked >= 0)
        kept = ~(across & hidden[np.where(across, asks, 0), np.where(across, asked, 0)])
        row, column = row[kept], column[kept]
    weight = np.exp(-_pairs(everybody, row, column) / farthest[row])
    weight /= np.bincount(row, weight, minlength=n)[row]
    return _Sparse(np.searchsorted(row, np.arange(n + 1)), column, weight)


def _pairs(everybody: F32, row: Ints, column: Ints) -> F64:
    """Squared distances of given pairs, zero between a row and itself."""
    found = np.empty(len(row))
    step = max(1, _AT_ONCE // everybody.shape[1])
    for start in range(0, len(row), step):
        some = slice(start, start + step)
        apart = everybody[row[some]] - everybody[column[some]]
        found[some] = np.einsum("ij,ij->i", apart, apart)
    return found


def _spread(start: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Positions of all entries of some sparse rows, and which of ``rows`` each belongs to."""
    count = start[rows + 1] - start[rows]
    owner = np.repeat(np.arange(len(rows)), count)
    first = np.cumsum(count) - count
    return start[rows][owner] + np.arange(len(owner)) - first[owner], owner


def _averaged(encoded: _Sparse, near: Ints) -> _Sparse:
    """Each row's encoding averaged with those of its nearest (the local query expansion)."""
    n, k = near.shape
    parts = []
    step = max(1, _AT_ONCE // (k * 64))
    for start in range(0, n, step):
        some = near[start:start + step]
        position, owner = _spread(encoded.start, some.ravel())
        key, where = np.unique((start + owner // k) * n + encoded.column[position], return_inverse=True)
        parts.append((key, np.bincount(where, encoded.value[position]) / k))
    row, column = np.divmod(np.concatenate([key for key, _ in parts]), n)
    return _Sparse(np.searchsorted(row, np.arange(n + 1)), column, np.concatenate([value for _, value in parts]))


def _combined(query: F32, gallery: F32, encoded: _Sparse, farthest: F32, weight: float) -> F32:
    """Jaccard distance of encodings (eq. 10) and the distance underneath, weighted (eq. 12)."""
    q, g, n = len(query), len(gallery), len(query) + len(gallery)
    # Gallery encodings by column: who has this neighbour?
    first = encoded.start[q]
    order = np.argsort(encoded.column[first:], kind="stable")
    owner = np.repeat(np.arange(g), np.diff(encoded.start[q:]))[order]
    value, begin = encoded.value[first:][order], np.searchsorted(encoded.column[first:][order], np.arange(n + 1))
    out = np.empty((q, g), np.float32)
    step = max(1, _AT_ONCE // (4 * g))
    for start in range(0, q, step):
        rows = np.arange(start, min(start + step, q))
        mine, asks = _spread(encoded.start, rows)
        theirs, which = _spread(begin, encoded.column[mine])
        overlap = np.minimum(encoded.value[mine][which], value[theirs])
        shared = np.bincount(asks[which] * g + owner[theirs], overlap, minlength=len(rows) * g).reshape(-1, g)
        under = _squared(query[rows], gallery) / farthest[rows, None]
        # Encodings sum to one, so that the larger of two sums to two less the smaller.
        out[rows] = (1 - weight) * (1 - shared / (2 - shared)) + weight * under
    return out
