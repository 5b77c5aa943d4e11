"""Whether this site's scores still are those that the calibration was made on, as far as the truth is known here.

What is certain without labels (`cmnas_edge.collector.witnesses`) is held against the calibration in effect: how the
scores of strangers and of one person have moved, and how many lie on the wrong side of the threshold.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import PAIRS, Calibration, Histogram, Pair
from cmnas_edge.calibration.drift import Drift, drift
from cmnas_edge.calibration.fit import Scores
from cmnas_edge.collector.gallery import Gallery
from cmnas_edge.collector.overviews import Drifted, DriftShown, Holds
from cmnas_edge.collector.witnesses import Certain, Seen, certain, said, scored

__all__ = ["ENOUGH", "Drifts", "Held", "as_alike", "held_against"]

F64 = npt.NDArray[np.float64]
ENOUGH = 10         # pairs on the wrong side, from which on it is no chance
_MOST = 20_000      # pairs of either kind that a page's answer rests on
_AGAIN_S = 30.0     # seconds between two looks, however often pages ask


class Held(NamedTuple):
    """Scores of one kind, of one pair of modalities, held against the calibration's; ``drift`` None: it has none."""

    pair: Pair
    strangers: bool
    now: F64
    people: int
    drift: Drift | None
    wrong: float
    wrong_then: float

    @property
    def holds(self) -> Holds:
        """Whether the threshold still keeps its promise: as many on the wrong side as it said, or twice that.

        "too few" where not even twice as many would be `ENOUGH` to be seen.
        """
        then = max(self.wrong_then, 1e-6)
        if self.wrong >= 2 * then and self.wrong * len(self.now) >= ENOUGH:
            return "no"
        return "yes" if 2 * then * len(self.now) >= ENOUGH else "too few"


def held_against(calibration: Calibration, scores: Mapping[Pair, Scores]) -> list[Held]:
    """Hold a site's scores against a calibration: strangers, then one person, of each pair of modalities."""
    found = []
    for name in PAIRS:
        threshold, scale, own = calibration.thresholds[name], calibration.scales.get(name), scores[name]
        for strangers, now, whose in ((True, own.impostor, own.impostor_of), (False, own.genuine, own.genuine_of)):
            then = None if scale is None else scale.impostor if strangers else scale.genuine
            beyond = now >= threshold.score if strangers else now < threshold.score
            found.append(Held(name, strangers, now.astype(np.float64), len(np.unique(whose)),
                              None if then is None else drift(then, Histogram.of(now)),
                              float(beyond.mean()) if len(now) else 0.0,
                              threshold.false_match_rate if strangers else threshold.false_non_match_rate))
    return found


def as_alike(calibration: Calibration, held: Held) -> float:
    """Share of certain strangers as alike as half of the pairs of one person; 0 where nobody knows.

    Much of it comes of a camera that follows somebody twice at one time.
    """
    scale = calibration.scales.get(held.pair)
    if scale is None or not held.strangers or not len(held.now):
        return 0.0
    full = scale.genuine.full()
    median = int(np.searchsorted(np.cumsum(full), full.sum() / 2)) / 100 - 1
    return float((held.now >= median).mean())


class Drifts:
    """What a gallery knows for certain, held against its calibration; looked at anew at most every half minute.

    Args:
        gallery: What is in the hot window.
        clock: Seconds that never go back.
    """

    def __init__(self, gallery: Gallery, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._gallery = gallery
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[float, int, DriftShown] | None = None

    def look(self) -> DriftShown:
        """Say how the scores have moved. Any thread may ask; one at a time looks, the others wait for it."""
        with self._lock:
            now, version = self._clock(), self._gallery.version
            if self._known is not None and (self._known[1] == version or now - self._known[0] < _AGAIN_S):
                return self._known[2]
            shown = self._look()
            self._known = (now, version, shown)
            return shown

    def _look(self) -> DriftShown:
        calibration = self._gallery.model.calibration
        seen = _seen(self._gallery.traits())
        known = certain(seen, said(self._gallery.made()), most=_MOST)
        return DriftShown(
            tracklets=len(seen), people=known.people, contradicted=known.contradicted,
            parts=[_shown(held, as_alike(calibration, held))
                   for held in held_against(calibration, self._scores(seen, known))])

    def _scores(self, seen: Seen, known: Certain) -> Mapping[Pair, Scores]:
        """Score what is certain with the vectors of those tracklets alone; what left meanwhile is left out."""
        rows = np.unique(np.concatenate([known.genuine.ravel(), known.impostor.ravel()]))
        there, means = self._gallery.means(seen.opened_by[rows].tolist())
        place = np.full(len(seen), -1)
        place[rows[there]] = np.arange(len(means))
        genuine, impostor = (moved[(moved >= 0).all(1)] for moved in (place[known.genuine], place[known.impostor]))
        some = {field.name: getattr(seen, field.name)[rows[there]] for field in dataclasses.fields(seen)
                if field.name != "mean"}
        return scored(Seen(**some, mean=means), known._replace(
            genuine=genuine, impostor=impostor, whose=known.whose[rows[there]]))


def _seen(traits: npt.NDArray[np.void]) -> Seen:
    columns = {name: traits[name] for name in ("opened_by", "identity", "transform", "seen_from", "seen_at")}
    return Seen(**columns, camera=traits["camera"].astype(np.int64), modality=traits["modality"].astype(np.int64),
                mean=np.zeros((len(traits), 0), np.float32))


def _shown(held: Held, alike: float) -> Drifted:
    moved = held.drift
    return Drifted(
        pair=held.pair, of="strangers" if held.strangers else "one person", count=len(held.now), people=held.people,
        wrong=held.wrong if len(held.now) else None, wrong_then=held.wrong_then, holds=held.holds, as_alike=alike,
        then_count=None if moved is None else moved.then_count, shift=None if moved is None else moved.shift,
        index=None if moved is None else moved.index, by_chance=None if moved is None else moved.by_chance,
        moved=None if moved is None else moved.word, scores=Histogram.of(held.now))
