"""Is one system better than another, or were the queries kind to it?

A paired bootstrap: queries are drawn with replacement, and both systems answer the same ones (Efron
and Tibshirani, An Introduction to the Bootstrap, 1993). It says how sure the difference is for these
people, this training run and this seed; other seeds are another question.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from train.protocols.search import Queries

__all__ = ["Difference", "compare"]

F64 = npt.NDArray[np.float64]

_AT_ONCE = 1 << 22  # numbers drawn at once


class Difference(NamedTuple):
    """The first system less the second, in shares.

    Attributes:
        value: On the queries as they are.
        low: 95 % of resamples lie from here.
        high: To here.
        p: How often, at most, a resample as extreme on the other side of zero turns up; two-sided, 0 to 1.
    """

    value: float
    low: float
    high: float
    p: float


def compare(one: Queries, other: Queries, *, by: Literal["query", "identity"] = "query", resamples: int = 10_000,
            seed: int = 0) -> dict[str, Difference]:
    """Compare two systems query by query.

    Args:
        one: How the queries fared in the first.
        other: The same queries in the second, in the same order, searched in the same galleries.
        by: What is drawn: queries, as is usual; or people with all their queries, which is stricter, as
            pictures of one person fail together.
        resamples: How many.
        seed: Of the draws.

    Returns:
        ``rank1`` and ``mean_ap``.

    Raises:
        ValueError: The queries are not the same, or none has a match.
    """
    if by not in {"query", "identity"}:
        raise ValueError(f"by: expected query or identity, got {by}")
    if not np.array_equal(one.identity, other.identity):
        raise ValueError(f"expected the same queries in the same order, got {len(one.identity)} and "
                         f"{len(other.identity)} that differ")
    valid = np.isfinite(one.rank1)
    if not np.array_equal(valid, np.isfinite(other.rank1)):
        raise ValueError("expected the same galleries, got queries with a match in only one of two")
    if not valid.any():
        raise ValueError("expected at least one query with a match in the gallery, got none")
    apart = np.stack([one.rank1 - other.rank1, one.average_precision - other.average_precision])[:, valid]
    group = np.arange(apart.shape[1]) if by == "query" else np.unique(one.identity[valid], return_inverse=True)[1]
    size = np.bincount(group).astype(np.float64)
    total = np.stack([np.bincount(group, row) for row in apart]).astype(np.float64)
    drawn = _resampled(total, size, resamples, np.random.default_rng(seed))
    return {name: _difference(row.mean(), values)
            for name, row, values in zip(("rank1", "mean_ap"), apart, drawn, strict=True)}


def _resampled(total: F64, size: F64, resamples: int, rng: np.random.Generator) -> F64:
    """Means over groups drawn with replacement, shape ``(2, resamples)``."""
    parts = []
    step = max(1, _AT_ONCE // len(size))
    for start in range(0, resamples, step):
        picked = rng.integers(len(size), size=(min(step, resamples - start), len(size)))
        parts.append(total[:, picked].sum(2) / size[picked].sum(1))
    return np.concatenate(parts, axis=1)


def _difference(value: float, drawn: F64) -> Difference:
    low, high = np.percentile(drawn, (2.5, 97.5))
    # One more than was counted: the queries as they are could have been a resample, too.
    tail = 1 + min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Difference(float(value), float(low), float(high), float(min(1, 2 * tail / (len(drawn) + 1))))
