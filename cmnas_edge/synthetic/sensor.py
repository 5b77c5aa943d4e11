"""What a camera makes of light: its colours, exposure, optics, noise and compression.

A camera's own constants are drawn once, from a seed; a `Shot` holds what changes between its pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import Modality
from cmnas_edge.synthetic.draws import Draws, generator

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

INFRARED_NOISE: Final = 0.6  # relative to visible; above it infrared carries too little to learn from
_MID_GRAY: Final = 0.42  # what automatic exposure aims at, linear
_CAMERAS: Final = 2  # key of this stream; see draws.generator


@dataclass(frozen=True, eq=False)
class Sensor:
    """One camera's constants in one modality."""

    modality: Modality
    white_balance: F32  # (3,), factors on BGR
    saturation: float
    gain: float
    gamma: float
    noise: float  # of full scale, at mid level about once this
    blur_px: float  # of the optics, at the sensor's own resolution
    resolution: float  # of the sensor relative to the picture it is asked for
    jpeg_quality: int
    ambient: float  # light of its place; see render.Light
    light_side: float
    yaw: float  # radians; how people mostly stand to it
    tilt: float

    @classmethod
    def draw(cls, seed: int, number: int, modality: Modality) -> Sensor:
        """The camera with this number in the world of this seed."""
        d = Draws(generator(_CAMERAS, seed, number))
        infrared = modality == "infrared"
        white_balance = np.array([math.exp(d.normal(0, 0.12)) for _ in range(3)], np.float32)
        return cls(
            modality=modality,
            white_balance=white_balance,
            gain=math.exp(d.normal(0, 0.18)),
            gamma=d.uniform(0.42, 0.62),
            saturation=d.uniform(0.65, 1.1),
            ambient=d.uniform(0.35, 0.7),
            light_side=d.uniform(-1, 1),
            noise=d.uniform(0.006, 0.02) * (INFRARED_NOISE if infrared else 1),
            blur_px=d.uniform(0.3, 0.9) * (1.15 if infrared else 1),
            resolution=d.uniform(0.8 if infrared else 0.6, 1.0),
            jpeg_quality=35 + d.below(50),
            yaw=d.uniform(0, 2 * math.pi),
            tilt=d.uniform(0.88, 1.0),
        )

    @property
    def bands(self) -> int:
        """How many this sensor sees: 3 in visible light, 1 in infrared."""
        return 1 if self.modality == "infrared" else 3

    def collect(self, radiance: F32, balance: F32) -> F32:
        """What the pixels gather: white balance, then saturation, then gain.

        Args:
            radiance: Linear light, ``(h, w, bands)``.
            balance: Factors of this picture on the camera's white balance, shape ``(3,)``.

        Returns:
            Linear, ``(h, w, 3)``, or ``(h, w)`` of an infrared sensor.
        """
        if self.modality == "infrared":
            return np.asarray(radiance[..., 0] * np.float32(self.gain))
        mix = np.full((3, 3), (1 - self.saturation) / 3, np.float32)
        mix += self.saturation * np.eye(3, dtype=np.float32)
        return np.asarray(cv2.transform(radiance, self.gain * mix * (self.white_balance * balance)), np.float32)

    def tone(self, light: F32) -> F32:
        """The signal of gathered light: gamma, and an end; shape kept, 0 to 1.05."""
        return np.minimum(cv2.pow(np.maximum(light, 1e-4), self.gamma), 1.05, dtype=np.float32)


@dataclass(frozen=True)
class Shot:
    """What is particular to one picture."""

    balance: tuple[float, float, float]
    auto_exposed: bool
    zoom: float  # how much of the sensor's resolution the person gets
    focus: float  # factor on the blur
    motion_px: int  # horizontal smear; 0 for none

    @classmethod
    def draw(cls, d: Draws, modality: Modality) -> Shot:
        """Draw the chances of one picture."""
        return cls(
            balance=(math.exp(d.normal(0, 0.05)), math.exp(d.normal(0, 0.05)), math.exp(d.normal(0, 0.05))),
            auto_exposed=d.chance(0.5),
            zoom=d.uniform(0.7 if modality == "infrared" else 0.5, 1.0),
            focus=d.uniform(0.6, 1.4),
            motion_px=3 + d.below(5) if d.chance(0.25) else 0,
        )


def expose(sensor: Sensor, radiance: F32, shot: Shot, rng: np.random.Generator) -> U8:
    """Take a picture.

    Args:
        sensor: Which camera.
        radiance: Linear light, ``(h, w, 3)`` BGR, or ``(h, w, 1)`` for an infrared sensor.
        shot: What is particular to this picture.
        rng: Where the noise comes from.

    Returns:
        Shape ``(h, w, 3)``, BGR, after compression; gray if the sensor is infrared.
    """
    height, width = radiance.shape[:2]
    light = sensor.collect(radiance, np.array(shot.balance, np.float32))
    if shot.auto_exposed:
        light *= auto_exposure(light)
    share = max(0.25, sensor.resolution * shot.zoom)
    size = (round(width * share), round(height * share))
    seen = cv2.resize(sensor.tone(light), size, interpolation=cv2.INTER_AREA)
    seen = cv2.GaussianBlur(seen, (0, 0), max(0.3, sensor.blur_px * share * shot.focus))
    if shot.motion_px:
        seen = cv2.blur(seen, (shot.motion_px, 1))
    signal = np.asarray(seen, np.float32)
    grain = np.asarray(rng.standard_normal(signal.shape, dtype=np.float32))
    grain *= 0.6 + 0.8 * np.sqrt(np.clip(signal, 0, 1))
    noisy = signal + grain * np.float32(sensor.noise)
    picture = compress(np.clip(noisy * 255, 0, 255).astype(np.uint8), sensor.jpeg_quality)
    full = np.asarray(cv2.resize(picture, (width, height)), np.uint8)
    return np.repeat(full[..., None], 3, 2) if full.ndim == 2 else full


def auto_exposure(light: F32) -> float:
    """The factor that brings a picture's mean halfway (in stops) to middle gray."""
    return math.sqrt(_MID_GRAY / max(0.08, float(light.mean())))


def compress(picture: U8, quality: int) -> U8:
    """What a picture looks like after JPEG; shape kept."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    flag = cv2.IMREAD_COLOR if picture.ndim == 3 else cv2.IMREAD_GRAYSCALE
    return np.asarray(cv2.imdecode(data, flag), np.uint8)
