"""How well a gallery is searched, and how often two views are wrongly called one person.

CMC, mAP and mINP as person re-identification reports them; false match and false non-match
rate as biometrics does (ISO/IEC 19795-1). Pure numpy and without loops over queries; large
searches are worked off in pieces, so that memory is little more than the distances themselves.

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

__all__ = ["Ranked", "Retrieval", "error_rates", "evaluate", "rank", "summary", "sysu_excluded", "threshold_at"]

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
F64 = npt.NDArray[np.float64]

# Distances worked on at once: what is copied and sorted stays near the processor, and a search of
# 10,000 in 20,000 needs little more than its distances.
_AT_ONCE = 1 << 20


class Ranked(NamedTuple):
    """How one search went, query by query.

    Attributes:
        query: Rows of the queries that have a match in the gallery, ascending, shape ``(k,)``; the
            others are in no figure.
        first: Rank, from 0, of the first right answer, shape ``(k,)``.
        average_precision: 0 to 1, shape ``(k,)``.
        inverse_penalty: Number of matches over the rank, from 1, of the last one, shape ``(k,)``.
    """

    query: npt.NDArray[np.intp]
    first: npt.NDArray[np.intp]
    average_precision: F64
    inverse_penalty: F64


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
    found = rank(distance, query_identity, gallery_identity, excluded=excluded, distinct=distinct)
    ranks = len(np.unique(gallery_identity)) if distinct else len(gallery_identity)
    return summary(found, min(max_rank, ranks))


def summary(found: Ranked, length: int) -> Retrieval:
    """The means of a search over its queries.

    Args:
        found: What ``rank`` gave, or several of it end to end.
        length: Of the CMC, at least 1.

    Raises:
        ValueError: No query has a match.
    """
    count = len(found.query)
    if not count:
        raise ValueError("expected at least one query with a match in the gallery, got none")
    hits = np.bincount(found.first, minlength=length)[:length]
    return Retrieval(np.cumsum(hits) / count, float(found.average_precision.mean()),
                     float(found.inverse_penalty.mean()), count)


def rank(distance: Floats, query_identity: Ints, gallery_identity: Ints, *, excluded: Mask | None = None,
         distinct: bool = True) -> Ranked:
    """Search one gallery for every query; arguments as for ``evaluate``.

    Whole rankings are never made: what counts is how many others come before each match, and that
    is looked up among the sorted distances of the others.

    Raises:
        ValueError: Shapes do not belong together, or a distance is not finite.
    """
    query_identity, gallery_identity = np.asarray(query_identity), np.asarray(gallery_identity)
    query_count, gallery_count = len(query_identity), len(gallery_identity)
    if distance.shape != (query_count, gallery_count):
        raise ValueError(f"distance: expected shape ({query_count}, {gallery_count}), got {distance.shape}")
    if excluded is not None and excluded.shape != distance.shape:
        raise ValueError(f"excluded: expected shape {distance.shape}, got {excluded.shape}")
    if not distance.size:
        return Ranked(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0), np.empty(0))
    order = None
    if (gallery_identity[1:] < gallery_identity[:-1]).any():
        order = np.argsort(gallery_identity, kind="stable")
        gallery_identity = gallery_identity[order]
    people, starts, counts = np.unique(gallery_identity, return_index=True, return_counts=True)
    person = np.searchsorted(people, query_identity).clip(max=len(people) - 1)
    count = np.where(people[person] == query_identity, counts[person], 0)
    parts = []
    step = max(1, _AT_ONCE // gallery_count)
    for start in range(0, query_count, step):
        rows = slice(start, start + step)
        far = _far(distance[rows], None if excluded is None else excluded[rows], order)
        found = _rank(far, starts[person[rows]], count[rows], starts if distinct else None)
        parts.append(found._replace(query=found.query + start))
    return Ranked(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _far(distance: Floats, excluded: Mask | None, order: npt.NDArray[np.intp] | None) -> Floats:
    """A copy of distances, gallery in ``order``, the excluded infinitely far."""
    if not np.isfinite(distance).all():
        raise ValueError("distance: expected finite numbers, got one that is not")
    far = distance.astype(np.result_type(distance, np.float32))
    if excluded is not None:
        np.copyto(far, np.inf, where=excluded)
    return far if order is None else np.take(far, order, axis=1)


def _rank(far: Floats, start: npt.NDArray[np.intp], count: npt.NDArray[np.intp],
          starts: npt.NDArray[np.intp] | None) -> Ranked:
    """Rank a gallery that lies identity after identity; ``far`` is used up.

    Args:
        far: Distances, infinite where excluded, shape ``(q, g)``.
        start: Where each query's identity begins in the gallery, shape ``(q,)``.
        count: How many entries it has there, shape ``(q,)``.
        starts: Where every identity begins, if ranks are over identities.
    """
    offset = np.arange(max(1, count.max()))
    column = np.minimum(start[:, None] + offset, far.shape[1] - 1)
    own = np.where(offset < count[:, None], np.take_along_axis(far, column, 1), np.inf)
    own.sort(axis=1)
    valid = np.flatnonzero(np.isfinite(own[:, 0]))
    inside = np.nonzero(offset < count[:, None])
    far[inside[0], column[inside]] = np.inf
    if len(valid) < len(far):
        far, own = far[valid], own[valid]
    if not len(valid):
        return Ranked(valid, valid, np.empty(0), np.empty(0))

    first = None
    if starts is not None:
        # Each identity stands where its nearest image does; equals come before the right one.
        first = (np.minimum.reduceat(far, starts, axis=1) <= own[:, :1]).sum(1)
    far.sort(axis=1)
    total = np.isfinite(own).sum(1)
    own = own[:, :total.max()]
    # The k-th match (from 1) has as many before it as there are others no farther, and k - 1 matches.
    nth = np.arange(1, own.shape[1] + 1)
    place = _no_farther(far, own) + nth
    average_precision = np.where(np.isfinite(own), nth / place, 0).sum(1) / total
    last = np.take_along_axis(place, total[:, None] - 1, 1)[:, 0]
    return Ranked(valid, place[:, 0] - 1 if first is None else first, average_precision, total / last)


def _no_farther(ascending: Floats, values: Floats) -> npt.NDArray[np.intp]:
    """How many entries of a sorted row are at most each value of the same row; a bisection of all rows at once."""
    rows, length = ascending.shape
    flat, row = ascending.ravel(), (np.arange(rows) * length)[:, None]
    # Where the answer may still begin; it lies in the next ``length`` entries, or just behind them.
    start = np.repeat(row, values.shape[1], axis=1)
    while length > 1:
        half = length // 2
        start += half * (flat.take(start + (half - 1)) <= values)
        length -= half
    start += flat.take(start) <= values
    return np.asarray(start - row)


def sysu_excluded(query_camera: Ints, gallery_camera: Ints) -> Mask:
    """What SYSU-MM01 hides from a query: everything of camera 2 from camera 3, which stand in one room.

    Args:
        query_camera: Shape ``(q,)``.
        gallery_camera: Shape ``(g,)``.

    Returns:
        Shape ``(q, g)``, True where the gallery entry must not be used.
    """
    return np.asarray((query_camera == 3)[:, None] & (gallery_camera == 2)[None])


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
