"""Boxes as arrays: areas, overlaps, suppression, and which part of a picture they stand in.

A box is ``x1, y1, x2, y2`` in pixels of the frame, float32. Boxes without area, or with their
corners the wrong way round, are legal input everywhere and overlap nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Polygon", "areas", "coverage", "inside", "intersections", "iou", "suppress"]

F32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Polygon = Sequence[tuple[float, float]]


def areas(boxes: F32) -> F32:
    """Areas in square pixels, shape ``(n,)``; zero for a box without extent."""
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(size[:, 0] * size[:, 1], np.float32)


def intersections(a: F32, b: F32) -> F32:
    """Shared areas of every pair, shape ``(len(a), len(b))``."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    size = np.maximum(high - low, 0)
    return np.asarray(size[..., 0] * size[..., 1], np.float32)


def iou(a: F32, b: F32) -> F32:
    """Intersection over union of every pair, shape ``(len(a), len(b))``, in 0..1."""
    shared = intersections(a, b)
    union = areas(a)[:, None] + areas(b)[None, :] - shared
    return np.asarray(np.minimum(shared / np.maximum(union, 1e-9), 1), np.float32)


def coverage(boxes: F32) -> F32:
    """How much of each box its most overlapping neighbour covers, shape ``(n,)``, in 0..1.

    A box without area counts as fully covered: nothing of it can be seen.
    """
    own = areas(boxes)
    shared = intersections(boxes, boxes)
    np.fill_diagonal(shared, 0)
    most = shared.max(1, initial=0)
    return np.where(own > 0, np.minimum(most / np.maximum(own, 1e-9), 1), 1).astype(np.float32)


def suppress(boxes: F32, scores: F32, most_iou: float) -> Indices:
    """Keep the best of boxes that show the same thing (greedy non-maximum suppression).

    Args:
        boxes: Shape ``(n, 4)``.
        scores: Shape ``(n,)``; of equal scores the earlier row wins.
        most_iou: Two kept boxes overlap at most this much.

    Returns:
        Rows kept, best first.
    """
    order = np.argsort(-scores, kind="stable")
    clash = iou(boxes[order], boxes[order]) > most_iou
    alive = np.ones(len(order), np.bool_)
    for row in range(len(order)):
        if alive[row]:
            alive[row + 1:] &= ~clash[row, row + 1:]
    return np.asarray(order[alive], np.intp)


def inside(points: F32, polygon: Polygon) -> Bools:
    """Which points lie inside a polygon, by the even-odd rule.

    Args:
        points: ``x, y``, shape ``(n, 2)``.
        polygon: Corners in order, at least three; it closes by itself.
    """
    corners = np.asarray(polygon, np.float64)
    x, y = points[:, None, 0].astype(np.float64), points[:, None, 1].astype(np.float64)
    x1, y1 = corners[None, :, 0], corners[None, :, 1]
    x2, y2 = np.roll(x1, -1, 1), np.roll(y1, -1, 1)
    spans = (y1 > y) != (y2 > y)  # so y2 != y1 wherever it matters
    crossing = x1 + (y - y1) * (x2 - x1) / np.where(spans, y2 - y1, 1)
    odd: Bools = (spans & (x < crossing)).sum(1) % 2 == 1
    return odd
