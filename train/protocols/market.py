"""Market-1501: visible people searched for among all pictures of other cameras (Zheng et al., ICCV 2015).

Single query. Pictures of identity -1 are junk and leave the gallery; those of 0, distractors, stay and
match nobody. A query does not see the same person under the same camera; ranks are over pictures.
Average precision is the mean of the precision at each match, as in torchreid, not the area under
straight lines that the dataset's own MATLAB code takes.
"""

from __future__ import annotations

import numpy as np

from train.protocols.embeddings import Embeddings, Metric
from train.protocols.rules import SAME_PERSON_SAME_CAMERA
from train.protocols.search import Found, search

__all__ = ["DISTRACTOR", "JUNK", "single_query"]

JUNK = -1
DISTRACTOR = 0


def single_query(query: Embeddings, gallery: Embeddings, *, metric: Metric = "cosine",
                 reranked: bool = False) -> Found:
    """Search for every query.

    Args:
        query: Pictures of ``query``.
        gallery: Pictures of ``bounding_box_test``, junk and distractors among them.
        metric: How embeddings are compared; the zoo of torchreid publishes ``"euclidean"`` ones, of
            features as they are.
        reranked: As for ``search``.

    Raises:
        ValueError: A query shows nobody (its identity is not positive), only junk is in the gallery,
            or no query has a match.
    """
    nobody = np.flatnonzero(query.identity <= DISTRACTOR)
    if len(nobody):
        raise ValueError(f"query: expected identities from 1, got {query.identity[nobody[0]]} in row {nobody[0]}")
    kept = gallery.identity != JUNK
    if not kept.any():
        raise ValueError("gallery: expected people, got junk (-1) alone")
    return search(query, gallery.take(kept), hidden=SAME_PERSON_SAME_CAMERA, distinct=False, metric=metric,
                 reranked=reranked)
