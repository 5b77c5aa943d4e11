"""SYSU-MM01: infrared people searched for in visible galleries drawn ten times (Wu et al., ICCV 2017).

Cameras 1, 2, 4 and 5 see in colour, 3 and 6 in infrared. Queries are all infrared pictures in both
modes; a query of camera 3 does not see camera 2; ranks are over distinct identities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from train.protocols.embeddings import Embeddings, Metric, Rows
from train.protocols.galleries import Permutations, in_order, official, seeded
from train.protocols.rules import SYSU
from train.protocols.search import Found, search

__all__ = ["MODES", "SHOTS", "Mode", "gallery", "query", "searches"]

Mode = Literal["all", "indoor"]

MODES: Mapping[Mode, tuple[int, ...]] = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
"""Cameras a gallery is drawn from."""

SHOTS: Mapping[str, int] = {"single-shot": 1, "multi-shot": 10}
"""Pictures of each identity under each camera."""


def query(test: Embeddings) -> Rows:
    """Rows of all queries, by identity, camera and file name.

    Args:
        test: All pictures of the test identities (or of the validation identities), with names.

    Raises:
        ValueError: The pictures have no names, or none is infrared.
    """
    rows = np.flatnonzero(test.infrared)
    if not len(rows):
        raise ValueError("expected infrared pictures as queries, got none")
    return np.array(in_order(test, rows), np.intp)


def gallery(test: Embeddings, *, mode: Mode, shot: int, trial: int, permutations: Permutations | None = None) -> Rows:
    """Rows of one gallery, by identity and camera.

    Args:
        test: As for ``query``.
        mode: Which cameras it is drawn from.
        shot: Pictures of each identity under each camera.
        trial: From 0.
        permutations: Those published with the dataset; without them ``random.seed(trial)`` draws.

    Raises:
        ValueError: Nothing to draw from, or as in ``galleries``.
    """
    if mode not in MODES:
        raise ValueError(f"mode: expected {' or '.join(MODES)}, got {mode}")
    rows = np.flatnonzero(~test.infrared & np.isin(test.camera, MODES[mode]))
    if not len(rows):
        raise ValueError(f"expected visible pictures of cameras {MODES[mode]} as gallery, got none")
    if permutations is None:
        return seeded(test, rows, shot=shot, trial=trial)
    return official(test, rows, permutations, shot=shot, trial=trial)


def searches(test: Embeddings, *, mode: Mode, shot: int, count: int = 10, permutations: Permutations | None = None,
             metric: Metric = "cosine", reranked: bool = False) -> list[Found]:
    """Search ``count`` galleries; arguments as for ``gallery`` and ``search``."""
    asks = test.take(query(test))
    return [search(asks, test.take(gallery(test, mode=mode, shot=shot, trial=number, permutations=permutations)),
                  hidden=SYSU, metric=metric, reranked=reranked) for number in range(count)]
