"""One search: queries, one gallery, what is hidden, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.retrieval import Ranked, rank, summary
from train.protocols.embeddings import I64, Embeddings, Metric, distances
from train.protocols.reranking import reranked_distances
from train.protocols.rules import Rule

__all__ = ["Found", "Queries", "per_query", "search"]

F64 = npt.NDArray[np.float64]

_AT_ONCE = 1 << 24  # distances held at once
_LONGEST = 20  # of a CMC


class Queries(NamedTuple):
    """How each query fared, for comparing two systems query by query; not a number where it has no match.

    ``np.savez(path, **queries._asdict())`` keeps it.

    Attributes:
        identity: Who is searched for, shape ``(q,)``.
        rank1: Share of trials whose first answer is right, shape ``(q,)``.
        average_precision: Mean over trials, shape ``(q,)``.
    """

    identity: I64
    rank1: F64
    average_precision: F64


class Found(NamedTuple):
    """What came of one search.

    Attributes:
        figures: ``rank1``, ``rank10``, ``rank20``, ``mean_ap``, ``mean_inp``; shares, 0 to 1.
        queries: The same, query by query.
    """

    figures: dict[str, float]
    queries: Queries


def search(query: Embeddings, gallery: Embeddings, *, hidden: Rule | None = None, distinct: bool = True,
          metric: Metric = "cosine", reranked: bool = False) -> Found:
    """Search one gallery for every query.

    Args:
        query: What is searched for.
        gallery: Where.
        hidden: What a query must not use.
        distinct: The CMC counts people ahead of the right one instead of pictures.
        metric: How embeddings are compared.
        reranked: Whether the ranking is refined by k-reciprocal neighbours, which takes all queries
            and the whole gallery together and is no longer one search at a time.

    Raises:
        ValueError: The gallery shows one person only, no query has a match, or embeddings do not belong together.
    """
    ranks = len(np.unique(gallery.identity))
    if ranks < 2:
        raise ValueError("gallery: expected at least two people, whom a search could confuse, got one")
    parts = []
    if reranked:
        known = hidden.hides(query, gallery) if hidden and hidden.by_camera else None
        distance = reranked_distances(query.embedding, gallery.embedding, hidden=known)
    step = max(1, _AT_ONCE // len(gallery))
    for start in range(0, len(query), step):
        rows = np.arange(start, min(start + step, len(query)))
        some = query.take(rows)
        found = rank(distance[rows] if reranked else distances(some, gallery, metric), some.identity,
                     gallery.identity, excluded=hidden.hides(some, gallery) if hidden else None, distinct=distinct)
        parts.append(found._replace(query=found.query + start))
    found = Ranked(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    means = summary(found, min(_LONGEST, ranks if distinct else len(gallery)))
    figures = {f"rank{k}": float(means.cmc[min(k, len(means.cmc)) - 1]) for k in (1, 10, 20)}
    figures |= {"mean_ap": means.mean_ap, "mean_inp": means.mean_inp}
    hit, precision = np.full(len(query), np.nan), np.full(len(query), np.nan)
    hit[found.query], precision[found.query] = found.first == 0, found.average_precision
    return Found(figures, Queries(query.identity, hit, precision))


def per_query(found: Sequence[Found]) -> Queries:
    """How each query fared on average. A trial in which it has no match does not count for it.

    Args:
        found: Searches for the same queries, at least one.
    """
    identity = found[0].queries.identity
    figures = []
    for field in ("rank1", "average_precision"):
        values = np.stack([getattr(one.queries, field) for one in found])
        counted = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            figures.append(np.where(counted, values, 0).sum(0) / counted.sum(0))
    return Queries(identity, figures[0], figures[1])
