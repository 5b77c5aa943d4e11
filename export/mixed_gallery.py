"""What a calibration's common scale is worth where both modalities lie in one gallery, as at dusk.

On raw cosines a stranger of the asker's own modality may outrank the asker's other modality, whose scores are lower
by nature. Everybody asks; one camera's crops are hidden from each other. Counted twice: every right answer, and
those of the other modality alone, the asker's own crops of the same modality hidden.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import Calibration, Pair
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.retrieval import rank
from train.protocols.bootstrap import Difference, compare
from train.protocols.embeddings import Embeddings
from train.protocols.search import Queries

__all__ = ["Answers", "Searched", "in_mixed_gallery", "on_one_scale"]

F64 = npt.NDArray[np.float64]
Answers = Literal["all right answers", "those across modalities"]
_PEOPLE: tuple[tuple[Answers, bool], ...] = (("all right answers", False), ("those across modalities", True))


class Searched(NamedTuple):
    """One search by two rankings: raw cosines, and the common scale.

    Attributes:
        asker: "visible", "infrared" or "both".
        answers: What counts as right.
        before: mAP on raw cosines.
        after: mAP on the common scale.
        gain: The difference, with its interval over people.
        query_count: How many asked.
    """

    asker: str
    answers: Answers
    before: float
    after: float
    gain: Difference
    query_count: int


def in_mixed_gallery(seen: Embeddings, calibration: Calibration) -> list[Searched]:
    """Search everybody among everybody, before and after normalisation.

    Args:
        seen: People of both modalities; of none the calibration was found on.
        calibration: With scales.
    """
    cosine = np.clip(seen.embedding @ seen.embedding.T, -1, 1)
    scale = on_one_scale(cosine, seen, calibration)
    hidden = seen.camera[:, None] == seen.camera[None]
    np.fill_diagonal(hidden, True)  # cameras may be unknown, all 0; nobody is found as oneself
    own = (seen.identity[:, None] == seen.identity[None]) & (seen.infrared[:, None] == seen.infrared[None])
    found = []
    for answers, across in _PEOPLE:
        excluded = hidden | own if across else hidden
        before, after = (_asked(-score, seen, excluded) for score in (cosine.astype(np.float64), scale))
        for asker in (*MODALITIES, "both"):
            rows = np.ones(len(seen), bool) if asker == "both" else seen.infrared == (asker == "infrared")
            pair = [Queries(*(part[rows] for part in one)) for one in (before, after)]
            means = [float(np.nanmean(one.average_precision)) for one in pair]
            gain = compare(pair[1], pair[0], by="identity", resamples=1000)["mean_ap"]
            found.append(Searched(asker, answers, means[0], means[1], gain,
                                  int(np.isfinite(pair[0].average_precision).sum())))
    return found


def on_one_scale(cosine: npt.NDArray[np.floating], seen: Embeddings, calibration: Calibration) -> F64:
    """Cosines of everybody with everybody, ``(n, n)``, each on the scale of its pair of modalities."""
    out = np.empty(cosine.shape)
    visible, infrared = ~seen.infrared, seen.infrared
    sides: tuple[tuple[Pair, npt.NDArray[np.bool_], npt.NDArray[np.bool_]], ...] = (
        ("visible-visible", visible, visible), ("infrared-infrared", infrared, infrared),
        ("visible-infrared", visible, infrared), ("visible-infrared", infrared, visible))
    for name, a, b in sides:
        out[np.ix_(a, b)] = calibration.normalised(name, cosine[np.ix_(a, b)])
    return out


def _asked(distance: F64, seen: Embeddings, excluded: npt.NDArray[np.bool_]) -> Queries:
    found = rank(distance, seen.identity, seen.identity, excluded=excluded)
    first, precision = np.full(len(seen), np.nan), np.full(len(seen), np.nan)
    first[found.query], precision[found.query] = found.first == 0, found.average_precision
    return Queries(seen.identity, first, precision)
