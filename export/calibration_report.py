"""A calibration in words: a page of text, and a section of the model card.

Thresholds and how well they are known, and what they keep on people held out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import PAIRS, CalibratedOn, Calibration, Pair, Threshold
from cmnas_edge.calibration.fit import Scores
from cmnas_edge.retrieval import error_rates
from export.mixed_gallery import Searched

__all__ = ["lost", "report", "said_and_true", "section", "with_calibration"]

F64 = npt.NDArray[np.float64]
_RANGES = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0)
_THRESHOLDS = "## Thresholds\n"
_WHO: Mapping[CalibratedOn, str] = {
    "drawn": "**drawn** people and cameras that were not trained on",
    "dataset": "a **dataset's** people, of the part that was named", "site": "a **site's** own people"}


def report(words: str, found: Calibration, held: Mapping[Pair, Scores], searched: Sequence[Searched],
           trial: Calibration) -> str:
    """A page of text.

    Args:
        words: On whom it was found.
        found: What is told.
        held: Scores of people whom ``trial`` was not found on.
        searched: Mixed galleries of theirs.
        trial: What the check was made with: ``found``, or the same found on fewer.
    """
    assert found.prior is not None
    lines = [f"Thresholds, found on {words}; in brackets: in all but 5% of resamplings of the people", ""]
    for name in PAIRS:
        lines += [*_pair(name, found), ""]
    what = "these thresholds" if trial is found else "thresholds found on half of them"
    lines += [f"Checked with as many others, held to {what}", "",
              " ".join([f"{'pair':<18}", f"{'strangers: same':>16}", f"{'unsure or same':>15}",
                        f"{'one person missed':>18}", f"{'evidence lost':>14}"])]
    for name in PAIRS:
        scores, threshold = held[name], trial.thresholds[name].score
        false, missed = error_rates(scores.genuine, scores.impostor, threshold)
        loose, _ = error_rates(scores.genuine, scores.impostor, trial.scales[name].unsure_from)
        left = lost(trial.normalised(name, scores.genuine), trial.normalised(name, scores.impostor), found.prior)
        lines.append(f"{name:<18} {false:>16.3%} {loose:>15.2%} {missed:>18.1%} {left:>14.3f}")
    lines += ["", "Evidence lost: 0 tells everybody apart with certainty, 1 knows no more than the prior", "",
              f"Probability said, and share that is one person at the prior of {found.prior:g}, of those others", "",
              f"{'said':<14} " + " ".join(f"{name:>20}" for name in PAIRS)]
    columns = [said_and_true(trial, name, held[name]) for name in PAIRS]
    for at, (low, high) in enumerate(pairwise(_RANGES)):
        cells = ["-" if cell is None else f"{cell[0]:.3f}, {cell[1]:.3f}" for cell in (rows[at] for rows in columns)]
        lines.append(f"{f'{low:g} to {high:g}':<14} " + " ".join(f"{cell:>20}" for cell in cells))
    lines += ["",
              "Mixed gallery: everybody asks for everybody of both modalities, by mAP", "",
              f"{'who asks':<10} {'what counts':<24} {'raw cosine':>10} {'one scale':>10} {'gain':>22} {'queries':>8}"]
    lines += [f"{row.asker:<10} {row.answers:<24} {row.before:>10.2%} {row.after:>10.2%} "
              f"{f'{100 * row.gain.value:+.2f} ({100 * row.gain.low:+.2f} to {100 * row.gain.high:+.2f})':>22} "
              f"{row.query_count:>8}" for row in searched]
    return "\n".join(lines) + "\n"


def said_and_true(found: Calibration, name: Pair, scores: Scores) -> list[tuple[float, float] | None]:
    """How probable scores were said to be one person, and what share of them is, each kind weighted to the prior.

    Returns:
        For each range of `_RANGES`: the mean of what was said, and the share; None where there is no pair.
    """
    assert found.prior is not None
    genuine, impostor = (found.probabilities(name, side) for side in (scores.genuine, scores.impostor))
    assert genuine is not None
    assert impostor is not None
    weight = np.concatenate([np.full(len(genuine), found.prior / max(1, len(genuine))),
                             np.full(len(impostor), (1 - found.prior) / max(1, len(impostor)))])
    said, true = np.concatenate([genuine, impostor]), np.arange(len(weight)) < len(genuine)
    rows: list[tuple[float, float] | None] = []
    for low, high in pairwise(_RANGES):
        here = (said >= low) & ((said < high) | (high == 1))
        mass = float(weight[here].sum())
        rows.append((float((weight * said)[here].sum()) / mass, float(weight[here & true].sum()) / mass)
                    if mass else None)
    return rows


def lost(genuine: F64, impostor: F64, prior: float) -> float:
    """Share of the uncertainty that evidence leaves, at a prior: normalised cross-entropy (Brümmer and du Preez 2006).

    Args:
        genuine: Evidence of pairs of one person, at least one.
        impostor: Of pairs of two, at least one.
        prior: Above 0 and below 1.

    Returns:
        0 if every pair is told with certainty, 1 for what knows nothing, more for what misleads.
    """
    base = np.log(prior / (1 - prior))
    loss = (prior * np.logaddexp(0, -(genuine + base)).mean() + (1 - prior) * np.logaddexp(0, impostor + base).mean())
    return float(loss / -(prior * np.log(prior) + (1 - prior) * np.log(1 - prior)))


def with_calibration(card: str, calibration: Calibration) -> str:
    """A card with other thresholds; one without a section for them stays as it is."""
    head, heading, rest = card.partition(_THRESHOLDS)
    if not heading:
        return card
    after = rest[rest.find("## "):] if "## " in rest else ""
    return head + section(calibration.thresholds, calibration.calibrated_on) + after


def section(thresholds: Mapping[Pair, Threshold], calibrated_on: CalibratedOn) -> str:
    """The card's section on thresholds, Markdown; it ends where the next one begins."""
    rows = "\n".join(
        f"| {pair} | {found.score:.4f} | {found.false_match_rate:g} | {found.false_non_match_rate:.1%} "
        f"| {found.genuine_count} | {found.impostor_count} |" for pair, found in thresholds.items())
    return f"""{_THRESHOLDS}
Calibrated on {_WHO[calibrated_on]}. A cosine from the threshold on is a match.

| pair | cosine | false match rate, at most | false non-match rate | genuine pairs | impostor pairs |
|---|---|---|---|---|---|
{rows}

"""


def _pair(name: Pair, found: Calibration) -> Iterator[str]:
    threshold, scale = found.thresholds[name], found.scales[name]
    yield (f"{name}: {threshold.genuine_count} pairs of one person, {threshold.impostor_count} of strangers, "
           f"{scale.identity_count} people")
    yield f"  {'strangers, at most':>18} {'cosine from':>12} {'':<18} {'one person missed':>18}"
    for point in scale.points:
        here = {threshold.false_match_rate: "  same from here on", scale.unsure_rate: "  unsure from here on"}
        low, high = point.score_between
        least, most = point.false_non_match_between
        probable = found.judge(name, point.score).probability
        yield (f"  {point.false_match_rate:>18.2%} {point.score:>12.4f} ({low:.4f} to {high:.4f}) "
               f"{point.false_non_match_rate:>8.1%} ({least:.1%} to {most:.1%})  probability {probable:.2f}"
               f"{here.get(point.false_match_rate, '')}")
    yield (f"  evidence = {scale.slope:.2f} x cosine {scale.offset:+.2f}; probability at a prior of "
           f"{found.prior:g}: {_at(found, name)}")


def _at(found: Calibration, name: Pair) -> str:
    scores = (0.5, 0.6, 0.7, 0.8)
    probable = found.probabilities(name, np.array(scores))
    assert probable is not None
    return ", ".join(f"{value:.2f} at {score}" for score, value in zip(scores, probable, strict=True))
