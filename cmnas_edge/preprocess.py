"""From a frame and boxes to the batch a network takes: the one definition.

Training, export and camera all cut and scale people with these functions, and colour order,
scale and mean live in the exported graph (`export`). So there is no second definition that
could drift: normalising twice, or in another channel order, is the classic silent accuracy
loss of exported re-identification networks.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["DEFINITION", "MEAN", "STD", "crops", "resize"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

# ImageNet's channel statistics in RGB order, of values scaled to 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# What decides whether two embeddings are comparable; part of a bundle's fingerprint.
DEFINITION = (
    "BGR uint8; box rounded outwards and cut at the frame; bilinear at pixel centres, area average when "
    f"shrinking both ways; RGB, /255, mean {MEAN}, std {STD}"
)


def resize(image: U8, height: int, width: int, out: U8 | None = None) -> U8:
    """Scale an image to ``(height, width, 3)``.

    Shrinking averages the pixels that fall together, since picking every k-th aliases stripes
    into colours nobody wears; anything else is bilinear.

    Args:
        image: Shape ``(h, w, 3)``, both at least 1.
        height: Rows wanted.
        width: Columns wanted.
        out: Written to when given, same shape as the result.
    """
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(image, (width, height), dst=out, interpolation=how)
    return np.asarray(scaled, np.uint8)


def crops(frame: U8, boxes: F32, height: int, width: int) -> U8:
    """Cut people out of a frame.

    Args:
        frame: BGR, shape ``(h, w, 3)``.
        boxes: ``x1, y1, x2, y2`` in pixels, shape ``(n, 4)``; parts outside the frame are cut off.
        height: Rows of a crop.
        width: Columns of a crop.

    Returns:
        Shape ``(n, height, width, 3)``, BGR.

    Raises:
        ValueError: A box covers no pixel of the frame, or is not finite.
    """
    batch = np.empty((len(boxes), height, width, 3), np.uint8)
    if not len(boxes):
        return batch
    if not np.isfinite(boxes).all():
        raise ValueError("expected finite boxes, found a box that is not")
    limit = np.array([frame.shape[1], frame.shape[0]], np.float64)
    low = np.clip(np.floor(boxes[:, :2]), 0, limit).astype(int)
    high = np.clip(np.ceil(boxes[:, 2:]), 0, limit).astype(int)
    for row, (x1, y1), (x2, y2), box in zip(batch, low, high, boxes, strict=True):
        if x2 <= x1 or y2 <= y1:
            size = f"{frame.shape[1]}x{frame.shape[0]}"
            raise ValueError(f"expected a box on the {size} frame, found {np.round(box, 1).tolist()}")
        resize(frame[y1:y2, x1:x2], height, width, out=row)
    return batch
