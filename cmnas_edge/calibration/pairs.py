"""The three pairs of modalities, each with scores of its own."""

from __future__ import annotations

from typing import Literal

from cmnas_edge.embedding import Modality

__all__ = ["PAIRS", "CalibratedOn", "Pair", "pair"]

Pair = Literal["visible-visible", "infrared-infrared", "visible-infrared"]
PAIRS: tuple[Pair, Pair, Pair] = ("visible-visible", "infrared-infrared", "visible-infrared")
CalibratedOn = Literal["drawn", "dataset", "site"]


def pair(a: Modality, b: Modality) -> Pair:
    """The name of a pair of modalities, whichever comes first."""
    if a == b:
        return "visible-visible" if a == "visible" else "infrared-infrared"
    return "visible-infrared"
