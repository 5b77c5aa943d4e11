"""From labels to light: reflectance times shading, laid over a background.

Everything here is linear light, before any sensor. Surfaces are Lambertian; their normals come from the
distance to the outline, which rounds a flat figure. Visible scenes have one directional and one ambient
light; in infrared the lamp sits beside the lens and falls off with distance (coaxial illuminator).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import Modality
from cmnas_edge.synthetic.people import Person
from cmnas_edge.synthetic.pose import Placement

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

_ROUNDING: Final = 0.045  # depth of the rounded rim, body heights
_WRINKLES: Final = (24, 12)  # cells of the cloth's folds over a figure
_WRINKLE_DEPTH: Final = 0.07


@dataclass(frozen=True)
class Light:
    """The light on one person at one moment."""

    level: float  # exposure factor in visible light; relative distance to the lamp in infrared
    ambient: float  # share of undirected light, visible only
    side: float  # -1 from the left .. +1 from the right, visible only


def wrinkles(rng: np.random.Generator) -> F32:
    """Folds of cloth, to be stretched over a figure: shape ``(24, 12)``, mean 0."""
    return np.asarray(rng.standard_normal(_WRINKLES, dtype=np.float32) * np.float32(_WRINKLE_DEPTH))


def light_up(
    person: Person, labels: U8, place: Placement, *, light: Light, folds: F32, modality: Modality
) -> tuple[F32, F32]:
    """Shade a figure.

    Args:
        person: Whose surfaces.
        labels: ``figure.label_map`` of the person, shape ``(h, w)``.
        place: The placement the map was drawn with.
        light: What falls on the person.
        folds: ``wrinkles`` of the clothes.
        modality: Which band is looked at.

    Returns:
        Radiance, ``(h, w, 3)`` BGR in visible light and ``(h, w, 1)`` in infrared, and the share of each
        pixel that the person covers, ``(h, w)``.
    """
    height, width = labels.shape
    _, solid = cv2.threshold(labels, 0, 255, cv2.THRESH_BINARY)
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, 3)
    # Facing the camera: 0 at the outline, 1 inside the rim; a quarter circle between.
    facing = np.minimum(depth * np.float32(1 / (_ROUNDING * place.length_px)), 1)
    facing = cv2.sqrt(facing * (2 - facing))
    shade = np.asarray(cv2.resize(folds, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    if modality == "infrared":
        shade += 0.25 + 0.75 * facing
        across = (np.arange(width, dtype=np.float32) - place.centre_px) / (0.6 * place.length_px)
        shade *= (1.25 / light.level**2) * (1 - 0.25 * np.minimum(across**2, 2))
        radiance = (cv2.LUT(labels, person.infrared_table[:, 0]) * shade)[..., None]
    else:
        slope = cv2.Sobel(cv2.GaussianBlur(depth, (0, 0), 2), cv2.CV_32F, 1, 0)
        lit = np.clip(slope * np.float32(-0.12 * light.side), -0.6, 0.9)
        directed = 1 - light.ambient
        shade += light.ambient + (0.55 * directed) * facing + (0.6 * directed) * lit
        shade *= light.level
        columns = person.visible_table.T.copy()
        radiance = np.asarray(cv2.merge([cv2.LUT(labels, column) * shade for column in columns]))
    cover = cv2.blur(solid, (3, 3)).astype(np.float32)
    return radiance, cover * np.float32(1 / 255)


def lay_over(radiance: F32, cover: F32, background: F32) -> F32:
    """Put a figure before a background; all of one shape, ``cover`` without the last axis."""
    return background + cover[..., None] * (radiance - background)
