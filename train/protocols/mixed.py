"""One gallery of both modalities, as a live index has it: visible and infrared of everybody together.

The benchmarks search one modality in the other, where every answer is equally far away. In a mixed
gallery a stranger of the query's own modality competes with the right person of the other, which an
embedding must not let happen. One picture per identity, camera and modality, drawn ten times; a query
does not see the same person under the same camera, but strangers there it does; ranks are over
distinct identities.
"""

from __future__ import annotations

import numpy as np

from cmnas_edge.embedding import MODALITIES, Modality
from train.protocols.embeddings import Embeddings, Metric
from train.protocols.galleries import drawn
from train.protocols.rules import SAME_PERSON_SAME_CAMERA, Rule
from train.protocols.search import Found, search

__all__ = ["searches"]


def searches(pictures: Embeddings, modality: Modality, *, count: int = 10, seed: int = 0,
             hidden: Rule = SAME_PERSON_SAME_CAMERA, metric: Metric = "cosine") -> list[Found]:
    """Search ``count`` mixed galleries for all pictures of one modality.

    Args:
        pictures: Of both modalities.
        modality: The queries'.
        count: Galleries drawn.
        seed: Of the draws.
        hidden: What a query must not use.
        metric: How embeddings are compared.

    Raises:
        ValueError: A modality is missing, or no query has a match.
    """
    if modality not in MODALITIES:
        raise ValueError(f"modality: expected visible or infrared, got {modality}")
    if pictures.infrared.all() or not pictures.infrared.any():
        raise ValueError("expected pictures of both modalities for a mixed gallery, got one")
    query = pictures.take(pictures.infrared == (modality == "infrared"))
    both = [np.flatnonzero(pictures.infrared == infrared) for infrared in (False, True)]
    found = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        gallery = np.concatenate([drawn(pictures, rows, rng) for rows in both])
        found.append(search(query, pictures.take(gallery), hidden=hidden, metric=metric))
    return found
