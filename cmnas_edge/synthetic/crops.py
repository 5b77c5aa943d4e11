"""Crops of drawn people, as a detector would cut them, for training and for measuring.

A crop depends on (seed, identity, camera, k) alone: draw any of them, in any order, any number of times.
Cameras are numbered as in SYSU-MM01: 1, 2, 4, 5 visible, 3 and 6 infrared, 2 and 3 in one room.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import Modality
from cmnas_edge.synthetic import figure
from cmnas_edge.synthetic.draws import Draws, generator
from cmnas_edge.synthetic.people import Person
from cmnas_edge.synthetic.place import background
from cmnas_edge.synthetic.pose import Placement, Pose
from cmnas_edge.synthetic.render import Light, lay_over, light_up, wrinkles
from cmnas_edge.synthetic.sensor import Sensor, Shot, expose

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

CAMERAS: Final = (1, 2, 3, 4, 5, 6)
_CROPS: Final = 4  # key of this stream; see draws.generator
_PLACE_HEIGHT, _PLACE_WIDTH = 420, 600


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera of the crop set: a sensor and what it looks at."""

    number: int
    sensor: Sensor
    background: F32  # (420, 600, bands), linear reflectance

    @classmethod
    def draw(cls, seed: int, number: int, modality: Modality | None = None) -> Camera:
        """The camera with this number, from 1; every third is infrared, unless a band is named."""
        if number < 1:
            raise ValueError(f"camera: expected a number from 1, found {number}")
        # As in SYSU-MM01, camera 3 stands in the room of camera 2. One that sees both bands stands by itself.
        room = 2 if number == 3 and modality is None else number
        modality = modality or modality_of(number)
        scene = background(seed, room, modality, _PLACE_HEIGHT, _PLACE_WIDTH)
        return cls(number, Sensor.draw(seed, number, modality), scene)

    @property
    def modality(self) -> Modality:
        """The band this camera sees."""
        return self.sensor.modality


@dataclass(frozen=True, eq=False)
class CropSet:
    """Crops and what they show; row i of each array belongs together."""

    images: U8  # (n, height, width, 3), BGR
    identity: I64  # (n,)
    camera: I64  # (n,), numbers from 1
    infrared: npt.NDArray[np.bool_]  # (n,)

    def __len__(self) -> int:
        return len(self.images)


def modality_of(number: int) -> Modality:
    """The band of a camera, by its number: 3, 6, 9 ... are infrared."""
    return "infrared" if number % 3 == 0 else "visible"


@dataclass(frozen=True, eq=False)
class _Chances:
    """Everything about a crop that is drawn before the person is, in the order it is drawn."""

    pose: Pose
    place: Placement
    level: float  # of the light
    behind: F32
    occluder: tuple[slice, slice, float] | None
    shot: Shot

    @classmethod
    def draw(cls, person: Person, camera: Camera, d: Draws, height: int, width: int) -> _Chances:
        pose, place = _pose(person, camera, d, height, width)
        level = d.uniform(0.9, 1.15) if camera.modality == "infrared" else math.exp(d.normal(0, 0.22))
        behind = _behind(camera, d, height, width)
        occluder = _occluder(d, height, width)
        return cls(pose, place, level, behind, occluder, Shot.draw(d, camera.modality))


def draw_crop(person: Person, camera: Camera, rng: np.random.Generator, height: int, width: int) -> U8:
    """Draw one crop.

    Args:
        person: Who is in it.
        camera: Which camera took it.
        rng: Everything by chance: pose, place in the crop, light, occlusion, noise.
        height: Pixels, 32 to 420.
        width: Pixels, 16 to 600.

    Returns:
        Shape ``(height, width, 3)``, BGR; gray if the camera is infrared.
    """
    chances = _Chances.draw(person, camera, Draws(rng), height, width)
    labels = figure.label_map(person, chances.pose, chances.place, height, width)
    sensor, modality = camera.sensor, camera.modality
    light = Light(chances.level, sensor.ambient, sensor.light_side)
    radiance, cover = light_up(
        person, labels, chances.place, light=light, folds=wrinkles(rng), modality=modality
    )
    scene = lay_over(radiance, cover, chances.behind)
    if chances.occluder is not None:
        rows, columns, shade = chances.occluder
        scene[rows, columns] = 0.3 * scene[rows, columns] + 0.7 * shade
    return expose(sensor, scene, chances.shot, rng)


def view_of(person: Person, camera: Camera, rng: np.random.Generator, height: int, width: int) -> tuple[float, bool]:
    """What makes a crop of ``draw_crop``'s arguments hard: the side it shows, and whether something stands before it.

    Returns:
        Yaw in radians (0 shows the front, pi the back), and whether part of the crop is hidden.
    """
    chances = _Chances.draw(person, camera, Draws(rng), height, width)
    return chances.pose.yaw, chances.occluder is not None


def draw_label_map(person: Person, camera: Camera, rng: np.random.Generator, height: int, width: int) -> U8:
    """The label map behind ``draw_crop`` of the same arguments, ``(height, width)``; see ``figure``."""
    d = Draws(rng)
    return figure.label_map(person, *_pose(person, camera, d, height, width), height, width)


def crop_rng(seed: int, identity: int, camera: int, k: int) -> np.random.Generator:
    """The chances of crop k of an identity under a camera."""
    return generator(_CROPS, seed, identity, camera, k)


def draw_set(
    identities: Sequence[int],
    cameras: Sequence[int] = CAMERAS,
    per_camera: int = 4,
    height: int = 256,
    width: int = 128,
    seed: int = 0,
    *,
    first: int = 0,
    look_alikes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> CropSet:
    """Draw a set of crops, ordered by identity, then camera, then k.

    Args:
        identities: Numbers of people in the world of this seed; a range will do.
        cameras: Numbers of cameras, see ``modality_of``; beyond 6 they are more of the same kind.
        per_camera: Crops of each identity under each camera.
        height: Of a crop, 32 to 420 pixels.
        width: Of a crop, 16 to 600 pixels.
        seed: Of the world.
        first: The first k, so that a later call can draw other crops of the same people.
        look_alikes: People dress alike in groups of so many, by their numbers; see ``Person.dressed_like``.
        progress: Called with (done, all) after each identity.

    Returns:
        ``len(identities) * len(cameras) * per_camera`` crops.

    Raises:
        ValueError: A size is out of range, a count is not positive, or a camera is unknown.
    """
    check_size(height, width)
    if per_camera < 1:
        raise ValueError(f"crops: expected at least 1 per camera, found {per_camera}")
    if not len(identities) or not len(cameras):
        raise ValueError("crops: expected at least one identity and one camera")
    if seed < 0 or first < 0:
        raise ValueError(f"crops: expected seed and first from 0, found {seed} and {first}")
    if look_alikes < 1:
        raise ValueError(f"crops: expected look_alikes from 1, found {look_alikes}")
    count = len(identities) * len(cameras) * per_camera
    images = np.empty((count, height, width, 3), np.uint8)
    seen_by = [camera_of(seed, number) for number in cameras]
    row = 0
    for done, identity in enumerate(identities, start=1):
        person = Person.draw(seed, identity)
        if identity % look_alikes:
            person = person.dressed_like(Person.draw(seed, identity - identity % look_alikes))
        for camera in seen_by:
            for k in range(first, first + per_camera):
                rng = crop_rng(seed, identity, camera.number, k)
                images[row] = draw_crop(person, camera, rng, height, width)
                row += 1
        if progress is not None:
            progress(done, len(identities))
    camera_column = np.tile(np.repeat(np.array(cameras, np.int64), per_camera), len(identities))
    return CropSet(
        images=images,
        identity=np.repeat(np.array(identities, np.int64), len(cameras) * per_camera),
        camera=camera_column,
        infrared=camera_column % 3 == 0,
    )


def check_size(height: int, width: int) -> None:
    """Raise ``ValueError`` unless a crop can have this size."""
    if not (32 <= height <= _PLACE_HEIGHT and 16 <= width <= _PLACE_WIDTH):
        raise ValueError(
            f"crop size: expected height 32 to {_PLACE_HEIGHT} and width 16 to {_PLACE_WIDTH}, "
            f"found {height}x{width}"
        )


@lru_cache(maxsize=32)
def camera_of(seed: int, number: int, modality: Modality | None = None) -> Camera:
    """``Camera.draw``, remembered: a background takes a moment to draw."""
    return Camera.draw(seed, number, modality)


def _pose(
    person: Person, camera: Camera, d: Draws, height: int, width: int
) -> tuple[Pose, Placement]:
    phase = d.uniform(0, 2 * math.pi)
    usual = d.chance(0.7)
    yaw = camera.sensor.yaw + d.normal(0, 0.6) if usual else d.uniform(0, 2 * math.pi)
    length = 0.97 * height * d.uniform(0.84, 0.97) * person.body.height
    centre = width * (0.5 + d.normal(0, 0.04))
    crown = height * d.uniform(0.02, 0.05)
    return Pose(yaw, phase), Placement(centre, crown, length, camera.sensor.tilt)


def _behind(camera: Camera, d: Draws, height: int, width: int) -> F32:
    """A piece of the camera's place; in infrared the lamp hardly reaches it."""
    tall, wide = camera.background.shape[:2]
    top, left = d.below(tall - height + 1), d.below(wide - width + 1)
    shine = d.uniform(0.25, 0.9) if camera.modality == "infrared" else d.uniform(0.7, 1.1)
    piece = camera.background[top : top + height, left : left + width]
    return np.asarray(piece * np.float32(shine))


def _occluder(d: Draws, height: int, width: int) -> tuple[slice, slice, float] | None:
    """Something gray before the lower part of the person, in about one crop of six."""
    if not d.chance(0.18):
        return None
    left, across = d.below(width), width // 8 + d.below(3 * width // 8)
    top = height // 3 + d.below(2 * height // 3)
    return slice(top, None), slice(left, left + across), d.uniform(0.05, 0.7)
