"""Where a box will be next: a constant velocity Kalman filter over many boxes at once.

Centre, width and height of a box move independently of each other in the models of SORT and
ByteTrack (their transition and noise matrices are block diagonal), so the usual 8x8 filter
is exactly four filters of position and velocity each, and their 2x2 algebra is written out
here for all boxes and coordinates together: no matrix is inverted.

Motion is white noise acceleration in continuous time (Bar-Shalom, Li and Kirubarajan,
"Estimation with Applications to Tracking and Navigation", 2001, section 6.2.2), which makes
predicting 0.3 s the same as predicting 0.1 s three times: a live camera drops frames. As in
ByteTrack, noise is in units of the box's height, since what is near moves more pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Kalman", "corners", "measures"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

# In box heights (a person: about 1.7 m). Detectors place an edge within about 5 %; a walker starts
# and stops with about 2 m/s^2; sizes change slowly. Columns: x, y, width, height.
_MEASURED = np.array([0.05, 0.05, 0.06, 0.06])
_PUSH = np.array([0.8, 0.5, 0.15, 0.15]) ** 2  # spectral density, heights^2 / s^3
_FIRST_SPEED = np.array([1.0, 0.6, 0.15, 0.15])  # heights / s


def measures(boxes: F32) -> F64:
    """Turn corners into ``centre x, centre y, width, height``, shape ``(n, 4)``."""
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    return np.concatenate([(low + high) / 2, high - low], 1)


def corners(state: F64) -> F32:
    """Undo `measures`; a negative size counts as none."""
    half = np.maximum(state[:, 2:], 0) / 2
    return np.concatenate([state[:, :2] - half, state[:, :2] + half], 1).astype(np.float32)


class Kalman:
    """Position, velocity and their uncertainty of ``n`` boxes, each array of shape ``(n, 4)``."""

    def __init__(self) -> None:
        self.position: F64 = np.empty((0, 4))
        self.velocity: F64 = np.empty((0, 4))
        self._pp: F64 = np.empty((0, 4))  # variances of position and velocity, and their covariance
        self._pv: F64 = np.empty((0, 4))
        self._vv: F64 = np.empty((0, 4))

    def __len__(self) -> int:
        return len(self.position)

    def add(self, boxes: F32) -> None:
        """Append boxes at rest, their speed unknown."""
        position = measures(boxes)
        scale = _scale(position)
        zero = np.zeros_like(position)
        self.position = np.concatenate([self.position, position])
        self.velocity = np.concatenate([self.velocity, zero])
        self._pp = np.concatenate([self._pp, (scale * _MEASURED) ** 2])
        self._pv = np.concatenate([self._pv, zero])
        self._vv = np.concatenate([self._vv, (scale * _FIRST_SPEED) ** 2])

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """Forget the boxes that ``rows``, a mask of shape ``(n,)``, leaves out."""
        self.position, self.velocity = self.position[rows], self.velocity[rows]
        self._pp, self._pv, self._vv = self._pp[rows], self._pv[rows], self._vv[rows]

    def predict(self, passed_s: float) -> None:
        """Let time pass: ``x = F x``, ``P = F P F' + Q``, written out."""
        t = passed_s
        push = _PUSH * _scale(self.position) ** 2
        self._pp = self._pp + 2 * t * self._pv + t * t * self._vv + push * (t**3 / 3)
        self._pv = self._pv + t * self._vv + push * (t * t / 2)
        self._vv = self._vv + push * t
        self.position = self.position + t * self.velocity

    def correct(self, rows: npt.NDArray[np.intp], boxes: F32) -> None:
        """Take measured boxes, shape ``(k, 4)``, into the tracks ``rows``, shape ``(k,)``."""
        measured = measures(boxes)
        pp, pv, vv = self._pp[rows], self._pv[rows], self._vv[rows]
        spread = pp + (_scale(measured) * _MEASURED) ** 2
        gain, push = pp / spread, pv / spread
        surprise = measured - self.position[rows]
        self.position[rows] += gain * surprise
        self.velocity[rows] += push * surprise
        self._pp[rows] = pp - gain * pp
        self._pv[rows] = pv - gain * pv
        self._vv[rows] = vv - push * pv


def _scale(position: F64) -> F64:
    return np.maximum(position[:, 3:], 1.0)  # a box without height is still a pixel's worth
