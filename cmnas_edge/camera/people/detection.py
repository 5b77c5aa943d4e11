"""What a detector finds, and what a detector is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Detections", "Detector", "nobody"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


class Detections(NamedTuple):
    """People in one frame.

    Attributes:
        boxes: ``x1, y1, x2, y2`` in pixels of the frame, shape ``(n, 4)``, float32.
        scores: How sure the detector is, shape ``(n,)``, float32 in 0..1.
    """

    boxes: F32
    scores: F32


class Detector(Protocol):
    """Finds people in the frames of one camera."""

    def detect(self, frame: U8, index: int | None = None) -> Detections:
        """Find people.

        Args:
            frame: BGR, shape ``(h, w, 3)``.
            index: The frame's position in its footage; None: one more than the last.
        """

    def reset(self) -> None:
        """Forget what the scene looked like, as when the camera changes its spectrum."""


def nobody() -> Detections:
    """An empty frame's detections."""
    return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))
