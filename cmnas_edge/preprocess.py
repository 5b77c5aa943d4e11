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

__all__ = ["AREA", "DEFINITION", "DEFINITIONS", "MEAN", "STD", "crops", "resize"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

# ImageNet's channel statistics in RGB order, of values scaled to 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_LAST = f"RGB, /255, mean {MEAN}, std {STD}"
# What decides whether two embeddings are comparable; part of a bundle's fingerprint. A camera makes crops as
# its bundle says, so bundles of an earlier definition go on as they were.
AREA = (
    "BGR uint8; box rounded outwards and cut at the frame; bilinear at pixel centres, area average when "
    f"shrinking both ways; {_LAST}"
)
DEFINITION = (
    "BGR uint8; box rounded outwards and cut at the frame; bilinear at pixel centres, when shrinking both ways by more "
    f"than 2 to twice the size and then averaged 2 by 2, by more than 4 area average; {_LAST}"
)
DEFINITIONS = (AREA, DEFINITION)


def resize(image: U8, height: int, width: int, out: U8 | None = None, *, definition: str = DEFINITION) -> U8:
    """Scale an image to ``(height, width, 3)``.

    Shrinking uses every pixel, since picking every k-th aliases stripes into colours nobody wears.
    Bilinear interpolation does so up to twice smaller, and OpenCV's area average at any size, but at
    several times the cost; between the two, bilinear to twice the size and the mean of four is 0.2 grey
    levels from the area average (`benchmarks/results/resize.jsonl`).

    Args:
        image: Shape ``(h, w, 3)``, both at least 1.
        height: Rows wanted.
        width: Columns wanted.
        out: Written to when given, same shape as the result.
        definition: One of `DEFINITIONS`.

    Raises:
        ValueError: Another definition.
    """
    if definition not in DEFINITIONS:
        raise ValueError(f"definition: expected one of {len(DEFINITIONS)} known, found {definition!r}")
    rows, columns = image.shape[0] / height, image.shape[1] / width
    least, most = min(rows, columns), max(rows, columns)
    how = cv2.INTER_LINEAR
    if definition == AREA:
        how = cv2.INTER_AREA if least >= 1 else how
    elif least >= 1 and most > 4:
        how = cv2.INTER_AREA
    elif least >= 1 and most > 2:
        image = np.asarray(cv2.resize(image, (2 * width, 2 * height), interpolation=how), np.uint8)
        how = cv2.INTER_AREA
    scaled = cv2.resize(image, (width, height), dst=out, interpolation=how)
    return np.asarray(scaled, np.uint8)


def crops(frame: U8, boxes: F32, height: int, width: int, *, definition: str = DEFINITION) -> U8:
    """Cut people out of a frame.

    Args:
        frame: BGR, shape ``(h, w, 3)``.
        boxes: ``x1, y1, x2, y2`` in pixels, shape ``(n, 4)``; parts outside the frame are cut off.
        height: Rows of a crop.
        width: Columns of a crop.
        definition: One of `DEFINITIONS`: the bundle's.

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
        resize(frame[y1:y2, x1:x2], height, width, out=row, definition=definition)
    return batch
