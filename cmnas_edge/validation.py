"""What a bundle's own validation crops tell about an engine: retrieval, not only numbers.

Small differences in embeddings may or may not move what is found first. So a bundle records
what its training network finds among its drawn crops, and a device can repeat that search.
Infrared crops ask, visible ones answer, ranks are over distinct identities, and camera 3 does
not see camera 2, which stands in the same room (`cmnas_edge.retrieval`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Bundle, Retrieval
from cmnas_edge.bundle.pictures import stored
from cmnas_edge.embedding import Modality
from cmnas_edge.errors import BundleError
from cmnas_edge.retrieval import evaluate, sysu_excluded
from cmnas_edge.synthetic.crops import CropSet

__all__ = ["LARGEST_CHANGE", "Embed", "check_retrieval", "search"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Embed = Callable[[U8, Modality], F32]  # crops (n, h, w, 3), BGR -> unit vectors (n, d)
# Share of queries, and of average precision, that another engine may move. Rounding moves none but ties.
LARGEST_CHANGE = 0.02


def search(crops: CropSet, embed: Embed) -> Retrieval:
    """Search visible crops for the people of infrared ones.

    Args:
        crops: Who and what they show.
        embed: What is measured.

    Raises:
        ValueError: Nobody was seen in both modalities.
    """
    asks, answers = crops.infrared, ~crops.infrared
    query, gallery = embed(crops.images[asks], "infrared"), embed(crops.images[answers], "visible")
    found = evaluate(1 - query @ gallery.T, crops.identity[asks], crops.identity[answers],
                     excluded=sysu_excluded(crops.camera[asks], crops.camera[answers]))
    return Retrieval(found.rank1, found.mean_ap, found.query_count)


def check_retrieval(bundle: Bundle, embed: Embed) -> Retrieval:
    """Repeat a bundle's search on this machine.

    Args:
        bundle: One with validation crops.
        embed: What is measured, such as this device's engines.

    Raises:
        BundleError: The bundle has no such crops, or what is found differs by more than
            `LARGEST_CHANGE` from what the training network found.
    """
    expected = bundle.manifest.retrieval
    if expected is None:
        raise BundleError(f"{bundle.path}: expected validation crops, found none; export with them")
    try:
        found = search(stored(bundle), embed)
    except (ValueError, OverflowError) as error:
        raise BundleError(f"{bundle.path}: expected validation crops to search, found others ({error}); "
                          "export again") from error
    change = max(abs(found.rank1 - expected.rank1), abs(found.mean_ap - expected.mean_ap))
    if not change <= LARGEST_CHANGE:
        raise BundleError(f"{bundle.path}: expected rank-1 {expected.rank1:.1%} and mAP {expected.mean_ap:.1%} "
                          f"on the validation crops, found {found.rank1:.1%} and {found.mean_ap:.1%}; this "
                          "engine finds other people: export again")
    return found
