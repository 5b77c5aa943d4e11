"""Which gallery entries a query must not use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cmnas_edge.retrieval import sysu_excluded
from train.protocols.embeddings import Embeddings, Mask

__all__ = ["OWN_CAMERA", "OWN_ROOM", "SAME_PERSON_SAME_CAMERA", "SAME_PERSON_SAME_ROOM", "SYSU", "Rule", "meetings"]


@dataclass(frozen=True)
class Rule:
    """What is hidden from a search.

    Attributes:
        hides: From queries and gallery to a mask ``(q, g)``, True where an entry is hidden.
        by_camera: Whether it looks at cameras alone. Only such a rule can be obeyed before the
            answer is known, as re-ranking has to.
    """

    hides: Callable[[Embeddings, Embeddings], Mask]
    by_camera: bool


def meetings(query: Embeddings, gallery: Embeddings, hidden: Rule) -> tuple[bool, bool]:
    """Whether any query may be compared with the same person, and with another one.

    Args:
        query: One side.
        gallery: The other.
        hidden: By camera alone.
    """
    asks, answers = (side.take(np.unique(side.camera, return_index=True)[1]) for side in (query, gallery))
    same = other = False
    for one, two in np.argwhere(~hidden.hides(asks, answers)):
        mine, theirs = (np.unique(side.identity[side.camera == camera]) for side, camera in
                        ((query, asks.camera[one]), (gallery, answers.camera[two])))
        same = same or bool(np.isin(mine, theirs).any())
        other = other or len(np.union1d(mine, theirs)) > 1
    return same, other


def _sysu(query: Embeddings, gallery: Embeddings) -> Mask:
    return sysu_excluded(query.camera, gallery.camera)


def _same_room(query: Embeddings, gallery: Embeddings) -> Mask:
    return np.asarray(sysu_excluded(query.camera, gallery.camera) | sysu_excluded(gallery.camera, query.camera).T)


def _own_camera(query: Embeddings, gallery: Embeddings) -> Mask:
    return np.asarray(query.camera[:, None] == gallery.camera)


def _own_room(query: Embeddings, gallery: Embeddings) -> Mask:
    return _same_room(query, gallery) | _own_camera(query, gallery)


def _same_person_same_camera(query: Embeddings, gallery: Embeddings) -> Mask:
    return np.asarray((query.identity[:, None] == gallery.identity) & (query.camera[:, None] == gallery.camera))


def _same_person_same_room(query: Embeddings, gallery: Embeddings) -> Mask:
    return np.asarray(_same_room(query, gallery) | _same_person_same_camera(query, gallery))


SYSU = Rule(_sysu, by_camera=True)
"""Camera 3 does not see camera 2: they stand in one room (Wu et al., ICCV 2017)."""

OWN_CAMERA = Rule(_own_camera, by_camera=True)
"""Nobody sees their own camera."""

OWN_ROOM = Rule(_own_room, by_camera=True)
"""Nobody sees their own camera; cameras 2 and 3, in one room, do not see each other."""

SAME_PERSON_SAME_CAMERA = Rule(_same_person_same_camera, by_camera=False)
"""The same person under the same camera is too easy; others under that camera stay (Market-1501, LLCM)."""

SAME_PERSON_SAME_ROOM = Rule(_same_person_same_room, by_camera=False)
"""As before, and cameras 2 and 3 of SYSU-MM01 do not see each other."""
