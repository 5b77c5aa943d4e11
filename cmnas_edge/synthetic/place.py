"""Where a camera looks: a background with the same layout in both bands, coloured apart.

A wall's infrared reflectance says as little about its colour as a shirt's, so the two
versions share their shapes and nothing else.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import Modality
from cmnas_edge.synthetic.draws import Draws, generator
from cmnas_edge.synthetic.people import PALETTE

F32 = npt.NDArray[np.float32]

_PLACES: Final = 3  # key of this stream; see draws.generator
_LAYOUT, _VISIBLE, _INFRARED = range(3)
_BOXES: Final = 14


def background(seed: int, place: int, modality: Modality, height: int, width: int) -> F32:
    """Draw a place without people.

    Args:
        seed: Of the world.
        place: Number of the place in it.
        modality: Band to see it in; both show the same shapes.
        height: Pixels, at least 2.
        width: Pixels, at least 2.

    Returns:
        Linear reflectance, ``(height, width, 3)`` BGR, or ``(height, width, 1)`` in infrared.
    """
    layout = generator(_PLACES, seed, place, _LAYOUT)
    low = layout.standard_normal((12, 16), dtype=np.float32)
    high = layout.standard_normal((60, 90), dtype=np.float32)
    field = 0.5 * cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)
    field += 0.18 * cv2.resize(high, (width, height))
    d = Draws(layout)
    boxes = []
    for _ in range(_BOXES):
        left, top = int(d.uniform(0, width)), int(d.uniform(0, height))
        right, bottom = left + int(d.uniform(10, 120)), top + int(d.uniform(10, 200))
        boxes.append((slice(top, bottom), slice(left, right)))
    if modality == "infrared":
        return _infrared(Draws(generator(_PLACES, seed, place, _INFRARED)), field, boxes)
    return _visible(Draws(generator(_PLACES, seed, place, _VISIBLE)), field, boxes)


def _visible(d: Draws, field: F32, boxes: list[tuple[slice, slice]]) -> F32:
    palette = np.array(PALETTE, np.float32)[:, ::-1]
    base, other = palette[1 + d.below(3)], palette[d.below(len(palette))]
    share = 1 / (1 + np.exp(-3 * field))[..., None]
    scene = base * (1 - share) + other * share
    for box in boxes:
        scene[box] = 0.3 * scene[box] + 0.7 * palette[d.below(len(palette))]
    return np.asarray(scene, np.float32)


def _infrared(d: Draws, field: F32, boxes: list[tuple[slice, slice]]) -> F32:
    scene = 0.35 + 0.25 * np.tanh(field + d.normal(0, 0.3))
    for box in boxes:
        scene[box] = 0.4 * scene[box] + 0.6 * d.uniform(0.1, 0.8)
    return np.asarray(scene[..., None], np.float32)
