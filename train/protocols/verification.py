"""Are these two pictures of one person? Error rates of that question, for each pair of modalities.

False match and false non-match rate as biometrics has them (ISO/IEC 19795-1): FMR is the share of
pairs of strangers taken for one person, FNMR the share of pairs of one person taken for two, TMR is
one less FNMR. Pairs come from two different cameras.

Intervals are over people, not pairs: people are drawn with replacement, and each brings all pairs
with the others drawn (the subsets bootstrap; Bolle et al., Error analysis of pattern recognition
systems, CVIU 2004). Millions of pairs of a hundred people are still a hundred people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.protocols.embeddings import F32, Embeddings, Metric, Rows, distances
from train.protocols.pairs import Pair, sides
from train.protocols.rules import OWN_CAMERA, Rule

__all__ = ["RATES", "Verification", "verify"]

F64 = npt.NDArray[np.float64]

RATES = (1e-2, 1e-3, 1e-4)
"""False match rates at which the true match rate is told."""

_AT_ONCE = 1 << 22  # pairs compared at once
_PAIRS = 40_000_000  # at most; more pictures of a person under a camera add little
_CELLS = 60_000_000  # of the table of people by people by scores that intervals are made from
_EDGES = 2048  # scores in that table, at most


class Verification(NamedTuple):
    """How well two pictures tell whether they show one person.

    Attributes:
        figures: ``eer``, and ``tmr@RATE`` for each rate; shares. A rate below one in the number of
            impostor pairs cannot be measured and is left out.
        interval: 95 % of resamples lie between these; the same keys.
        genuine: Pairs of one person.
        impostor: Pairs of two people.
        people: Identities in them.
        left_out: Pictures that are in no pair, as there are too many to compare all.
    """

    figures: Mapping[str, float]
    interval: Mapping[str, tuple[float, float]]
    genuine: int
    impostor: int
    people: int
    left_out: int


class _Pairs(NamedTuple):
    """Scores of pairs, larger is more alike, and whose they are: positions of the two identities in one number."""

    score: F32
    whose: npt.NDArray[np.int32]


def verify(pictures: Embeddings, pair: Pair, *, rates: Sequence[float] = RATES, resamples: int = 500, seed: int = 0,
           hidden: Rule = OWN_CAMERA, metric: Metric = "cosine") -> Verification:
    """Compare pictures of two modalities (or of one) pair by pair.

    Args:
        pictures: With labels; identities that are not one person, as Market-1501's distractors, left out.
        pair: Which modalities.
        rates: False match rates asked for.
        resamples: Of the people, for the intervals; none with 0.
        seed: Of the resamples, and of the choice of pictures where there are too many.
        hidden: Pairs that do not count; those of one camera unless told otherwise.
        metric: How embeddings are compared.

    Raises:
        ValueError: A modality is missing, a rate is no share, or there are no pairs of one person or none of two.
    """
    if not all(0 < rate < 1 for rate in rates):
        raise ValueError(f"rates: expected shares between 0 and 1, got {', '.join(map(str, rates))}")
    both = sides(pictures, pair)
    one, other = (_thinned(pictures, rows, seed) for rows in both)
    left_out = len(np.setdiff1d(np.concatenate(both), np.concatenate([one, other])))
    people = np.unique(pictures.identity[np.concatenate([one, other])])
    genuine, impostor = _compare(pictures, one, other, people, hidden, metric)
    if not len(genuine.score) or not len(impostor.score):
        raise ValueError(f"{pair}: expected pairs of one person and of two from different cameras, got "
                         f"{len(genuine.score)} and {len(impostor.score)}")
    figures = _exact(genuine.score, impostor.score, rates)
    interval = _intervals(genuine, impostor, len(people), rates, resamples, seed) if resamples else {}
    return Verification(figures, {name: interval[name] for name in figures if name in interval},
                        len(genuine.score), len(impostor.score), len(people), left_out)


def _thinned(pictures: Embeddings, rows: Rows, seed: int) -> Rows:
    """Rows of one modality, so few of each person under each camera that pairs stay countable."""
    limit = int(_PAIRS ** 0.5)
    if len(rows) <= limit:
        return rows
    mixed = np.random.default_rng(seed).permutation(rows)
    _, group = np.unique(np.stack([pictures.identity[mixed], pictures.camera[mixed]], 1), axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    sizes = np.bincount(group.ravel())
    nth = np.empty(len(mixed), np.intp)
    nth[order] = np.arange(len(mixed)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = next((k for k in range(int(nth.max()), 1, -1) if (nth < k).sum() <= limit), 1)
    return np.sort(mixed[nth < kept])


def _compare(pictures: Embeddings, one: Rows, other: Rows, people: npt.NDArray[np.int64], hidden: Rule,
             metric: Metric) -> tuple[_Pairs, _Pairs]:
    """Scores of pairs of one person, and of two."""
    answers = pictures.take(other)
    theirs = np.searchsorted(people, answers.identity).astype(np.int32)
    genuine: list[_Pairs] = []
    impostor: list[_Pairs] = []
    step = max(1, _AT_ONCE // len(other))
    for start in range(0, len(one), step):
        rows = one[start:start + step]
        asks = pictures.take(rows)
        mine = np.searchsorted(people, asks.identity).astype(np.int32)
        score = -distances(asks, answers, metric) + (1 if metric == "cosine" else 0)
        seen = ~hidden.hides(asks, answers)
        if pictures.infrared[one[0]] == pictures.infrared[other[0]]:
            seen &= rows[:, None] < other  # each pair once
        same = mine[:, None] == theirs
        for pairs, chosen in ((genuine, seen & same), (impostor, seen & ~same)):
            row, column = np.nonzero(chosen)
            pairs.append(_Pairs(score[row, column], mine[row] * np.int32(len(people)) + theirs[column]))
    return _joined(genuine), _joined(impostor)


def _joined(pairs: list[_Pairs]) -> _Pairs:
    return _Pairs(np.concatenate([part.score for part in pairs]), np.concatenate([part.whose for part in pairs]))


def _exact(genuine: F32, impostor: F32, rates: Sequence[float]) -> dict[str, float]:
    """Figures from the scores themselves."""
    genuine, impostor = np.sort(genuine), np.sort(impostor)
    # The two rates meet where the larger of them is least. FNMR only grows at a genuine score, so
    # that the least of FMR for the same FNMR is found at genuine scores.
    missed = np.searchsorted(genuine, genuine) / len(genuine)
    matched = 1 - np.searchsorted(impostor, genuine) / len(impostor)
    figures = {"eer": float(np.maximum(missed, matched).min())}
    for rate in rates:
        allowed = int(rate * len(impostor) + 1e-9)
        if allowed:
            refused = impostor[len(impostor) - allowed - 1]
            above = np.searchsorted(genuine, refused, side="right")
            figures[f"tmr@{rate:g}"] = float(1 - above / len(genuine))
    return figures


def _intervals(genuine: _Pairs, impostor: _Pairs, people: int, rates: Sequence[float], resamples: int,
               seed: int) -> dict[str, tuple[float, float]]:
    """What 95 % of resamples of the people lie between.

    Scores are counted between at most 2,048 of them, half of each kind, so that a resample costs a
    product of matrices; with fewer scores than that nothing is rounded.
    """
    edges = _edges(genuine.score, impostor.score, max(64, min(_EDGES, _CELLS // people ** 2)))
    weights = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), resamples).astype(np.float32)
    of_one = np.zeros((people, len(edges)), np.float32)
    np.add.at(of_one, (genuine.whose // people, _slot(edges, genuine.score)), 1)
    matches = _at_least(weights @ of_one)
    of_two = _counted(impostor, edges, people)
    strangers = np.zeros((resamples, len(edges)))
    step = max(1, _AT_ONCE // of_two.shape[1])
    for start in range(0, resamples, step):
        some = weights[start:start + step]
        strangers[start:start + step] = np.einsum("ri,rib->rb", some, (some @ of_two).reshape(len(some), people, -1))
    strangers = _at_least(strangers)

    with np.errstate(invalid="ignore", divide="ignore"):
        tmr, fmr = matches / matches[:, :1], strangers / strangers[:, :1]
    possible = np.isfinite(tmr[:, 0]) & np.isfinite(fmr[:, 0])
    tmr, fmr = tmr[possible], fmr[possible]
    if not len(tmr):
        return {}
    drawn = {"eer": np.maximum(1 - tmr, fmr).min(1)}
    for rate in rates:
        first = (fmr > rate + 1e-12).sum(1)  # the lowest edge that keeps the rate; beyond the last nothing matches
        drawn[f"tmr@{rate:g}"] = np.where(first < len(edges), np.take_along_axis(
            tmr, np.minimum(first, len(edges) - 1)[:, None], 1)[:, 0], 0)
    return {name: (float(low), float(high)) for name, values in drawn.items()
            for low, high in [np.percentile(values, (2.5, 97.5))]}


def _edges(genuine: F32, impostor: F32, count: int) -> F32:
    """Scores to count between, ascending, the lowest of all first: all there are, or ``count`` of them.

    Of strangers' scores the highest are the ones that matter: steps grow tenfold as the rate does.
    """
    scores = np.unique(np.concatenate([np.unique(genuine), np.unique(impostor)]))
    if len(scores) <= count:
        return scores
    ascending = np.sort(impostor)
    tail = np.unique(np.geomspace(1, len(ascending), count // 2).astype(np.intp))
    chosen = [np.quantile(genuine, np.linspace(0, 1, count - count // 2)).astype(np.float32),
              ascending[len(ascending) - tail], scores[:1]]
    return np.unique(np.concatenate(chosen))


def _slot(edges: F32, score: F32) -> npt.NDArray[np.intp]:
    return np.searchsorted(edges, score, side="right") - 1


def _counted(pairs: _Pairs, edges: F32, people: int) -> F32:
    """How many scores of each two people lie from each edge to the next, shape ``(people, people * edges)``."""
    cells = np.zeros(people * people * len(edges), np.float32)
    for start in range(0, len(pairs.score), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        cell, count = np.unique(pairs.whose[some].astype(np.intp) * len(edges) + _slot(edges, pairs.score[some]),
                                return_counts=True)
        cells[cell] += count
    return cells.reshape(people, -1)


def _at_least(counts: npt.NDArray[np.floating]) -> F64:
    """How many lie at an edge or above it, from how many lie between edges."""
    return np.asarray(np.cumsum(counts[:, ::-1], axis=1, dtype=np.float64)[:, ::-1])
