"""How well a gallery is searched, and how often two views are wrongly called one person.

CMC, mAP and mINP as person re-identification reports them; false match and false non-match
rate as biometrics does (ISO/IEC 19795-1). Pure numpy and without loops over queries.

Equal distances count against the searcher: an embedding that is the same for everybody
finds nobody.

Sources: SYSU-MM01's evaluation (Wu et al., ICCV 2017) for ranks over distinct identities;
Ye et al., Deep Learning for Person Re-identification (TPAMI 2021) for mINP.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Retrieval", "error_rates", "evaluate", "sysu_excluded", "threshold_at"]

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]


class Retrieval(NamedTuple):
    """What a search is worth.

    Attributes:
        cmc: ``cmc[k - 1]`` is the share of queries whose match is among the first k; float64.
        mean_ap: Mean average precision, 0 to 1.
        mean_inp: Mean inverse negative penalty, 0 to 1: how early the last match comes.
        query_count: Queries that have a match in the gallery; the others count nowhere.
    """

    cmc: npt.NDArray[np.float64]
    mean_ap: float
    mean_inp: float
    query_count: int

    @property
    def rank1(self) -> float:
        """Share of queries whose first answer is right."""
        return float(self.cmc[0])


def evaluate(distance: Floats, query_identity: Ints, gallery_identity: Ints, *, excluded: Mask | None = None,
             distinct: bool = True, max_rank: int = 20) -> Retrieval:
    """Score a search of every query in one gallery.

    Args:
        distance: Smaller is more alike, shape ``(q, g)``.
        query_identity: Shape ``(q,)``.
        gallery_identity: Shape ``(g,)``.
        excluded: Gallery entries a query must not use, shape ``(q, g)``; none if left out.
        distinct: The CMC counts identities ahead of the right one (SYSU-MM01, LLCM)
            instead of images (RegDB, Market-1501). mAP and mINP always count images.
        max_rank: Length of the CMC, at most; it is no longer than there are ranks.

    Raises:
        ValueError: Shapes do not belong together, a distance is not finite, or no query
            has a match.
    """
    query_count, gallery_count = len(query_identity), len(gallery_identity)
    if distance.shape != (query_count, gallery_count):
        raise ValueError(f"distance: expected shape ({query_count}, {gallery_count}), got {distance.shape}")
    kept = np.ones(distance.shape, bool) if excluded is None else ~excluded
    if kept.shape != distance.shape:
        raise ValueError(f"excluded: expected shape {distance.shape}, got {kept.shape}")
    if not np.isfinite(distance).all():
        raise ValueError("distance: expected finite numbers, got one that is not")
    match = (query_identity[:, None] == gallery_identity[None]) & kept
    valid = match.any(1)
    if not valid.any():
        raise ValueError("expected at least one query with a match in the gallery, got none")
    distance, kept, match = distance[valid], kept[valid], match[valid]

    average_precision, inverse_penalty, first = _rank_images(distance, kept, match)
    ranks = gallery_count
    if distinct:
        first = _rank_identities(distance, kept, match, gallery_identity)
        ranks = len(np.unique(gallery_identity))
    length = min(max_rank, ranks)
    hits = np.bincount(first, minlength=length)[:length]
    return Retrieval(np.cumsum(hits) / len(match), float(average_precision.mean()), float(inverse_penalty.mean()),
                     len(match))


def _rank_images(distance: Floats, kept: Mask, match: Mask) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    """Average precision, inverse negative penalty and rank (from 0) of the first match, each ``(q,)``."""
    far = np.where(kept, distance, np.inf)
    # A stable sort of rows that have their matches last puts matches behind their equals;
    # the excluded come last of all, where they change nothing.
    last = np.argsort(np.where(kept, match, 2), axis=1, kind="stable")
    order = np.take_along_axis(
        last, np.argsort(np.take_along_axis(far, last, 1), axis=1, kind="stable"), 1)
    hit = np.take_along_axis(match, order, 1)
    found = np.cumsum(hit, 1)
    place = np.arange(1, hit.shape[1] + 1)
    total = found[:, -1]
    average_precision = (hit * found / place).sum(1) / total
    last_place = hit.shape[1] - np.argmax(hit[:, ::-1], 1)
    return average_precision, total / last_place, np.argmax(hit, 1)


def _rank_identities(distance: Floats, kept: Mask, match: Mask, gallery_identity: Ints) -> npt.NDArray[np.intp]:
    """Rank (from 0) of the right identity, each identity placed by its nearest image, shape ``(q,)``."""
    by_identity = np.argsort(gallery_identity, kind="stable")
    starts = np.flatnonzero(np.diff(gallery_identity[by_identity], prepend=np.nan))
    nearest = np.minimum.reduceat(np.where(kept, distance, np.inf)[:, by_identity], starts, axis=1)
    own = np.logical_or.reduceat(match[:, by_identity], starts, axis=1)
    mine = np.where(own, nearest, np.inf).min(1, keepdims=True)
    ahead: npt.NDArray[np.intp] = ((nearest <= mine) & ~own).sum(1)
    return ahead


def sysu_excluded(query_camera: Ints, gallery_camera: Ints) -> Mask:
    """What SYSU-MM01 hides from a query: everything of camera 2 from camera 3, which stand in one room.

    Args:
        query_camera: Shape ``(q,)``.
        gallery_camera: Shape ``(g,)``.

    Returns:
        Shape ``(q, g)``, True where the gallery entry must not be used.
    """
    return np.asarray((query_camera[:, None] == 3) & (gallery_camera[None] == 2))


def error_rates(genuine: Floats, impostor: Floats, threshold: float) -> tuple[float, float]:
    """False match rate and false non-match rate when scores of at least ``threshold`` are called a match.

    Args:
        genuine: Scores of pairs of one person, larger is more alike, at least one.
        impostor: Scores of pairs of different people, at least one.
        threshold: Where the line is drawn.

    Raises:
        ValueError: A side has no scores.
    """
    if not genuine.size or not impostor.size:
        raise ValueError(f"expected scores on both sides, got {genuine.size} genuine and {impostor.size} impostor")
    return float((impostor >= threshold).mean()), float((genuine < threshold).mean())


def threshold_at(genuine: Floats, impostor: Floats, false_match_rate: float) -> float:
    """The lowest threshold that keeps the false match rate at or below what is asked.

    It lies halfway between the highest score that would have to be refused and the next
    higher score seen, genuine or impostor, so that it depends on no single rounding.

    Args:
        genuine: Scores of pairs of one person, larger is more alike.
        impostor: Scores of pairs of different people; they alone bound the rate.
        false_match_rate: 0 to 1. A rate below one over the number of impostors asks for no
            false match at all among those seen.

    Raises:
        ValueError: A side has no scores, or the rate is no share.
    """
    if not genuine.size or not impostor.size:
        raise ValueError(f"expected scores on both sides, got {genuine.size} genuine and {impostor.size} impostor")
    if not 0 <= false_match_rate <= 1:
        raise ValueError(f"false_match_rate: expected 0 to 1, got {false_match_rate}")
    ascending = np.sort(impostor.astype(np.float64), axis=None)
    allowed = math.floor(false_match_rate * len(ascending) + 1e-9)
    if allowed == len(ascending):
        return float(min(ascending[0], genuine.min()))
    refused = float(ascending[len(ascending) - allowed - 1])
    higher = np.concatenate([ascending, genuine.astype(np.float64).ravel()])
    higher = higher[higher > refused]
    if not len(higher):
        return math.nextafter(refused, math.inf)
    middle = (refused + float(higher.min())) / 2
    return middle if middle > refused else float(higher.min())
