"""A site of cameras that people walk through, with the truth about every frame.

A site is drawn from a few numbers and holds no frames: `Site.frames` draws them as they are asked for, so a
site of any length fits anywhere. Its people are nobody of the crop set, its cameras none of that set's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import Modality
from cmnas_edge.synthetic.draws import Draws, generator
from cmnas_edge.synthetic.people import Person
from cmnas_edge.synthetic.routes import Lens, Walk, draw_walks
from cmnas_edge.synthetic.scene import HEIGHT, WIDTH, Figure, Scene
from cmnas_edge.synthetic.sensor import Sensor

U8 = npt.NDArray[np.uint8]

Kind = Literal["visible", "infrared", "dual"]
KINDS: Final[tuple[Kind, ...]] = ("visible", "visible", "infrared", "dual")
STARTS_AT: Final = 1_795_188_600.0  # 2026-11-20 15:30 UTC

_SITES: Final = 5  # key of this stream; see draws.generator
_FIRST_PERSON: Final = 1_000_000  # of a site, in the world of its seed
_FIRST_CAMERA: Final = 1_001
_NAMES: Final = ("entrance", "hall", "yard", "gate")
_APART_M: Final = 9.0
_MAX_PEOPLE: Final = 500
_MAX_CAMERAS: Final = 64


@dataclass(frozen=True)
class SiteCamera:
    """A camera with a place."""

    name: str
    kind: Kind
    number: int  # in the world of the site's seed
    place_m: tuple[float, float]  # on the plan
    infrared_from: int | None  # first frame in infrared; None if none is, 0 if all are


class Truth(NamedTuple):
    """One person in one frame."""

    frame: int
    seen_at: float  # epoch seconds
    camera: str
    identity: int
    box: tuple[float, float, float, float]  # x1, y1, x2, y2: all of the body that lies in the frame, hidden or not
    visible_fraction: float  # of the whole body: neither hidden by somebody nor outside of the frame
    modality: Modality


@dataclass(frozen=True, eq=False)
class Site:
    """Cameras, people and their ways."""

    seed: int
    fps: float
    duration_s: float
    starts_at: float  # epoch seconds of every camera's first frame
    dusk_s: float  # when dual cameras turn to infrared
    cameras: tuple[SiteCamera, ...]
    people: tuple[Person, ...]
    walks: tuple[Walk, ...]
    lenses: tuple[Lens, ...]

    @classmethod
    def draw(
        cls,
        seed: int = 7,
        people: int = 12,
        cameras: Sequence[Kind] = KINDS,
        duration_s: float = 120.0,
        fps: float = 10.0,
        *,
        starts_at: float = STARTS_AT,
        dusk_s: float | None = None,
        names: Sequence[str] | None = None,
    ) -> Site:
        """Draw a site.

        Args:
            seed: Of everything in it.
            people: How many walk through it, 1 to 500.
            cameras: What each sees: ``visible``, ``infrared``, or ``dual``: visible until dusk.
            duration_s: Of the footage, at least 2.
            fps: Frames per second, 1 to 60.
            starts_at: Epoch seconds of the first frame.
            dusk_s: When dual cameras turn to infrared; None for halfway.
            names: Of the cameras; None for ``entrance``, ``hall``, ``yard``, ``gate``, ``camera-5`` ...

        Raises:
            ValueError: One of these cannot be.
        """
        dusk_s = duration_s / 2 if dusk_s is None else dusk_s
        _check(seed, people, cameras, duration_s=duration_s, fps=fps, starts_at=starts_at, dusk_s=dusk_s)
        names = default_names(len(cameras)) if names is None else names
        if len(set(names)) != len(cameras):
            raise ValueError(f"site: expected a name of its own for each of {len(cameras)} cameras, found {names}")
        d = Draws(generator(_SITES, seed))
        placed = _place(d, cameras, names, round(dusk_s * fps))
        lenses = tuple(
            Lens.draw(d, HEIGHT, WIDTH, Sensor.draw(seed, camera.number, "visible").tilt) for camera in placed
        )
        crowd = tuple(Person.draw(seed, _FIRST_PERSON + index) for index in range(people))
        changes = [_changes(camera, fps) for camera in placed]
        places = [camera.place_m for camera in placed]
        walks = draw_walks(d, people, lenses, places, seen_as=changes, duration_s=duration_s)
        return cls(seed, fps, duration_s, starts_at, dusk_s, placed, crowd, walks, lenses)

    @property
    def frame_count(self) -> int:
        """Of each camera."""
        return math.floor(self.duration_s * self.fps + 1e-9)

    def camera(self, name: str) -> SiteCamera:
        """The camera of that name.

        Raises:
            ValueError: There is none; the message lists those there are.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        names = ", ".join(camera.name for camera in self.cameras)
        raise ValueError(f"site: expected one of its cameras {names}, found {name!r}")

    def scene(self, camera: str | SiteCamera) -> Scene:
        """What a camera films, to draw single frames of; not to be shared between threads."""
        one = self.camera(camera) if isinstance(camera, str) else camera
        index = self.cameras.index(one)
        walks = [walk for walk in self.walks if walk.camera == index]
        return Scene(
            self.seed, one.number, self.lenses[index], self.people, walks,
            fps=self.fps, infrared_from=one.infrared_from,
        )  # fmt: skip

    def frames(self, camera: str | SiteCamera) -> Iterator[U8]:
        """A camera's frames in order, each ``(360, 640, 3)`` BGR, drawn when it is asked for."""
        scene = self.scene(camera)
        return (scene.draw(index) for index in range(self.frame_count))

    def truth(self, camera: str | SiteCamera) -> Iterator[Truth]:
        """Who is where in a camera's frames, by frame; nobody with no pixel in it."""
        one = self.camera(camera) if isinstance(camera, str) else camera
        scene = self.scene(one)
        for index in range(self.frame_count):
            modality = scene.look(index).modality
            seen_at = self.starts_at + index / self.fps
            shown = scene.figures(index)
            for figure, visible in zip(shown, _visible(shown), strict=True):
                share = round(visible / figure.pixel_count, 4)
                yield Truth(index, seen_at, one.name, figure.walk.person, _box(figure), share, modality)


def default_names(count: int) -> tuple[str, ...]:
    """What so many cameras are called if nobody says."""
    return (*_NAMES, *(f"camera-{number}" for number in range(len(_NAMES) + 1, count + 1)))[:count]


def _check(
    seed: int, people: int, cameras: Sequence[Kind], *,
    duration_s: float, fps: float, starts_at: float, dusk_s: float,
) -> None:
    unknown = [kind for kind in cameras if kind not in ("visible", "infrared", "dual")]
    problems = (
        (seed < 0, f"a seed from 0, found {seed}"),
        (not 1 <= people <= _MAX_PEOPLE, f"1 to {_MAX_PEOPLE} people, found {people}"),
        (not 1 <= len(cameras) <= _MAX_CAMERAS, f"1 to {_MAX_CAMERAS} cameras, found {len(cameras)}"),
        (bool(unknown), f"cameras that are visible, infrared or dual, found {', '.join(map(repr, unknown))}"),
        (not 2 <= duration_s <= 86_400, f"a duration of 2 to 86400 seconds, found {duration_s:g}"),
        (not 1 <= fps <= 60, f"1 to 60 frames per second, found {fps:g}"),
        (not 0 <= starts_at < 1e11, f"a start in epoch seconds, found {starts_at:g}"),
        (not 1 <= dusk_s < math.inf, f"dusk after at least 1 second, found {dusk_s:g}"),
    )
    for wrong, words in problems:
        if wrong:
            raise ValueError(f"site: expected {words}")


def _place(d: Draws, kinds: Sequence[Kind], names: Sequence[str], dusk_frame: int) -> tuple[SiteCamera, ...]:
    """Put cameras on a grid of the plan, jittered."""
    columns = math.ceil(math.sqrt(len(kinds)))
    placed = []
    for index, kind in enumerate(kinds):
        place = tuple(round(_APART_M * cell + d.uniform(-1.5, 1.5), 1) for cell in divmod(index, columns)[::-1])
        infrared_from = {"visible": None, "infrared": 0, "dual": dusk_frame}[kind]
        placed.append(SiteCamera(names[index], kind, _FIRST_CAMERA + index, (place[0], place[1]), infrared_from))
    return tuple(placed)


def _changes(camera: SiteCamera, fps: float) -> list[tuple[float, Modality]]:
    if camera.infrared_from is None:
        return [(0.0, "visible")]
    if camera.infrared_from == 0:
        return [(0.0, "infrared")]
    return [(0.0, "visible"), (camera.infrared_from / fps, "infrared")]


def _box(figure: Figure) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(figure.labels.any(1)), np.flatnonzero(figure.labels.any(0))
    top, left = figure.rows.start, figure.columns.start
    return (
        float(left + columns[0]), float(top + rows[0]), float(left + columns[-1] + 1), float(top + rows[-1] + 1),
    )  # fmt: skip


def _visible(shown: Sequence[Figure]) -> list[int]:
    """Pixels of each that nobody nearer covers."""
    if len(shown) < 2:
        return [int(np.count_nonzero(figure.labels)) for figure in shown]
    owner = np.zeros((HEIGHT, WIDTH), np.int16)
    for number, figure in enumerate(shown, start=1):
        owner[figure.rows, figure.columns][figure.labels > 0] = number
    return [int(count) for count in np.bincount(owner.ravel(), minlength=len(shown) + 1)[1:]]
