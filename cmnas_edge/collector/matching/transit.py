"""How long people take from one camera to the next, learned from who was linked.

A leg is a person's way from one camera to the camera that saw them next: so many seconds from the end of the one
tracklet to the start of the other, below 0 where two cameras see one place. Legs are counted by ordered pair of
cameras and by time, in bins that widen with it. The evidence of a leg is a log-likelihood ratio, as a calibrated
score's is: how much oftener people take it than strangers seem to, who come at any time before any camera. Counts are
smoothed over neighbouring bins and drawn towards the strangers' by `_STRENGTH` legs that nobody took, and a pair of
cameras speaks up as legs between them are seen, so what is not known yet says nothing.

A leg is *impossible* when it is less than half as long as the shortest of at least `ENOUGH` between its cameras, and
seconds less besides. Where fields of view overlap, legs of no length are seen, so none is impossible.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["CAMERAS", "ENOUGH", "LIMIT", "Leg", "Transit"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
ENOUGH = 20
CAMERAS = 512       # the first of a site; of others no ways are learned, whatever names a device makes up
# No leg says more than this. With 6 a few more are found on drawn days, and with 2 fewer links are wrong where all walk
# at once (benchmarks/identity.py, tests/collector/matching/test_identity_quality.py).
LIMIT = 4.0
_STRENGTH = 4.0
_FEW = 3        # legs between two cameras, with which half of what they say counts
_SPARE_S = 2.0      # clocks differ, and a box appears late
# Seconds; the first bin takes all that overlaps by more, the last all that takes longer.
_EDGES: F64 = np.concatenate([[-45.0, -30.0, -15.0, -8.0, -4.0, 0.0], np.geomspace(2.0, 16 * 3600.0, 32)])
_BINS = len(_EDGES) - 1
_STRANGERS: F64 = np.diff(_EDGES) / (_EDGES[-1] - _EDGES[0])    # they come at any time


class Leg(msgspec.Struct, frozen=True):
    """What is known of the way between two cameras, in seconds; cameras as `Transit` was given them.

    Half of the ``count`` legs took at most ``median_s``, and eight of ten from ``soonest_s`` to ``latest_s``, as finely
    as the bins are. ``weight`` is the share of what they say for a link that counts; faster than ``impossible_s`` is
    impossible, None: nothing is.
    """

    start: int
    end: int
    count: int
    median_s: float
    soonest_s: float
    latest_s: float
    weight: float
    impossible_s: float | None


class Transit:
    """Legs counted; cameras are small numbers. What is added can be taken back."""

    def __init__(self) -> None:
        self._row: I64 = np.zeros((8, 8), np.int64)         # of each ordered pair of cameras in the tables below
        self._counts: I64 = np.zeros((1, _BINS), np.int64)  # row 0: pairs between which nobody came
        self._first: I64 = np.full(1, _BINS, np.int64)      # the shortest leg's bin
        self._between: I64 = np.zeros(1, np.int64)          # legs of the row
        self._onward: I64 = np.zeros(8, np.int64)           # legs that begin at each camera

    def add(self, start: int, end: int, seconds: float, times: int = 1) -> None:
        """Count a leg; ``times`` -1 takes it back."""
        if max(start, end) >= CAMERAS:
            return
        if (room := max(start, end) + 1) > len(self._row):
            more = max(room, 2 * len(self._row)) - len(self._row)
            self._row, self._onward = np.pad(self._row, (0, more)), np.pad(self._onward, (0, more))
        if not self._row[start, end]:
            self._row[start, end] = len(self._counts)
            self._counts = np.pad(self._counts, ((0, 1), (0, 0)))
            self._first, self._between = np.append(self._first, _BINS), np.append(self._between, 0)
        row = self._row[start, end]
        self._counts[row, _bin(np.array([seconds]))[0]] += times
        self._between[row] += times
        self._onward[start] += times
        self._first[row] = int(np.argmax(self._counts[row] > 0)) if self._counts[row].any() else _BINS

    def evidence(self, start: I64, end: I64, seconds: F64) -> F64:
        """What legs say, in nats, within `LIMIT` of 0; ``-inf`` where one is impossible.

        Args:
            start: Cameras they begin at, shape ``(n,)``.
            end: Cameras they end at, shape ``(n,)``.
            seconds: How long they took, shape ``(n,)``.
        """
        row, onward = self._known(start, end)
        says = self._says(row, onward, _bin(seconds))
        found: F64 = np.where(seconds < self._impossible(row), -np.inf, says)
        return found

    def evidence_to(self, end: int, start: I64, seconds: F64) -> F64:
        """What legs that end at one camera say, as `evidence` does, in less time where there are many."""
        cameras = np.arange(len(self._row) + 1)     # all others are alike
        if len(start) <= len(cameras) * _BINS:
            return self.evidence(start, np.full(len(start), end), seconds)
        row, onward = self._known(cameras, np.full(len(cameras), end))
        says, start = self._says(row[:, None], onward[:, None], np.arange(_BINS)), np.minimum(start, cameras[-1])
        found: F64 = np.where(seconds < self._impossible(row)[start], -np.inf, says[start, _bin(seconds)])
        return found

    def _known(self, start: I64, end: I64) -> tuple[I64, I64]:
        """Where pairs of cameras stand in the tables, and how many legs begin where they do."""
        begun, known = start < len(self._row), np.maximum(start, end) < len(self._row)
        row = np.where(known, self._row[np.where(known, start, 0), np.where(known, end, 0)], 0)
        return row, np.where(begun, self._onward[np.where(begun, start, 0)], 0)

    def _says(self, row: I64, onward: I64, at: I64) -> F64:
        """What legs of bins ``at`` say that are not impossible; shapes broadcast."""
        here = 0.5 * self._counts[row, at]
        here += np.where(at > 0, 0.25 * self._counts[row, at - 1], 0)
        here += np.where(at + 1 < _BINS, 0.25 * self._counts[row, np.minimum(at + 1, _BINS - 1)], 0)
        base = _STRANGERS[at] / max(1, int(np.count_nonzero(self._onward)))
        says = np.log((here + _STRENGTH * base) / ((onward + _STRENGTH) * base))
        says *= np.where(says > 0, _weight(self._between[row]), 1.0)
        found: F64 = np.clip(says, -LIMIT, LIMIT)
        return found

    def _impossible(self, row: I64) -> F64:
        """What nobody walks: any leg of these rows below so many seconds; ``-inf``: none."""
        shortest = _EDGES[np.minimum(self._first[row], _BINS - 1)]
        below: F64 = np.where((self._between[row] >= ENOUGH) & (shortest > 0), shortest / 2 - _SPARE_S, -np.inf)
        return below

    def legs(self) -> Iterator[Leg]:
        """Every leg that anybody took, by cameras."""
        for start, end in np.argwhere(self._row):
            row = self._row[start, end]
            counts = self._counts[row]
            if not counts.any():
                continue
            soonest, median, latest = (_quantile(counts, share) for share in (0.1, 0.5, 0.9))
            below = float(self._impossible(row))
            yield Leg(int(start), int(end), int(counts.sum()), median, soonest, latest,
                      float(_weight(self._between[row])), below if below > 0 else None)


def _weight(count: I64) -> F64:
    """Share of what so many legs say for a link that counts."""
    share: F64 = count / (count + _FEW)
    return share


def _quantile(counts: I64, share: float) -> float:
    """Seconds that this share of legs took at most; within a bin they lie evenly."""
    risen = np.concatenate([[0], np.cumsum(counts)])
    at = int(np.searchsorted(risen[1:], share * risen[-1]))
    return float(_EDGES[at] + (share * risen[-1] - risen[at]) / counts[at] * (_EDGES[at + 1] - _EDGES[at]))


def _bin(seconds: F64) -> I64:
    found: I64 = np.clip(np.searchsorted(_EDGES, seconds, "right") - 1, 0, _BINS - 1).astype(np.int64)
    return found
