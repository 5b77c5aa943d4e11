"""What is woven, printed and sewn on clothes, as labels on a figure.

Patterns choose between a garment's two materials, whose reflectances are drawn apart in both bands. Details (seams,
zips, pockets) change both bands alike. Both are bound to the body: they move and turn with it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.synthetic.people import DETAILS, LEGS, MATERIALS, REGIONS, SLEEVE, TOP, Detail, Person
from cmnas_edge.synthetic.pose import Placement, Pose

U8 = npt.NDArray[np.uint8]


def _second_material() -> U8:
    table = np.arange(256, dtype=np.uint8)
    table[TOP] = TOP + REGIONS
    return table


def _with_detail(region: int, number: int) -> U8:
    table = np.arange(256, dtype=np.uint8)
    codes = np.arange(REGIONS * MATERIALS * DETAILS)
    here = codes[codes % REGIONS == region]
    table[here] = here % (REGIONS * MATERIALS) + REGIONS * MATERIALS * number
    return table


_SECOND_MATERIAL = _second_material()
_DETAILED = {(r, k): _with_detail(r, k) for r in (TOP, SLEEVE, LEGS) for k in range(1, DETAILS)}


def _span(low: float, high: float, size: int) -> slice:
    """Pixels whose centre lies in [low, high)."""
    return slice(min(max(math.ceil(low), 0), size), min(max(math.ceil(high), 0), size))


def _box(canvas: U8, x: tuple[float, float], y: tuple[float, float], pose: Pose, place: Placement) -> U8:
    """The part of the canvas that a box on the body covers; across, a turned body is narrower."""
    turned = pose.narrowing
    rows = _span(place.row(y[0]), place.row(y[1]), canvas.shape[0])
    columns = _span(place.column(x[0] * turned), place.column(x[1] * turned), canvas.shape[1])
    return canvas[rows, columns]


def _relabel(part: U8, table: U8) -> None:
    if part.size:
        part[...] = cv2.LUT(part, table)


def _lit(size: int, start: float, period_px: float, share: float) -> npt.NDArray[np.bool_]:
    """Which of a row's pixels a square wave covers."""
    cycles = (np.arange(size) - start) / period_px
    return np.asarray(cycles - np.floor(cycles) < share)


def wear(canvas: U8, person: Person, pose: Pose, place: Placement) -> None:
    """Put patterns and details of a person's clothes on a figure, in place.

    Args:
        canvas: A label map that holds regions only, shape ``(h, w)``.
        person: Whose clothes.
        pose: How the figure stands.
        place: Where on the canvas.
    """
    _pattern(canvas, person, pose, place)
    for number, detail in enumerate(person.details, start=1):
        _detail(canvas, detail, number, pose, place)


def _pattern(canvas: U8, person: Person, pose: Pose, place: Placement) -> None:
    outfit = person.outfit
    kind = outfit.pattern
    if kind == "plain":
        return
    if kind == "logo":
        x, y, half = outfit.logo
        if pose.faces_camera:
            box = (x - half * 1.3, x + half * 1.3), (y - half, y + half)
            _relabel(_box(canvas, *box, pose, place), _SECOND_MATERIAL)
        return
    rows = _span(place.row(0.12), place.row(0.80), canvas.shape[0])
    torso = canvas[rows]
    tall = place.length_px * place.tilt
    wide = place.length_px * pose.narrowing
    per_body = outfit.frequency * {"rings": 1 / 1.6, "stripes": 1 / 1.2, "plaid": 2.5 / (2 * math.pi)}[kind]
    share = 0.4 if kind == "plaid" else outfit.share
    lit = np.zeros(torso.shape, bool)
    if kind != "stripes":
        lit |= _lit(torso.shape[0], place.crown_px - rows.start, tall / per_body, share)[:, None]
    if kind != "rings":
        lit |= _lit(torso.shape[1], place.centre_px, wide / per_body, share)
    torso[(torso == TOP) & lit] = TOP + REGIONS


def _detail(canvas: U8, detail: Detail, number: int, pose: Pose, place: Placement) -> None:
    if detail.facing != "both" and (detail.facing == "front") != pose.faces_camera:
        return
    part = _box(canvas, detail.x, detail.y, pose, place)
    table = _DETAILED[detail.region, number]
    if not detail.rings:
        _relabel(part, table)
        return
    period = place.length_px * place.tilt / detail.rings
    rows = np.flatnonzero(_lit(canvas.shape[0], place.crown_px, period, 0.4))
    canvas[rows] = table[canvas[rows]]
