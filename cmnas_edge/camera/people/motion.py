"""People as what moves in front of a still background: no weights, one core, any light.

A mixture of Gaussians per pixel (Zivkovic, ICPR 2004; OpenCV's MOG2) learns the background and
tells cast shadows from bodies. Its exposure is followed first, since a camera that brightens
its picture has not seen the wall move. What is left is cleaned, joined and kept if it could
be a person. It is a start, not a detector: whoever stands still fades, groups merge, and
swaying trees and reflections can pass. Bring a network where that matters.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.people.detection import Detections, nobody
from cmnas_edge.camera.people.geometry import areas, intersections
from cmnas_edge.camera.settings import DetectorSettings

__all__ = ["MotionDetector"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

_HISTORY = 1500         # frames that the model averages over
_BACKGROUND = 0.8       # share of them in which background shows; a still person fades in 0.22 of them
_SPREAD = 80.0          # squared Mahalanobis distance from which a pixel is foreground
_SHADOW = 0.7           # of the background's brightness: what is darker is a dark coat, no shadow
_FOREGROUND = 255       # MOG2 marks shadows 127
_WARMUP = 8             # frames to learn an empty scene from
_GLOBAL = 0.4           # more of the frame than this does not walk in between two frames
_MOST_HEIGHT = 0.95     # of the frame
_ASPECT = (0.7, 6.0)    # height by width: from two side by side to one half hidden
_SOLID = 0.6            # share of its box that a walking person fills
_PIECE = 0.2            # of another's box: too small to be somebody beside it
_REACH = 0.08           # heights of a person within which a piece belongs to them
_THUMBNAIL = (32, 18)   # to compare exposures by
_REFRESH = 10           # frames between two looks at the learned background
_SAME = 0.75           # correlation from which two pictures show the same thing
_GAIN = (0.65, 1.5)     # exposure is followed within; beyond, the background is cut


class MotionDetector:
    """Boxes around what moves and has a person's size and shape.

    A sudden change of the whole picture (lamps, an infrared filter) is nobody: the background
    is cut and learned anew, and for `_WARMUP` frames nothing is reported.
    """

    def __init__(self, settings: DetectorSettings) -> None:
        self._settings = settings
        self._shape: tuple[int, ...] = ()
        self._scene: U8 | None = None  # the learned background, and its thumbnail
        self._seen: F32 | None = None
        self._count = 0
        self.reset()

    def detect(self, frame: U8, index: int | None = None) -> Detections:  # noqa: ARG002 (time is in the background)
        """Find what moves; see `Detector`."""
        if frame.shape != self._shape:
            self._shape = frame.shape
            self.reset()
        scale = min(1.0, self._settings.max_side / max(frame.shape[:2]))
        small = _reduced(frame, scale)
        gain = self._gain(small)
        if not _GAIN[0] <= gain.min() <= gain.max() <= _GAIN[1]:
            self.reset()
            gain = self._gain(small)
        smooth = cv2.blur(_brightened(small, gain), (3, 3))
        # Fast at first, but not so fast that the first visitor becomes furniture.
        rate = -1.0 if self._count < _WARMUP else 1 / min(_HISTORY, 100 + 4 * self._count)
        mask = self._background.apply(smooth, learningRate=rate)
        self._count += 1
        if self._count <= _WARMUP:
            return nobody()
        if self._count % _REFRESH == _WARMUP + 1:
            self._scene = np.asarray(self._background.getBackgroundImage(), np.uint8)
            self._seen = _thumbnail(self._scene)
        solid = np.asarray(cv2.inRange(mask, _FOREGROUND, _FOREGROUND), np.uint8)
        if cv2.countNonZero(solid) > _GLOBAL * solid.size:
            self.reset()
            return nobody()
        return self._people(solid, np.asarray(smooth, np.uint8), scale)

    def reset(self) -> None:
        """Learn the background anew."""
        self._background = cv2.createBackgroundSubtractorMOG2(_HISTORY, _SPREAD, detectShadows=True)
        self._background.setBackgroundRatio(_BACKGROUND)
        self._background.setShadowThreshold(_SHADOW)
        self._scene = self._seen = None
        self._count = 0

    def _is_new(self, picture: U8, box: list[int]) -> bool:
        """Whether a box shows something else than the background in another light."""
        if self._scene is None:
            return True
        x1, y1, x2, y2 = box
        now = cv2.cvtColor(picture[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY)
        before = cv2.cvtColor(self._scene[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY)
        return float(cv2.matchTemplate(now, before, cv2.TM_CCOEFF_NORMED)[0, 0]) < _SAME

    def _gain(self, small: U8) -> F32:
        """Per channel, what brings this picture to the background's exposure, shape ``(3,)``."""
        if self._seen is None:
            return np.ones(3, np.float32)
        # Most pixels show background, so the median ratio is the exposure's.
        ratio = np.median((self._seen + 1) / (_thumbnail(small) + 1), axis=(0, 1))
        return np.asarray(ratio, np.float32)

    def _people(self, mask: U8, picture: U8, scale: float) -> Detections:
        rows, columns = mask.shape
        gap = max(1, round(max(rows, columns) / 160))  # 3 at 480 columns
        clean = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        # People come apart across, at belt and neck, more than along.
        joined = cv2.morphologyEx(clean, cv2.MORPH_CLOSE, np.ones((4 * gap + 1, 2 * gap + 1), np.uint8))
        _, _, blobs, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        x, y, w, h, filled = blobs[1:].T.astype(np.float32)  # row 0 is the background
        big = w * h >= self._settings.min_area * rows * columns / 4  # what could be a person's arm
        corners, filled = _gathered(np.stack([x, y, x + w, y + h], 1)[big], filled[big])
        w, h = (corners[:, 2:] - corners[:, :2]).T
        person = ((w * h >= self._settings.min_area * rows * columns) & (h <= _MOST_HEIGHT * rows)
                  & (h >= _ASPECT[0] * w) & (h <= _ASPECT[1] * w))
        for row in np.flatnonzero(person):
            person[row] = self._is_new(picture, corners[row].astype(int).tolist())
        fullness = filled[person] / areas(corners[person])
        return Detections((corners[person] / scale).astype(np.float32),
                          np.minimum(fullness / _SOLID, 1).astype(np.float32))


def _gathered(boxes: F32, filled: F32) -> tuple[F32, F32]:
    """Give small pieces to the big one they lie at: heads, arms and feet that came off.

    Args:
        boxes: Shape ``(n, 4)``.
        filled: Foreground pixels of each, shape ``(n,)``.

    Returns:
        The same without the pieces, the big ones grown to hold them.
    """
    order = np.argsort(-areas(boxes))
    boxes, filled = boxes[order], filled[order]
    own = areas(boxes)
    alone = np.ones(len(boxes), np.bool_)
    for row in range(len(boxes) - 1):
        if alone[row]:
            reach = np.float32(_REACH) * (boxes[row, 3] - boxes[row, 1])
            around = boxes[row] + np.array([-reach, -reach, reach, reach], np.float32)
            piece = alone & (own < _PIECE * own[row]) & (intersections(around[None], boxes)[0] > 0)
            if piece.any():
                whole = np.concatenate([boxes[row:row + 1], boxes[piece]])
                boxes[row] = [*whole[:, :2].min(0), *whole[:, 2:].max(0)]
                filled[row] += filled[piece].sum()
                alone &= ~piece
    return boxes[alone], filled[alone]


def _thumbnail(picture: npt.NDArray[np.generic]) -> F32:
    return cv2.resize(np.asarray(picture, np.uint8), _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)


def _brightened(picture: U8, gain: F32) -> U8:
    if (np.abs(gain - 1) < 0.01).all():  # a step of one or two in 255
        return picture
    return np.asarray(cv2.multiply(picture, np.array([*gain, 0.0])), np.uint8)


def _reduced(frame: U8, scale: float) -> U8:
    if scale == 1:
        return frame
    return np.asarray(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
