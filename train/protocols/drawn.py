"""Drawn people, and any site with a few cameras: single shot between every two modalities.

As SYSU-MM01 has it, a gallery of one crop per identity and camera, drawn ten times; a camera-3 query
does not see camera 2, nor the other way round; a query never sees its own camera; ranks are over
distinct identities.
"""

from __future__ import annotations

import numpy as np

from train.protocols.embeddings import F32, Embeddings, Labels, Metric
from train.protocols.galleries import drawn
from train.protocols.pairs import PAIRS, Pair, sides
from train.protocols.rules import OWN_ROOM, Rule, meetings
from train.protocols.search import Found, search

__all__ = ["score", "searchable", "searches"]

_KEPT = ("rank1", "rank10", "mean_ap", "mean_inp")


def searchable(crops: Embeddings, hidden: Rule = OWN_ROOM) -> list[Pair]:
    """The pairs (query-gallery) in which somebody can be found again, and taken for somebody else.

    Args:
        crops: With labels.
        hidden: What a query must not use.
    """
    found: list[Pair] = []
    for pair, kinds in PAIRS.items():
        if all((crops.infrared == infrared).any() for infrared in kinds):
            asks, pool = sides(crops, pair)
            several = len(np.unique(crops.identity[pool])) > 1
            if several and meetings(crops.take(asks), crops.take(pool), hidden)[0]:
                found.append(pair)
    return found


def searches(crops: Embeddings, pair: Pair, *, count: int = 10, seed: int = 0, hidden: Rule = OWN_ROOM,
             metric: Metric = "cosine", reranked: bool = False) -> list[Found]:
    """Search ``count`` galleries.

    Args:
        crops: With labels; names are not needed.
        pair: Query-gallery.
        count: Galleries drawn.
        seed: Of the draws.
        hidden: What a query must not use.
        metric: How embeddings are compared.
        reranked: As for ``search``.
    """
    asks, pool = sides(crops, pair)
    query = crops.take(asks)
    return [search(query, crops.take(drawn(crops, pool, np.random.default_rng((seed, number)))), hidden=hidden,
                  metric=metric, reranked=reranked) for number in range(count)]


def score(embeddings: F32, labels: Labels, *, trials: int = 10, seed: int = 0) -> dict[str, dict[str, float]]:
    """Retrieval between every two modalities, for a first look.

    Args:
        embeddings: Unit vectors, shape ``(n, d)``.
        labels: Who and what they show.
        trials: Galleries drawn; figures are their means.
        seed: Of the draws.

    Returns:
        For each pair that is ``searchable``: ``rank1``, ``rank10``, ``mean_ap``, ``mean_inp`` in percent.
    """
    crops = Embeddings.of(embeddings, labels)
    figures: dict[str, dict[str, float]] = {}
    for pair in searchable(crops):
        rows = [one.figures for one in searches(crops, pair, count=trials, seed=seed)]
        figures[pair] = {name: round(100 * float(np.mean([row[name] for row in rows])), 2) for name in _KEPT}
    return figures
