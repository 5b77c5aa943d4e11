"""Which detection continues which person: tracklets from boxes, one camera at a time.

The idea of ByteTrack (Zhang et al., ECCV 2022): pair every track's predicted box with the
strong detections by overlap, then give the tracks left over a second chance with the weak
ones, which are mostly people half hidden. What differs: time is in seconds because live
cameras drop frames, and the pairing is exact (`assign`). A tracklet says nothing about who
someone is; that is for the embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.people.assign import assign
from cmnas_edge.camera.people.detection import Detections
from cmnas_edge.camera.people.geometry import iou
from cmnas_edge.camera.people.kalman import Kalman, corners
from cmnas_edge.camera.settings import TrackSettings

__all__ = ["Tracker", "Tracks"]

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


class Tracks(NamedTuple):
    """Who is in one frame, and whose tracklet is over.

    Attributes:
        tracklets: Numbers, shape ``(n,)``, int64; each occurs once.
        boxes: As detected (not smoothed: the crop must fit the picture), shape ``(n, 4)``.
        scores: Of the detections, shape ``(n,)``.
        hits: Detections that each tracklet has had so far, shape ``(n,)``, int64.
        ended: Tracklets that ended since the last frame; each is told once.
    """

    tracklets: I64
    boxes: F32
    scores: F32
    hits: I64
    ended: tuple[int, ...]


class Tracker:
    """Follows people through the frames of one camera; a tracklet's number is never used again.

    A new detection becomes a tracklet when it has been seen ``confirm_count`` frames running;
    a tracklet unseen for ``lost_s`` ends.
    """

    def __init__(self, settings: TrackSettings, *, first: int = 1) -> None:
        """Start with nobody in view.

        Args:
            settings: Thresholds.
            first: Number of the first tracklet.
        """
        self._settings = settings
        self._next = first
        self._at: float | None = None
        self._kalman = Kalman()
        # Rows run parallel to the filter's. A row is numbered (> 0 when first > 0) once confirmed.
        self._number: I64 = np.empty(0, np.int64)
        self._confirmed: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self._hits: I64 = np.empty(0, np.int64)
        self._seen_at: npt.NDArray[np.float64] = np.empty(0)

    def __len__(self) -> int:
        """Number of tracks kept, unconfirmed ones included."""
        return len(self._kalman)

    @property
    def next_number(self) -> int:
        """The number the next new tracklet will get: start there to go on counting."""
        return self._next

    def update(self, detections: Detections, seen_at: float) -> Tracks:
        """Take the detections of one frame.

        Args:
            detections: Boxes and scores.
            seen_at: Seconds; a step back in time counts as none.
        """
        settings = self._settings
        ended = self._drop(self._seen_at + settings.lost_s < seen_at)
        passed_s = 0.0 if self._at is None else max(0.0, seen_at - self._at)
        absent = self._seen_at < (seen_at if self._at is None else self._at)
        self._at = seen_at if self._at is None else max(self._at, seen_at)
        if passed_s and len(self):
            self._kalman.velocity[absent, 2:] = 0  # unseen, a size would run away
            self._kalman.predict(passed_s)

        boxes, scores = detections
        strong = np.flatnonzero(scores >= settings.high_score)
        weak = np.flatnonzero((scores >= settings.low_score) & (scores < settings.high_score))
        everyone = np.arange(len(self))
        rows, found = self._pair(everyone, boxes, strong, settings.match_iou)
        left = np.setdiff1d(everyone[self._confirmed & ~absent], rows, assume_unique=True)
        more_rows, more_found = self._pair(left, boxes, weak, settings.weak_match_iou)
        rows, found = np.concatenate([rows, more_rows]), np.concatenate([found, more_found])

        if len(rows):
            self._kalman.correct(rows, boxes[found])
            self._hits[rows] += 1
            self._seen_at[rows] = self._at
        new = np.setdiff1d(strong, found, assume_unique=True)
        new = new[scores[new] >= settings.new_score]
        self._add(boxes[new])
        rows = np.concatenate([rows, np.arange(len(everyone), len(self))])
        found = np.concatenate([found, new])
        seen = np.zeros(len(self), np.bool_)
        seen[rows] = True
        self._confirm(seen)
        order = np.argsort(rows)
        rows, found = rows[order], found[order]
        shown = self._confirmed[rows]
        rows, found = rows[shown], found[shown]
        tracks = Tracks(self._number[rows], boxes[found], scores[found], self._hits[rows], ended)
        self._drop(~self._confirmed & ~seen)  # a candidate that misses a frame was none
        return tracks

    def end_all(self) -> list[int]:
        """End every tracklet, as when a camera changes its spectrum; returns their numbers."""
        return list(self._drop(np.ones(len(self), np.bool_)))

    def _pair(self, rows: npt.NDArray[np.intp], boxes: F32, chosen: npt.NDArray[np.intp], least_iou: float
              ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        if not len(rows) or not len(chosen):
            none = np.empty(0, np.intp)
            return none, none
        overlap = iou(corners(self._kalman.position[rows]), boxes[chosen])
        pairs = np.array(assign(np.where(overlap >= least_iou, overlap, 0)), np.intp).reshape(-1, 2)
        return rows[pairs[:, 0]], chosen[pairs[:, 1]]

    def _add(self, boxes: F32) -> None:
        count = len(boxes)
        if count:
            self._kalman.add(boxes)
            self._number = np.concatenate([self._number, np.zeros(count, np.int64)])
            self._confirmed = np.concatenate([self._confirmed, np.zeros(count, np.bool_)])
            self._hits = np.concatenate([self._hits, np.ones(count, np.int64)])
            self._seen_at = np.concatenate([self._seen_at, np.full(count, self._at)])

    def _confirm(self, seen: npt.NDArray[np.bool_]) -> None:
        ready = np.flatnonzero(seen & ~self._confirmed & (self._hits >= self._settings.confirm_count))
        if len(ready):
            self._number[ready] = np.arange(self._next, self._next + len(ready))
            self._confirmed[ready] = True
            self._next += len(ready)

    def _drop(self, rows: npt.NDArray[np.bool_]) -> tuple[int, ...]:
        """Forget rows; return the numbers of the tracklets among them."""
        if not rows.any():
            return ()
        numbers: list[int] = self._number[rows & self._confirmed].tolist()
        keep = ~rows
        self._kalman.keep(keep)
        self._number, self._confirmed = self._number[keep], self._confirmed[keep]
        self._hits, self._seen_at = self._hits[keep], self._seen_at[keep]
        return tuple(numbers)
