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
        self._scores: list[F32] = [np.empty(0, np.float32)] * q
        self._rows: list[I64] = [np.empty(0, np.int64)] * q
        self._least = np.full(q, -np.inf, np.float32)   # what a score must exceed to count

    def take(self, scores: F32, rows: I64) -> None:
        """Take the scores, shape ``(n, q)``, of rows ``(n,)`` that lie behind all before; -inf never counts."""
        # Once k are held, next to nothing gets in: looking for the highest is all that is done to most.
        for query in np.flatnonzero(scores.max(0) > self._least):
            column = scores[:, query]
            near = np.flatnonzero(column > self._least[query])
            if len(near) > self._k:
                least = np.partition(column[near], len(near) - self._k)[len(near) - self._k]
                near = near[column[near] >= least]
            held = np.concatenate([self._scores[query], column[near]])
            came = np.concatenate([self._rows[query], rows[near]])
            order = np.argsort(-held, kind="stable")[:self._k]     # they stand in the order they came
            self._scores[query], self._rows[query] = held[order], came[order]
            if len(order) == self._k:
                self._least[query] = held[order[-1]]

    def of(self, query: int) -> tuple[I64, F32]:
        """Rows and scores of one query, best first."""
        return self._rows[query], self._scores[query]
