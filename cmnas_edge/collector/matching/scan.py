"""Products of many half-precision rows with few queries, and the best of them: what an exact search spends its time on.

With numkong the rows are read once, at the speed of memory, and sums are kept in float32. Without it numpy gives the
same products, many times slower. `benchmarks.match` says how much.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cmnas_edge.collector.matching.vectors import F16, F32

__all__ = ["Best", "products", "products_by_numpy"]

I64 = npt.NDArray[np.int64]
_AT_ONCE = 512      # rows that numpy turns to float32 at once, so that they stay in the cache


def products(rows: F16, queries: F16) -> F32:
    """Dot products, shape ``(n, q)``, of rows ``(n, d)`` and queries ``(q, d)``; both contiguous."""
    return _kernel()(rows, queries)


def products_by_numpy(rows: F16, queries: F16) -> F32:
    """Do as `products` does, where its library is not installed."""
    wide = queries.astype(np.float32).T
    found = np.empty((len(rows), len(queries)), np.float32)
    for at in range(0, len(rows), _AT_ONCE):
        np.matmul(rows[at:at + _AT_ONCE].astype(np.float32), wide, out=found[at:at + _AT_ONCE])
    return found


@lru_cache(maxsize=1)
def _kernel() -> Callable[[F16, F16], F32]:
    try:
        import numkong  # noqa: PLC0415 - comes with the extra `collector`, and not for every machine
    except ImportError:
        return products_by_numpy

    def found(rows: F16, queries: F16) -> F32:
        if len(queries) == 1:   # row by row, which the processor's prefetching likes best
            return np.asarray(numkong.dot(rows, queries[0], out_dtype="float32")).reshape(-1, 1)
        return np.asarray(numkong.dots_packed(rows, numkong.dots_pack(queries)))

    return found


class Best:
    """The ``k`` highest scores so far, of each of ``q`` queries; of equal ones, those that came first."""

    def __init__(self, q: int, k: int) -> None:
        self._k = k
        self._many = 4 * k * q
        self._least = np.full(q, -np.inf, np.float32)   # what a score must exceed to count
        self._query, self._id, self._score = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        self._waiting: list[tuple[I64, I64, F32]] = []  # not sorted in yet
        self._waits = 0

    def take(self, scores: F32, ids: I64) -> None:
        """Take the scores, shape ``(n, q)``, of ids ``(n,)`` that are above all before."""
        fits = scores > self._least     # once k are held, next to none: this is all that is done to most
        count = int(np.count_nonzero(fits))
        if not count:
            return
        if count > self._many and len(ids) > self._k:
            fits &= scores >= np.partition(scores, len(ids) - self._k, axis=0)[len(ids) - self._k]
        row, query = np.nonzero(fits)
        self._waiting.append((query, ids[row], scores[row, query]))
        self._waits += len(row)
        if count > self._many or self._waits > self._many:
            self._sort()

    def of(self, query: int) -> tuple[I64, F32]:
        """Ids and scores of one query, best first."""
        self._sort()
        rows = slice(*np.searchsorted(self._query, [query, query + 1]))
        return self._id[rows], self._score[rows]

    def _sort(self) -> None:
        if not self._waiting:
            return
        held = [(self._query, self._id, self._score), *self._waiting]
        query, ids, score = (np.concatenate(each) for each in zip(*held, strict=True))
        order = np.lexsort((ids, -score, query))
        query = query[order]
        place = np.arange(len(query)) - np.searchsorted(query, query)
        order = order[place < self._k]
        self._query, self._id, self._score = query[place < self._k], ids[order], score[order]
        last = place[place < self._k] == self._k - 1
        self._least[self._query[last]] = self._score[last]
        self._waiting, self._waits = [], 0
