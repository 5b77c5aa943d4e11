"""RegDB: every picture of one modality searched for among all of the other (Nguyen et al., Sensors 2017).

The dataset is split ten times; each split trains a model of its own. What is scored here is one
split with its model; ``rows.over_models`` averages the ten.
"""

from __future__ import annotations

from train.protocols.embeddings import Embeddings, Metric
from train.protocols.pairs import Pair, sides
from train.protocols.search import Found, search

__all__ = ["one_split"]


def one_split(test: Embeddings, pair: Pair, *, metric: Metric = "cosine", reranked: bool = False) -> Found:
    """Search for all of one modality among all of the other. Ranks are over pictures, nothing is hidden.

    Args:
        test: Both modalities of the split's test identities.
        pair: Query-gallery.
        metric: How embeddings are compared.
        reranked: As for ``search``.

    Raises:
        ValueError: A modality is missing, or no query has a match.
    """
    asks, answers = sides(test, pair)
    return search(test.take(asks), test.take(answers), distinct=False, metric=metric, reranked=reranked)
