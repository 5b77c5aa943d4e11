"""One camera of a site, frame by frame: its background, the people in it, and what its sensor makes of both.

A frame depends on the scene and its index alone. What does not move is drawn once; people are drawn in linear
light over it, far ones first, and only around them is the picture made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import Modality
from cmnas_edge.synthetic import figure
from cmnas_edge.synthetic.draws import generator
from cmnas_edge.synthetic.dusk import Look, look
from cmnas_edge.synthetic.people import Person
from cmnas_edge.synthetic.place import background
from cmnas_edge.synthetic.pose import Placement, Pose
from cmnas_edge.synthetic.render import Light, light_up, wrinkles
from cmnas_edge.synthetic.routes import Lens, Walk
from cmnas_edge.synthetic.sensor import Sensor, auto_exposure

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I16 = npt.NDArray[np.int16]

HEIGHT: Final = 360
WIDTH: Final = 640
_FILM: Final = 6  # key of this stream; see draws.generator
_NOISE_MARGIN: Final = 64
_FLOOR: Final = 0.8  # reflectance of the ground relative to what stands on it
_FINER: Final = 2  # people are drawn this many times finer than the frame
_MARGIN_PX: Final = 4  # around people, so that soft edges are made with them
_LAMP_REACH: Final = 0.55  # how much of the infrared lamp's light comes back from the background
_PEOPLE_SHARE: Final = 0.25  # of what exposure is set for; about that of a crop
_PEOPLE_RADIANCE: Final = 0.45
_BRIGHTEST: Final = 1.1  # infrared exposure times gain: cloth of reflectance 0.75 just saturates
_RADIANS_PER_M: Final = 1.1  # light varies from spot to spot


@dataclass(frozen=True, eq=False)
class Figure:
    """Somebody in one frame, and the pixels they would cover if alone."""

    walk: Walk
    pose: Pose
    placement: Placement  # on the frame
    x_m: float
    z_m: float
    rows: slice  # of the frame: the person and a margin
    columns: slice
    labels: U8  # of that part of the frame; never empty of people
    pixel_count: int  # of the whole body, the part outside of the frame included


class Scene:
    """What one camera films."""

    def __init__(
        self,
        seed: int,
        number: int,
        lens: Lens,
        people: Sequence[Person],
        walks: Sequence[Walk],
        *,
        fps: float,
        infrared_from: int | None,
    ) -> None:
        """Prepare to draw.

        Args:
            seed: Of the site.
            number: Of the camera in the world of that seed.
            lens: Its lens.
            people: Everybody on the site; ``Walk.person`` is an index into them.
            walks: Crossings of this camera's view.
            fps: Frames per second.
            infrared_from: First frame in infrared; None if none is.
        """
        self._key = (seed, number)
        self._lens = lens
        self._people = people
        self._walks = tuple(walks)
        self._fps = fps
        self._infrared_from = infrared_from
        self._bands: dict[Modality, _Band] = {}
        self._looked: tuple[Look, U8] | None = None

    def figures(self, index: int) -> list[Figure]:
        """Who is in a frame, the farthest first."""
        found = []
        for walk in self._walks:
            spot = walk.at(index / self._fps)
            if spot is not None:
                shown = self._figure(walk, *spot)
                if shown is not None:
                    found.append(shown)
        return sorted(found, key=lambda shown: -shown.z_m)

    def look(self, index: int) -> Look:
        """How the camera sees at a frame."""
        return look(index, self._fps, self._infrared_from)

    def draw(self, index: int) -> U8:
        """Draw one frame, ``(360, 640, 3)`` BGR; gray where the camera sees infrared."""
        seen = self.look(index)
        band = self._band(seen.modality)
        shown = self.figures(index)
        frame = self._still(band, seen).copy()
        canvas = band.canvas
        for one in shown:
            self._lay(canvas, one, band, index)
        for one in shown:
            # Wider than is kept, so that blur finds the same neighbours as in the whole picture.
            top, left = max(one.rows.start - _MARGIN_PX, 0), max(one.columns.start - _MARGIN_PX, 0)
            wider = canvas[top : one.rows.stop + _MARGIN_PX, left : one.columns.stop + _MARGIN_PX]
            height, width = one.labels.shape
            y, x = one.rows.start - top, one.columns.start - left
            frame[one.rows, one.columns] = band.picture(wider, seen)[y : y + height, x : x + width]
        for one in shown:
            canvas[one.rows, one.columns] = band.background[one.rows, one.columns]
        return band.disturb(frame, seen, generator(_FILM, *self._key, 0, index))

    def _still(self, band: _Band, seen: Look) -> U8:
        if self._looked is None or self._looked[0] != seen:
            self._looked = seen, band.picture(band.background, seen)
        return self._looked[1]

    def _figure(self, walk: Walk, x: float, z: float, pose: Pose) -> Figure | None:
        person = self._people[walk.person]
        place = self._lens.place(x, z, person.body.height)
        left = int(place.centre_px - figure.REACH_ASIDE * place.length_px) - 2
        right = int(place.centre_px + figure.REACH_ASIDE * place.length_px) + 3
        top = int(place.row(-figure.REACH_ABOVE)) - 2
        bottom = int(place.row(figure.REACH_BELOW)) + 3
        labels = figure.label_map(person, pose, place.seen_from(left, top), bottom - top, right - left)
        body_rows, body_columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
        y0, y1 = max(top + int(body_rows[0]), 0), min(top + int(body_rows[-1]) + 1, HEIGHT)
        x0, x1 = max(left + int(body_columns[0]), 0), min(left + int(body_columns[-1]) + 1, WIDTH)
        if x0 >= x1 or y0 >= y1 or not labels[y0 - top : y1 - top, x0 - left : x1 - left].any():
            return None
        rows = slice(max(y0 - _MARGIN_PX, 0), min(y1 + _MARGIN_PX, HEIGHT))
        columns = slice(max(x0 - _MARGIN_PX, 0), min(x1 + _MARGIN_PX, WIDTH))
        padded = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        inside = labels[y0 - top : y1 - top, x0 - left : x1 - left]
        padded[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = inside
        return Figure(walk, pose, place, x, z, rows, columns, padded, int(np.count_nonzero(labels)))

    def _lay(self, canvas: F32, one: Figure, band: _Band, index: int) -> None:
        # Folds move with the gait: two draws of one walk, mixed by the frame.
        rng = generator(_FILM, *self._key, 1, one.walk.person, round(one.walk.starts_s * 1000))
        ease = 0.5 + 0.5 * np.cos(2 * np.pi * index / self._fps)
        folds = np.float32(ease) * wrinkles(rng) + np.float32(1 - ease) * wrinkles(rng)
        if band.sensor.modality == "infrared":
            level = min(max((one.z_m / 6.5) ** 0.5, 0.9), 1.15)
        else:
            level = float(np.exp(0.15 * rng.standard_normal())) * (1 + 0.12 * np.sin(_RADIANS_PER_M * one.x_m))
        light = Light(level, band.sensor.ambient, band.sensor.light_side)
        behind = canvas[one.rows, one.columns]
        person, (height, width) = self._people[one.walk.person], behind.shape[:2]
        place = one.placement.seen_from(one.columns.start, one.rows.start).finer(_FINER)
        labels = figure.label_map(person, one.pose, place, _FINER * height, _FINER * width)
        radiance, cover = light_up(
            person, labels, place, light=light, folds=folds, modality=band.sensor.modality
        )
        # Shrunk as light that passed the cover, so that soft edges stay true.
        passed = cv2.resize(radiance * cover[..., None], (width, height), interpolation=cv2.INTER_AREA)
        covered = cv2.resize(cover, (width, height), interpolation=cv2.INTER_AREA)[..., None]
        behind *= 1 - covered
        behind += np.asarray(passed, np.float32).reshape(behind.shape)

    def _band(self, modality: Modality) -> _Band:
        if modality not in self._bands:
            self._bands[modality] = _Band(*self._key, modality, self._lens)
        return self._bands[modality]


class _Band:
    """A camera's sensor in one modality, with what it sees when nobody is there."""

    def __init__(self, seed: int, number: int, modality: Modality, lens: Lens) -> None:
        self.sensor = Sensor.draw(seed, number, modality)
        scene = background(seed, number, modality, HEIGHT, WIDTH)
        # A wall ends and the ground begins about where people walk farthest.
        wall = round(lens.horizon_px + lens.focal_px * lens.above_ground_m / 18)
        scene[max(wall, 0) :] *= _FLOOR
        if modality == "infrared":
            across = np.linspace(-1, 1, WIDTH, dtype=np.float32)
            down = np.linspace(-0.6, 0.6, HEIGHT, dtype=np.float32)
            scene *= (_LAMP_REACH * (1 - 0.4 * (across**2 + down[:, None] ** 2)))[..., None]
        self.background = scene
        self.canvas = scene.copy()  # people are drawn here, and rubbed out again
        # Somewhere between none and automatic exposure of a scene with people in it.
        usual = _PEOPLE_SHARE * _PEOPLE_RADIANCE + (1 - _PEOPLE_SHARE) * scene
        self._exposure = auto_exposure(self.sensor.collect(usual, np.ones(3, np.float32))) ** 0.5
        if modality == "infrared":  # lamps are turned down before bright cloth goes white
            self._exposure = min(self._exposure, _BRIGHTEST / self.sensor.gain)
        self._noise = self._grain(seed, number)

    def _grain(self, seed: int, number: int) -> I16:
        rng = generator(_FILM, seed, number, 2)
        shape = (HEIGHT + _NOISE_MARGIN, WIDTH + _NOISE_MARGIN, self.sensor.bands)
        # As in `sensor.expose` at mid level; a shared sheet read at another place for each frame.
        sigma = 255 * self.sensor.noise * (0.6 + 0.8 * 0.45**0.5)
        return np.asarray(np.rint(rng.standard_normal(shape, dtype=np.float32) * sigma), np.int16)

    def picture(self, radiance: F32, seen: Look) -> U8:
        """Light to picture, noise apart: ``(h, w, bands)``."""
        light = self.sensor.collect(radiance, np.ones(3, np.float32))
        light *= np.float32(self._exposure * seen.exposure)
        signal = self.sensor.tone(light)
        if seen.saturation < 1 and signal.ndim == 3:
            gray = signal.mean(2, keepdims=True, dtype=np.float32)
            signal = gray + np.float32(seen.saturation) * (signal - gray)
        if seen.wash:
            signal += np.float32(seen.wash) * (1 - signal)
        blurred = cv2.GaussianBlur(signal, (0, 0), max(0.3, 0.7 * self.sensor.blur_px))
        picture = cv2.convertScaleAbs(blurred, alpha=255)
        return np.asarray(picture, np.uint8).reshape(*radiance.shape[:2], self.sensor.bands)

    def disturb(self, frame: U8, seen: Look, rng: np.random.Generator) -> U8:
        """Add one frame's flicker and noise; ``(h, w, 3)`` whatever the bands."""
        top, left = rng.integers(0, _NOISE_MARGIN, 2)
        noise = self._noise[top : top + HEIGHT, left : left + WIDTH]
        if seen.noise != 1:
            noise = (noise * np.float32(seen.noise)).astype(np.int16)
        flicker = 1 + (0.006 if self.sensor.modality == "visible" else 0.004) * float(rng.standard_normal())
        lit = cv2.convertScaleAbs(frame, alpha=flicker)
        noisy = cv2.add(lit.reshape(noise.shape), noise, dtype=cv2.CV_8U)
        if noisy.ndim == 2:
            return np.asarray(cv2.cvtColor(noisy, cv2.COLOR_GRAY2BGR), np.uint8)
        return np.asarray(noisy, np.uint8)
