"""One channel for all three, as Channel Augmented Joint Learning does it (Ye et al., ICCV 2021).

A visible crop is shown in one of its colours only, so that a network cannot lean on hue, which
an infrared camera doesn't see. Probabilities are those of the published code
(mangye16/Cross-Modal-Re-ID-baseline, ``ICCV21_CAJ``):

- `exchange` (``ChannelExchange``): red, green or blue, each equally often; with grey
  (``gray=3``) also the luma, each of the four equally often.
- `adapt` (``ChannelAdapGray(0.5)``, for infrared crops): red, green or blue 1/4 each, luma 1/8,
  unchanged 1/8.

There, values are copied after normalisation, so the three channels come out equal in deviations,
not in pixels. The same is done here, on pixels: what would lie below black or above white is cut
there, and all is rounded to within a grey level, which are the only differences. There, too, a
batch holds every visible crop twice, unchanged and in one channel; here a probability of 0.5 shows
each in one form or the other. Not checked: what the paper says beyond its code, and its figures.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.preprocess import MEAN, STD
from train.data.crops import U8, Mask

__all__ = ["adapt", "exchange"]

_LUMA = (0.2989, 0.5870, 0.1140)  # red, green, blue


def _from(weights: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """The affine map of BGR pixels, shape ``(3, 4)``, by which all three channels become one mix (RGB)."""
    mix, mean, std = np.array(weights), np.array(MEAN), np.array(STD)
    scale = std[:, None] * (mix / std)[None]
    shift = 255 * (mean - std * (mix * mean / std).sum())
    return np.hstack([scale[::-1, ::-1], shift[::-1, None]])


_TABLES = [_from((1, 0, 0)), _from((0, 1, 0)), _from((0, 0, 1)), _from(_LUMA)]


def exchange(images: U8, chosen: Mask, rng: np.random.Generator, *, grey: bool = False) -> None:
    """Give the chosen rows one of their channels for all three, in place.

    Args:
        images: BGR, shape ``(n, h, w, 3)``.
        chosen: Rows, shape ``(n,)``.
        rng: Source of every choice.
        grey: A fourth choice is their luma.
    """
    rows = np.flatnonzero(chosen)
    _recast(images, rows, rng.integers(0, 4 if grey else 3, len(rows)))


def adapt(images: U8, chosen: Mask, rng: np.random.Generator) -> None:
    """Give the chosen rows a channel (3/4), their luma (1/8) or leave them (1/8), in place; as `exchange`."""
    rows = np.flatnonzero(chosen)
    eighth = rng.integers(0, 8, len(rows))
    kept = eighth == 7
    _recast(images, rows[~kept], np.minimum(eighth[~kept] // 2, 3))


def _recast(images: U8, rows: npt.NDArray[np.intp], mixes: npt.NDArray[np.int64]) -> None:
    for row, mix in zip(rows, mixes, strict=True):
        images[row] = cv2.transform(images[row], _TABLES[mix])
