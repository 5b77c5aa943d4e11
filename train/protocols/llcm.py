"""LLCM: one picture of everybody under every camera of the other modality, drawn ten times (Zhang & Wang, CVPR 2023).

A query does not see the same person under the same camera; ranks are over distinct identities.

The released evaluation swaps the roles for visible-infrared: it searches for the few drawn infrared
pictures among all visible ones. Its figures are several points from the protocol the paper
describes, and both are in print under one name. ``role_swapped`` is that variant, under its own.
"""

from __future__ import annotations

from train.protocols.embeddings import Embeddings, Metric, Rows
from train.protocols.galleries import seeded
from train.protocols.pairs import Pair, sides
from train.protocols.rules import SAME_PERSON_SAME_CAMERA
from train.protocols.search import Found, search

__all__ = ["gallery", "role_swapped", "searches"]


def gallery(test: Embeddings, pair: Pair, *, trial: int) -> Rows:
    """Rows of one gallery, by identity and camera: what ``random.seed(trial)`` picks of sorted file names.

    Args:
        test: All pictures of the test identities, with names.
        pair: Query-gallery.
        trial: From 0.
    """
    return seeded(test, sides(test, pair)[1], shot=1, trial=trial)


def searches(test: Embeddings, pair: Pair, *, count: int = 10, metric: Metric = "cosine",
             reranked: bool = False) -> list[Found]:
    """Search ``count`` galleries for all pictures of the other modality; arguments as for ``search``."""
    asks = test.take(sides(test, pair)[0])
    return [search(asks, test.take(gallery(test, pair, trial=number)), hidden=SAME_PERSON_SAME_CAMERA, metric=metric,
                  reranked=reranked) for number in range(count)]


def role_swapped(test: Embeddings, *, count: int = 10, metric: Metric = "cosine",
                 reranked: bool = False) -> list[Found]:
    """What the released code reports as visible-infrared: drawn infrared pictures searched for among all visible ones.

    What is asked differs from trial to trial; a row query by query is one of a person under a camera.
    """
    visible = test.take(sides(test, "visible-infrared")[0])
    return [search(test.take(gallery(test, "visible-infrared", trial=number)), visible,
                  hidden=SAME_PERSON_SAME_CAMERA, metric=metric, reranked=reranked) for number in range(count)]
