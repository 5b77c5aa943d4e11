"""Scripted footage: small scenes whose people, light and time are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
HEIGHT, WIDTH = 240, 320


def room(seed: int = 0, *, colourful: bool = True) -> U8:
    """An empty scene with texture at every place."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 190, (12, 16, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    scene[np.arange(HEIGHT) % 20 < 2] //= 2  # floor boards
    return np.asarray(scene if colourful else grey(scene), np.uint8)


def grey(picture: U8) -> U8:
    """As a monochrome camera sends it: three equal channels."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)


def with_people(scene: U8, feet: Sequence[tuple[int, int]], height: int = 100,
                jacket: tuple[int, int, int] = (40, 30, 220)) -> U8:
    """Put people on a scene by the middle of their feet: a head, a jacket (red), dark trousers."""
    picture = scene.copy()
    for x, y in feet:
        width = height // 3
        top = y - height
        cv2.circle(picture, (x, top + width // 3), width // 3, (120, 150, 200), -1)
        hip = top + height // 2
        cv2.rectangle(picture, (x - width // 2, top + width // 2), (x + width // 2, hip), jacket, -1)
        cv2.rectangle(picture, (x - width // 3, hip), (x + width // 3, y - 1), (30, 25, 20), -1)
    return picture


def noisy(picture: U8, rng: np.random.Generator, spread: float = 2.0) -> U8:
    """Add a sensor's noise."""
    grain = rng.normal(0, spread, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def film(path: Path, pictures: Sequence[U8], fps: float = 10.0) -> Path:
    """Write a video that any OpenCV can read back."""
    shape = (pictures[0].shape[1], pictures[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), fps, shape)
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def numbered(count: int) -> list[U8]:
    """Pictures that know their number: its bits as bright and dark bars."""
    bits = (np.arange(count)[:, None] >> np.arange(8)) & 1
    bars = (40 + 170 * bits).astype(np.uint8).repeat(8, 1)
    return list(np.broadcast_to(bars[:, None, :, None], (count, 48, 64, 3)).copy())


def number(picture: U8) -> int:
    """Read the number of a picture back, through any compression."""
    bars = picture.mean((0, 2)).reshape(8, 8).mean(1) > 125
    return int((bars << np.arange(8)).sum())
