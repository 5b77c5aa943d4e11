"""Random erasing as published: a rectangle hidden under one colour.

Algorithm 1 of Zhong et al., Random Erasing Data Augmentation (AAAI 2020), drawn in the order
that the code of CM-NAS, AGW and CAJ draws in, so that the same random numbers hide the same
pixels. Area is uniform, and so is height by width, from 0.3 to 1/0.3: tall rectangles are more
likely than wide ones, and those that do not fit are drawn again, at most a hundred times.

Those codes write the colour into an image that is normalised already. What CM-NAS and CAJ write
is the mean of the pixels *before* that, so it is no mean but a light grey, 0.41 to 0.49 of a
deviation above it. Here the image is uint8, so each colour is turned back into a pixel, rounded:
at most 0.009 of a deviation from theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy.typing as npt

from cmnas_edge.preprocess import MEAN, STD
from train.data.crops import U8

__all__ = ["ASPECT", "FILLS", "LEAST_AREA", "Dice", "erase", "hide", "rectangle"]

LEAST_AREA: Final = 0.02
ASPECT: Final = 0.3
_ATTEMPTS: Final = 100


class Dice(Protocol):
    """Where random numbers come from; ``random.Random`` is one."""

    def uniform(self, a: float, b: float) -> float: ...  # noqa: D102 (as in ``random``)

    def randint(self, a: int, b: int) -> int: ...  # noqa: D102 (as in ``random``: b included)


def _pixel(normalised: Sequence[float]) -> tuple[int, ...]:
    """The BGR pixel that becomes these RGB values once it is normalised."""
    rgb = [round(255 * (value * std + mean)) for value, mean, std in zip(normalised, MEAN, STD, strict=True)]
    return tuple(rgb[::-1])


# BGR. What stands in the codes: CM-NAS the mean of ImageNet, CAJ that of CIFAR-10.
FILLS: Final = {"mean": _pixel((0, 0, 0)), "cm-nas": _pixel(MEAN), "caj": _pixel((0.4914, 0.4822, 0.4465))}


def rectangle(height: int, width: int, dice: Dice, probability: float, most_area: float = 0.4
              ) -> tuple[int, int, int, int] | None:
    """Draw what is hidden of one image.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        dice: Random numbers; used up in the published order.
        probability: That anything is hidden.
        most_area: Largest share of the image, at least ``LEAST_AREA``.

    Returns:
        Top, left, height, width in pixels; None when nothing is hidden.
    """
    if dice.uniform(0, 1) >= probability:
        return None
    for _ in range(_ATTEMPTS):
        area = dice.uniform(LEAST_AREA, most_area) * height * width
        aspect = dice.uniform(ASPECT, 1 / ASPECT)
        high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if high < height and wide < width:
            return dice.randint(0, height - high), dice.randint(0, width - wide), high, wide
    return None


def hide(image: npt.NDArray[Any], where: tuple[int, int, int, int], fill: Sequence[float]) -> None:
    """Paint a rectangle over, in place; image of shape ``(h, w, c)`` and any number type."""
    top, left, high, wide = where
    image[top:top + high, left:left + wide] = fill


def erase(images: U8, dice: Dice, probability: float, most_area: float, fill: Sequence[float]) -> None:
    """Hide a rectangle of some rows, in place.

    Args:
        images: BGR, shape ``(n, h, w, 3)``.
        dice: Random numbers.
        probability: That a row loses a rectangle.
        most_area: Largest share of a row that it covers, at least ``LEAST_AREA``.
        fill: What it is filled with, BGR.
    """
    _, h, w, _ = images.shape
    for image in images:
        if (where := rectangle(h, w, dice, probability, most_area)) is not None:
            hide(image, where, fill)
