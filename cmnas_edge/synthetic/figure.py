"""A person in a pose as a map of labels: which surface each pixel shows.

Only integers leave this module. Outlines are convex polygons on a grid of 1/16 pixel and OpenCV fills them
in fixed point, so the same person in the same pose is the same map on every machine.

Coordinates of a body: x to the right and y down from the crown, in body heights.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.synthetic.cloth import wear
from cmnas_edge.synthetic.people import BAG, GROUND, HAIR, HAT, LEGS, SHOE, SKIN, SLEEVE, TOP, Person
from cmnas_edge.synthetic.pose import Placement, Pose

U8 = npt.NDArray[np.uint8]

# A body reaches this far from its middle line and from its crown, coat, stride and bag included.
REACH_ASIDE: Final = 0.50
REACH_ABOVE: Final = 0.06
REACH_BELOW: Final = 1.05

_SUBPIXEL_BITS: Final = 4
_CORNERS: Final = 16
_ANGLE = 2 * np.pi * (np.arange(_CORNERS) + 0.5) / _CORNERS - np.pi / 2
_ROUND = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], 1)
_UPPER_ANGLE = np.pi * (1 + np.arange(_CORNERS) / (_CORNERS - 1))
_UPPER = np.stack([np.cos(_UPPER_ANGLE), np.sin(_UPPER_ANGLE)], 1)
_FAR_HALF = np.arange(_CORNERS) < _CORNERS // 2  # corners around a limb's second end


_Row = tuple[float, float, float, float, float, float]  # two ends and two radii, pixels


class _Outlines:
    """Limbs, ellipses and polygons in painting order, turned into pixels all at once."""

    def __init__(self, place: Placement) -> None:
        self._place = place
        self._labels: list[int] = []
        self._rows: list[_Row] = []
        self._halves: list[bool] = []
        self._polygons: dict[int, list[tuple[float, float]]] = {}

    def limb(self, a: tuple[float, float], b: tuple[float, float], width: float, label: int) -> None:
        place = self._place
        radius = max(1.0, width * place.length_px / 2)
        start = (place.column(a[0]), place.row(a[1]))
        end = (place.column(b[0]), place.row(b[1]))
        self._add((*start, *end, radius, radius), label)

    def oval(
        self, at: tuple[float, float], radii: tuple[float, float], label: int, *, upper: bool = False
    ) -> None:
        place = self._place
        column, row, unit = place.column(at[0]), place.row(at[1]), place.length_px
        across, down = max(1.0, radii[0] * unit), max(1.0, radii[1] * unit)
        self._add((column, row, column, row, across, down), label, upper)

    def polygon(self, corners: list[tuple[float, float]], label: int) -> None:
        place = self._place
        self._polygons[len(self._rows)] = [(place.column(x), place.row(y)) for x, y in corners]
        self._add((0, 0, 0, 0, 1, 1), label)

    def _add(self, row: _Row, label: int, upper: bool = False) -> None:
        self._rows.append(row)
        self._labels.append(label)
        self._halves.append(upper)

    def fill(self, canvas: U8) -> None:
        rows = np.array(self._rows)
        a, b, radii = rows[:, None, 0:2], rows[:, None, 2:4], rows[:, 4:6]
        along = (b - a)[:, 0]
        length = np.sqrt((along * along).sum(1, keepdims=True))
        along = np.where(length > 0, along / np.where(length > 0, length, 1.0), (1.0, 0.0))
        shape = np.where(np.array(self._halves)[:, None, None], _UPPER, _ROUND)
        # The ring of corners starts across the limb, so its first half lies around b, the second around a.
        ring = shape * radii[:, None]
        x = ring[..., 0] * along[:, None, 0] - ring[..., 1] * along[:, None, 1]
        y = ring[..., 0] * along[:, None, 1] + ring[..., 1] * along[:, None, 0]
        corners = np.where(_FAR_HALF[:, None], b, a) + np.stack([x, y], -1)
        fixed = np.floor(corners * (1 << _SUBPIXEL_BITS) + 0.5).astype(np.int32)
        for index, label in enumerate(self._labels):
            if index in self._polygons:
                raw = np.array(self._polygons[index]) * (1 << _SUBPIXEL_BITS)
                outline = np.floor(raw + 0.5).astype(np.int32)
            else:
                outline = fixed[index]
            cv2.fillConvexPoly(canvas, outline, label, cv2.LINE_8, _SUBPIXEL_BITS)


def label_map(person: Person, pose: Pose, place: Placement, height: int, width: int) -> U8:
    """Draw who is seen where.

    Args:
        person: Whose body and clothes.
        pose: Turned how, and at which point of a step.
        place: Where on the canvas.
        height: Of the canvas, pixels.
        width: Of the canvas, pixels.

    Returns:
        Shape ``(height, width)``: 0 where nobody is, elsewhere
        ``region + REGIONS * (material + 2 * detail)``, the index of ``Person.visible_table``.
    """
    canvas = np.zeros((height, width), np.uint8)
    _body(person, pose, place).fill(canvas)
    wear(canvas, person, pose, place)
    return canvas


def _body(person: Person, pose: Pose, place: Placement) -> _Outlines:
    body, outfit = person.body, person.outfit
    side, front, turn = pose.sideways, pose.faces_camera, math.sin(pose.yaw)
    step = math.sin(pose.phase)
    shoulder = body.shoulder * (1 - 0.42 * side) / 2
    hip = body.hip * (1 - 0.30 * side) / 2
    crotch = 1 - body.leg
    reach = 0.25 + 0.75 * side  # a step towards the camera hardly shows
    stride, swing = body.stride * step * reach, body.arm_swing * step * reach
    out = _Outlines(place)

    def arm(sign: int, ahead: float) -> None:
        top = (sign * shoulder, 0.185)
        elbow = (sign * (shoulder + 0.01) + ahead * 0.5, 0.33)
        hand = (sign * (shoulder + 0.005) + ahead, 0.495)
        out.limb(top, elbow, body.arm_width, SLEEVE)
        out.limb(elbow, hand, body.arm_width * 0.85, SKIN if outfit.short_sleeves else SLEEVE)
        out.oval(hand, (0.022, 0.022), SKIN)

    arm(-1, -swing)
    shin = SKIN if outfit.shorts or outfit.skirt else LEGS
    for sign in (-1, 1):
        knee = (sign * (hip * 0.55 + stride * 0.4), crotch + body.leg * 0.48)
        foot = (sign * (hip * 0.5 + stride), 0.97 - 0.02 * max(0.0, sign * step))
        out.limb((sign * hip * 0.5, crotch), knee, body.leg_width * 1.1, LEGS)
        out.limb(knee, foot, body.leg_width * 0.85, shin)
        out.oval((foot[0] + 0.015 * turn, 0.98), (0.03 + 0.03 * side, 0.016), SHOE)
    if outfit.skirt:
        low, flare = crotch + 0.22, hip * 1.4
        out.polygon([(-hip, crotch - 0.02), (hip, crotch - 0.02), (flare, low), (-flare, low)], LEGS)
    hem, waist = crotch + (0.18 if outfit.long_coat else 0.03), hip * 1.05
    left = [(-waist, hem), (-shoulder, 0.165), (-shoulder * 0.55, 0.135)]
    out.polygon([*left, *((-x, y) for x, y in reversed(left))], TOP)
    arm(1, swing)

    x, y, head = body.lean + 0.02 * turn, 0.07, body.head
    # Heads are round whatever the tilt: offsets are in level body heights.
    if body.hair_length:
        behind = (x - 0.3 * head * turn, y + 0.35 * head * body.hair_length / place.tilt)
        out.oval(behind, (0.95 * head, head * (1 + 0.55 * body.hair_length)), HAIR)
    out.oval((x, y), (0.78 * head, 1.05 * head), SKIN if front or side > 0.75 else HAIR)
    above = (x - 0.25 * head * turn, y - 0.35 * head / place.tilt)
    out.oval(above, (0.85 * head, 0.75 * head), HAT if outfit.hat else HAIR, upper=True)
    if outfit.bag == "backpack" and (not front or side > 0.6):
        back = -0.05 * turn
        wide, low = shoulder * 0.7, shoulder * 0.75
        out.polygon([(back - wide, 0.18), (back + wide, 0.18), (back + low, 0.40), (back - low, 0.40)], BAG)
    elif outfit.bag == "hand":
        x0 = shoulder
        out.polygon([(x0, 0.42), (x0 + 0.10, 0.42), (x0 + 0.11, 0.56), (x0 - 0.01, 0.56)], BAG)
    return out


assert GROUND == 0, "a canvas starts as ground"
