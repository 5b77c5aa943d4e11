"""Who walks where, and when: people on a ground plane, from camera to camera.

A person crosses one camera's view, is unseen for as long as the way to the next takes, and crosses that.
Coordinates of a view: x metres to the right of the camera and z metres ahead of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.synthetic.draws import Draws
from cmnas_edge.synthetic.pose import Placement, Pose

F64 = npt.NDArray[np.float64]

BODY_M: Final = 1.70
_STRIDE_M: Final = 1.4  # two steps
_NEAREST_M: Final = 4.6
_SAMPLES: Final = 33  # of a path, to walk it at one speed
_CANDIDATES: Final = 60  # plans per person, of which the one least in others' way is kept
_PER_VIEW_S: Final = 14.0  # a view and the way to it, generously; keeps last walks within the footage


@dataclass(frozen=True)
class Lens:
    """A pinhole over flat ground, looking level; tilt of the view is a shift of the horizon."""

    focal_px: float
    above_ground_m: float
    horizon_px: float  # row
    centre_px: float  # column
    tilt: float  # foreshortening of upright bodies

    @classmethod
    def draw(cls, d: Draws, height: int, width: int, tilt: float) -> Lens:
        """A lens whose nearest walkers still have their feet in the picture."""
        focal = d.uniform(0.84, 0.94) * width
        above = d.uniform(2.4, 2.6)
        return cls(focal, above, 0.94 * height - focal * above / _NEAREST_M, width / 2, tilt)

    def edge_m(self, z: float) -> float:
        """How far to the side somebody stands who is just out of the picture."""
        return self.centre_px / self.focal_px * z + 0.55 * BODY_M

    def place(self, x: float, z: float, stature: float) -> Placement:
        """Where a body at this spot lies in the picture; ``stature`` relative to the mean person."""
        length = BODY_M * stature * self.focal_px / z
        feet = self.horizon_px + self.focal_px * self.above_ground_m / z
        return Placement(self.centre_px + x * self.focal_px / z, feet - 0.995 * length * self.tilt, length, self.tilt)


@dataclass(frozen=True)
class Walk:
    """One crossing of one camera's view, at constant speed along a curve."""

    person: int  # index among the site's people
    camera: int  # index among the site's cameras
    starts_s: float
    speed_m_s: float
    control: tuple[tuple[float, float], ...]  # (x, z) of a quadratic Bézier curve

    @cached_property
    def _curve(self) -> tuple[F64, F64]:
        u = np.linspace(0, 1, _SAMPLES)[:, None]
        a, b, c = np.array(self.control)
        points = (1 - u) ** 2 * a + 2 * u * (1 - u) * b + u**2 * c
        steps = np.sqrt((np.diff(points, axis=0) ** 2).sum(1))
        return points, np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def ends_s(self) -> float:
        """When the person is out of the picture again."""
        return self.starts_s + float(self._curve[1][-1]) / self.speed_m_s

    def at(self, time_s: float) -> tuple[float, float, Pose] | None:
        """Where the person is, as (x, z, pose seen from the camera), or None outside of the walk."""
        if not self.starts_s <= time_s < self.ends_s:
            return None
        points, lengths = self._curve
        gone = (time_s - self.starts_s) * self.speed_m_s
        k = min(int(np.searchsorted(lengths, gone, side="right")), _SAMPLES - 1)
        share = (gone - lengths[k - 1]) / (lengths[k] - lengths[k - 1])
        x, z = (points[k - 1] + share * (points[k] - points[k - 1])).tolist()
        ahead = points[k] - points[k - 1]
        yaw = math.atan2(ahead[0], -ahead[1]) + math.atan2(x, z)
        return x, z, Pose(yaw, 2 * math.pi * gone / _STRIDE_M)


def transit_s(a: tuple[float, float], b: tuple[float, float], speed_m_s: float) -> float:
    """How long the unseen way between two cameras takes; places in metres on the plan."""
    return math.hypot(a[0] - b[0], a[1] - b[1]) / speed_m_s


def draw_walks(
    d: Draws,
    people: int,
    lenses: Sequence[Lens],
    places: Sequence[tuple[float, float]],
    *,
    seen_as: Sequence[Sequence[tuple[float, Modality]]],
    duration_s: float,
) -> tuple[Walk, ...]:
    """Send everybody along a route.

    Args:
        d: Chance.
        people: How many.
        lenses: Of the cameras.
        places: Of the cameras, metres on the plan.
        seen_as: Per camera, the modalities it sees in: (from when in seconds, which), in order.
        duration_s: Of the footage; nobody enters later.

    Returns:
        Walks by person and time. Plans are kept that leave people mostly apart, and give each a visible
        and an infrared view where the site has both.
    """
    walks: list[Walk] = []
    for person in range(people):
        busy = _busy(walks, len(lenses))
        best: tuple[float, list[Walk]] | None = None
        for _ in range(_CANDIDATES):
            plan = _plan(d, person, lenses, places, duration_s)
            cost = _crowding(plan, busy)
            modalities = {_modality(seen_as[walk.camera], (walk.starts_s + walk.ends_s) / 2) for walk in plan}
            cost += 30.0 * (len(MODALITIES) - len(modalities))
            cost += 10.0 * sum(walk.ends_s > duration_s for walk in plan)
            if best is None or cost < best[0]:
                best = cost, plan
        assert best is not None
        walks += best[1]
    return tuple(walks)


def _plan(
    d: Draws, person: int, lenses: Sequence[Lens], places: Sequence[tuple[float, float]], duration_s: float
) -> list[Walk]:
    speed = min(max(d.normal(1.35, 0.12), 1.0), 1.7)
    route = list(range(len(lenses)))
    for k in range(len(route) - 1, 0, -1):  # shuffle
        other = d.below(k + 1)
        route[k], route[other] = route[other], route[k]
    if len(route) > 3 and d.chance(0.4):
        route = route[:-1]
    time_s = d.uniform(1.5, max(2.5, duration_s - _PER_VIEW_S * len(route)))
    plan: list[Walk] = []
    for index, camera in enumerate(route):
        if index:
            time_s += max(3.0, transit_s(places[route[index - 1]], places[camera], speed) * d.normal(1, 0.1))
        if time_s >= duration_s:
            break
        walk = Walk(person, camera, time_s, speed, _crossing(d, lenses[camera]))
        time_s = walk.ends_s
        plan.append(walk)
    return plan


def _crossing(d: Draws, lens: Lens) -> tuple[tuple[float, float], ...]:
    """Control points of a way from one side of the picture to the other."""

    def depth() -> float:
        return d.uniform(8.0, 15.0) if d.chance(0.25) else d.uniform(_NEAREST_M + 0.2, 8.0)

    side = 1 if d.chance(0.5) else -1
    first, last = depth(), depth()
    bend = max(_NEAREST_M + 0.2, (first + last) / 2 + d.normal(0, 1.2))
    middle = (d.uniform(-1.5, 1.5), bend)
    return (-side * lens.edge_m(first), first), middle, (side * lens.edge_m(last), last)


def _modality(changes: Sequence[tuple[float, Modality]], time_s: float) -> Modality:
    return [modality for since, modality in changes if since <= time_s][-1]


def _busy(walks: Sequence[Walk], cameras: int) -> list[F64]:
    """When somebody is in each camera's view: per camera, rows of (from, until) in seconds."""
    spans: list[list[tuple[float, float]]] = [[] for _ in range(cameras)]
    for walk in walks:
        spans[walk.camera].append((walk.starts_s, walk.ends_s))
    return [np.array(span).reshape(-1, 2) for span in spans]


def _crowding(plan: Sequence[Walk], busy: Sequence[F64]) -> float:
    """Seconds spent in one view with others, counted more where several are met."""
    total = 0.0
    for walk in plan:
        spans = busy[walk.camera]
        shared = np.minimum(spans[:, 1], walk.ends_s) - np.maximum(spans[:, 0], walk.starts_s)
        met = shared[shared > 0]
        total += float(met.sum()) * max(1, len(met)) ** 2
    return total
