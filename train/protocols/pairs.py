"""Which modality is searched for, and in which gallery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from train.protocols.embeddings import Embeddings, Rows

__all__ = ["ACROSS", "PAIRS", "Pair", "sides"]

Pair = Literal["visible-visible", "infrared-infrared", "infrared-visible", "visible-infrared"]

PAIRS: Mapping[Pair, tuple[bool, bool]] = {
    "visible-visible": (False, False),
    "infrared-infrared": (True, True),
    "infrared-visible": (True, False),
    "visible-infrared": (False, True),
}
"""Query and gallery: is it infrared?"""

ACROSS: tuple[Pair, Pair] = ("visible-infrared", "infrared-visible")
"""Both directions across the modalities."""


def sides(pictures: Embeddings, pair: Pair) -> tuple[Rows, Rows]:
    """Rows that may ask and rows that may answer.

    Raises:
        ValueError: There is no such pair, or a side is empty.
    """
    if pair not in PAIRS:
        raise ValueError(f"pair: expected one of {', '.join(PAIRS)}, got {pair}")
    found = [np.flatnonzero(pictures.infrared == infrared) for infrared in PAIRS[pair]]
    for side, rows, infrared in zip(("query", "gallery"), found, PAIRS[pair], strict=True):
        if not len(rows):
            raise ValueError(f"{side}: expected {'infrared' if infrared else 'visible'} pictures, got none")
    return found[0], found[1]
