"""From scores of pairs whose truth is known to thresholds, how well they are known, and what a score is worth.

Thresholds keep a stated false match rate (ISO/IEC 19795-1). Intervals are over people, not pairs: people are drawn
with replacement and each brings all pairs with the others drawn (the subsets bootstrap; Bolle, Ratha and Pankanti,
CVIU 2004). Millions of pairs of fifty people are still fifty people.

Evidence is fitted as a straight line in the score by logistic regression (Platt 1999), genuine and impostor pairs
weighted to the stated prior (Brümmer and du Preez, Application-independent evaluation of speaker detection, CSL
2006), so that how many pairs of each kind were at hand does not matter. Two numbers rise strictly, need few people
and go on beyond the scores seen; isotonic regression (Zadrozny and Elkan, KDD 2002) needs more, makes ties, in which
nobody is found, and was no better on people held out (docs/calibrate.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration.pairs import CalibratedOn, Pair
from cmnas_edge.calibration.record import Histogram, Point, Scale, Threshold
from cmnas_edge.errors import BundleError, ConfigError
from cmnas_edge.retrieval import error_rates, threshold_at

__all__ = ["LEAST_GENUINE", "LEAST_PEOPLE", "LEAST_STRANGERS", "PRIOR", "RATES", "Plan", "Scores", "fit", "line",
           "shortfall"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]

RATES: Final = (1e-1, 1e-2, 1e-3, 1e-4)
PRIOR: Final = 0.01         # a hundred people about, one of whom it is
LEAST_PEOPLE: Final = 8     # of whom two views of one person were seen
LEAST_GENUINE: Final = 20   # pairs of one person
LEAST_STRANGERS: Final = 10  # pairs that may reach a threshold, at the rate it is found for
_WITHIN: Final = (2.5, 97.5)
_FLATTEST: Final = 0.1      # evidence per unit of cosine: it never falls, and rises at least so, to rank by
_RIDGE: Final = 0.1         # pairs that a slope of one standard deviation weighs


@dataclass(frozen=True, eq=False)
class Scores:
    """Cosines of pairs of one person and of two, of one pair of modalities, and whose they are.

    Attributes:
        genuine: Shape ``(n,)``.
        genuine_of: Who it is, any integers, shape ``(n,)``.
        impostor: Shape ``(m,)``.
        impostor_of: Who the two are, shape ``(m, 2)``.

    Raises:
        ValueError: Shapes do not belong together.
    """

    genuine: Floats
    genuine_of: I64
    impostor: Floats
    impostor_of: I64

    def __post_init__(self) -> None:
        n, m = self.genuine.size, self.impostor.size
        shapes = self.genuine.shape, self.genuine_of.shape, self.impostor.shape, self.impostor_of.shape
        if shapes != ((n,), (n,), (m,), (m, 2)):
            raise ValueError(f"scores: expected shapes (n,), (n,), (m,), (m, 2), got {shapes}")


@dataclass(frozen=True)
class Plan:
    """What is asked of a calibration.

    Attributes:
        rate: False match rate of the threshold that decides.
        unsure_rate: False match rate at which the abstain band begins; at least ``rate``.
        rates: Others at which thresholds are told, where enough strangers were seen.
        prior: Share of pairs that are one person before anybody looks.
        resamples: Of the people, for the intervals.
        seed: Of the resamples.
        strangers: So many pairs of strangers at least may reach a threshold; with fewer it rests on chance.

    Raises:
        ValueError: A rate or the prior is not between 0 and 1, or the band would end before it begins.
    """

    rate: float = 1e-3
    unsure_rate: float = 1e-2
    rates: tuple[float, ...] = RATES
    prior: float = PRIOR
    resamples: int = 200
    seed: int = 0
    strangers: int = LEAST_STRANGERS

    def __post_init__(self) -> None:
        for value in (self.rate, self.unsure_rate, self.prior, *self.rates):
            if not 0 < value < 1:
                raise ValueError(f"expected rates and a prior between 0 and 1, got {value}")
        if self.unsure_rate < self.rate:
            raise ValueError(f"unsure_rate: expected at least the rate {self.rate:g}, got {self.unsure_rate:g}")


def shortfall(scores: Scores, plan: Plan) -> str:
    """What scores lack for a calibration: what is needed and what was found; empty if nothing."""
    people, strangers = len(np.unique(scores.genuine_of)), plan.strangers / plan.rate
    if len(scores.impostor) >= strangers and len(scores.genuine) >= LEAST_GENUINE and people >= LEAST_PEOPLE:
        return ""
    return (f"expected at least {strangers:.0f} pairs of strangers and {LEAST_GENUINE} of the same person, of "
            f"{LEAST_PEOPLE} people, found {len(scores.impostor)}, {len(scores.genuine)} and {people}")


def fit(name: Pair, scores: Scores, calibrated_on: CalibratedOn, plan: Plan = Plan()) -> tuple[Threshold, Scale]:
    """Find the threshold of a pair of modalities, and what its scores are worth.

    Args:
        name: The pair.
        scores: What was seen of it.
        calibrated_on: On whom.
        plan: What is asked.

    Raises:
        ConfigError: Too few pairs or people were seen; see `shortfall`.
        BundleError: The network cannot tell strangers apart.
    """
    if lacking := shortfall(scores, plan):
        raise ConfigError(f"{name}: {lacking}; take more people, or a larger --rate")
    genuine, impostor = scores.genuine, scores.impostor
    score = _threshold(name, genuine, impostor, plan.rate)
    slope, offset = line(genuine, impostor, plan.prior)
    if slope < _FLATTEST:   # these scores say nothing, or the reverse of what they should
        slope, offset = _FLATTEST, -_FLATTEST * float(np.mean(genuine))
    rates = tuple(rate for rate in sorted({*plan.rates, plan.unsure_rate, plan.rate}, reverse=True)
                  if len(impostor) * rate >= plan.strangers)
    points = _points(name, scores, rates, plan)
    people = len(np.unique(np.concatenate([scores.genuine_of, scores.impostor_of.ravel()])))
    unsure = next(point.score for point in points if point.false_match_rate == plan.unsure_rate)
    threshold = Threshold(score, plan.rate, error_rates(genuine, impostor, score)[1], len(genuine), len(impostor))
    return threshold, Scale(
        calibrated_on=calibrated_on, slope=slope, offset=offset, unsure_from=min(unsure, score),
        unsure_rate=plan.unsure_rate, identity_count=people, points=points, genuine=Histogram.of(genuine),
        impostor=Histogram.of(impostor))


def line(genuine: Floats, impostor: Floats, prior: float) -> tuple[float, float]:
    """Evidence as a straight line: the slope and offset that lose least by the logarithmic rule at a prior.

    Newton's method with step halving; the loss is convex. Where every genuine score is above every impostor's,
    the best line would be vertical: a ridge on the slope, as light as a tenth of one pair, holds it.

    Args:
        genuine: At least one.
        impostor: At least one.
        prior: Above 0 and below 1.

    Returns:
        Of ``slope * score + offset``, the log-likelihood ratio in natural logarithms.
    """
    score = np.concatenate([genuine, impostor]).astype(np.float64)
    n, m = len(genuine), len(impostor)
    centre, spread = float(score.mean()), max(float(score.std()), 1e-6)
    columns = np.stack([(score - centre) / spread, np.ones_like(score)], axis=1)
    weight = np.concatenate([np.full(n, prior / n), np.full(m, (1 - prior) / m)])
    target = np.concatenate([np.ones(n), np.zeros(m)])
    ridge, base = np.array([_RIDGE * prior / n, 0.0]), np.log(prior / (1 - prior))

    def loss(x: F64) -> float:
        logit = columns @ x + base
        return float((weight * (np.logaddexp(0, logit) - target * logit)).sum() + ridge @ (x * x) / 2)

    x = np.zeros(2)
    for _ in range(100):
        logit = columns @ x + base
        probable = 0.5 * (1 + np.tanh(logit / 2))   # the logistic function, without overflow
        gradient = columns.T @ (weight * (probable - target)) + ridge * x
        curvature = (columns * (weight * probable * (1 - probable))[:, None]).T @ columns + np.diag(ridge)
        step = np.linalg.solve(curvature + 1e-12 * np.trace(curvature) * np.eye(2), gradient)
        gain, size, before = float(gradient @ step), 1.0, loss(x)
        while loss(x - size * step) > before - 1e-4 * size * gain and size > 1e-10:
            size /= 2
        x = x - size * step
        if gain < 1e-15:
            break
    return float(x[0] / spread), float(x[1] - x[0] * centre / spread)


def _threshold(name: Pair, genuine: Floats, impostor: Floats, rate: float) -> float:
    score = threshold_at(genuine, impostor, rate)
    if score > 1:
        raise BundleError(f"thresholds: expected strangers to differ, found {name} pairs of cosine 1 beyond "
                          f"{rate:g} of them; this network tells nobody apart: train it")
    return score


def _points(name: Pair, scores: Scores, rates: tuple[float, ...], plan: Plan) -> tuple[Point, ...]:
    drawn = _resampled(scores, rates, plan)
    points = []
    for rate, (cuts, missed) in zip(rates, drawn, strict=True):
        score = _threshold(name, scores.genuine, scores.impostor, rate)
        points.append(Point(rate, score, _between(cuts), error_rates(scores.genuine, scores.impostor, score)[1],
                            _between(missed)))
    return tuple(points)


def _between(values: F64) -> tuple[float, float]:
    low, high = np.percentile(values, _WITHIN)
    return float(np.clip(low, -1, 1)), float(np.clip(high, -1, 1))


def _resampled(scores: Scores, rates: tuple[float, ...], plan: Plan) -> list[tuple[F64, F64]]:
    """Thresholds and false non-match rates at each rate, among people drawn with replacement.

    A person drawn k times weighs k in pairs of their own, and two people drawn k and l times k * l in theirs.
    Resamples without a pair of either kind are left out.
    """
    people, where = np.unique(np.concatenate([scores.genuine_of, scores.impostor_of.ravel()]), return_inverse=True)
    n = len(scores.genuine)
    up, down = np.argsort(scores.genuine, kind="stable"), np.argsort(-scores.impostor, kind="stable")
    genuine, impostor = scores.genuine[up].astype(np.float64), scores.impostor[down].astype(np.float64)
    own, two = where.ravel()[:n][up], where.ravel()[n:].reshape(-1, 2)[down]
    rng = np.random.default_rng(plan.seed)
    cuts: list[list[float]] = [[] for _ in rates]
    missed: list[list[float]] = [[] for _ in rates]
    for _ in range(plan.resamples):
        times = rng.multinomial(len(people), np.full(len(people), 1 / len(people)))
        reached = np.cumsum(times[two[:, 0]] * times[two[:, 1]])
        below = np.concatenate([[0], np.cumsum(times[own])])
        if not reached[-1] or not below[-1]:
            continue
        for at, rate in enumerate(rates):
            # The first stranger beyond what the rate allows is refused, and the threshold lies just above.
            refused = int(np.searchsorted(reached, rate * reached[-1] + 1e-9, side="right"))
            cut = np.nextafter(impostor[min(refused, len(impostor) - 1)], 2)
            cuts[at].append(float(cut))
            missed[at].append(float(below[np.searchsorted(genuine, cut)] / below[-1]))
    return [(np.array(a), np.array(b)) for a, b in zip(cuts, missed, strict=True)]
