"""Recorded frames: a video file or a folder of images, with a clock of their own.

Frame ``i`` was taken at ``start + i / fps``. Nothing is lost, however slow the one who works
on it.
"""

from __future__ import annotations

import itertools
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.frames.capture import open_file
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.errors import ConfigError

__all__ = ["Footage", "Recording", "folder", "video"]

U8 = npt.NDArray[np.uint8]
_log = logging.getLogger("cmnas.camera")
_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_FOLDER_FPS = 10.0


class Recording(NamedTuple):
    """Recorded pictures, not yet being read.

    Attributes:
        pictures: Reads them from the first on: BGR, shape ``(h, w, 3)``.
        fps: Pictures per second.
        starts_at: When the first was taken, epoch seconds.
    """

    pictures: Callable[[], Iterator[U8]]
    fps: float
    starts_at: float


class Footage:
    """Frames of a recording, at their own pace or as fast as they are taken."""

    recorded = True
    dropped_count = 0

    def __init__(self, recording: Recording, *, real_pace: bool, loop: bool = False,
                 max_fps: float | None = None, monotonic: Callable[[], float] = time.monotonic,
                 wait: Callable[[float], object] | None = None) -> None:
        """Prepare to read.

        Args:
            recording: What to read.
            real_pace: Give no frame before its time, counted from the first.
            loop: Begin again at the end; time and index go on.
            max_fps: Leave out frames so that no more are given per second of footage.
            monotonic: Seconds.
            wait: Sleeps; by default until `close` at most.
        """
        self._recording = recording
        self._keep = 1.0 if max_fps is None else min(1.0, max_fps / recording.fps)
        self._images = _again(recording.pictures) if loop else recording.pictures()
        self._real_pace = real_pace
        self._monotonic = monotonic
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._index = -1
        self._begun = 0.0

    @property
    def fps(self) -> float | None:
        """Frames per second at its own pace; None: as fast as they are taken."""
        return self._recording.fps if self._real_pace else None

    def __enter__(self) -> Footage:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
        if end := getattr(self._images, "close", None):
            end()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        image = self._take()
        fps = self._recording.fps
        now = self._monotonic()
        if not self._index:
            self._begun = now
        elif self._real_pace and (early_s := self._begun + self._index / fps - now) > 0:
            self._wait(early_s)
            now = self._monotonic()
            if self._closed.is_set():
                raise StopIteration
        return Frame(image, self._index, self._recording.starts_at + self._index / fps, now)

    def close(self) -> None:
        """End the iteration at the next frame; the file itself is let go on leaving the context."""
        self._closed.set()

    def _take(self) -> U8:
        while not self._closed.is_set():
            image = next(self._images)
            self._index += 1
            # One in so many, evenly: those at which the count of kept ones steps up.
            if math.ceil(self._index * self._keep) < math.ceil((self._index + 1) * self._keep):
                return image
        raise StopIteration


def _again(pictures: Callable[[], Iterator[U8]]) -> Iterator[U8]:
    while True:
        empty = True
        for image in pictures():
            empty = False
            yield image
        if empty:
            return


def video(path: Path, fps: float | None = None) -> Recording:
    """Look at a video file.

    Args:
        path: Anything FFmpeg reads.
        fps: Overrides what the file says.

    Raises:
        ConfigError: No such file, no video, or one that doesn't say how fast it runs.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: expected a video file, found a folder; write kind = \"folder\" for images")
    _need(path, "a video file")
    if not path.is_file():  # a pipe would be waited for, for ever
        raise ConfigError(f"{path}: expected a video file, found a pipe or device; name a file")
    with path.open("rb"):  # who may not read it is told so
        pass
    capture = _opened(path)
    fps = fps or capture.get(cv2.CAP_PROP_FPS)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    empty = not capture.grab()
    capture.release()
    if empty:
        raise ConfigError(f"{path}: expected a video, found one without a frame; record or convert it again")
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise ConfigError(f"{path}: expected a video that says its frames per second, found none; set 'fps'")
    return Recording(lambda: _pictures(path, count), fps, _start(path.stat().st_mtime, max(0, count) / fps))


def _opened(path: Path) -> cv2.VideoCapture:
    capture = open_file(str(path))
    if capture is None:
        raise ConfigError(f"{path}: expected a video, found a file that cannot be read as one; check it with a "
                          "player or convert it")
    return capture


def _pictures(path: Path, promised: int) -> Iterator[U8]:
    capture = _opened(path)
    try:
        for count in itertools.count():
            try:
                found, image = capture.read()
            except cv2.error as error:
                raise ConfigError(f"{path}: expected a video, found pictures that cannot be decoded "
                                  f"({error.code}); check it with a player or convert it") from None
            if not found:
                if count < 0.98 * promised:  # containers are often off by a frame or two
                    _log.warning("%s: ended after %d of %d frames; the file may be damaged", path, count, promised)
                return
            yield np.asarray(image, np.uint8)
    finally:
        capture.release()


def folder(path: Path, fps: float | None = None) -> Recording:
    """Look at a folder of images; their order is that of their names, numbers by value.

    Raises:
        ConfigError: No such folder, or no image in it; while iterating, an image that is none.
    """
    _need(path, "a folder of images")
    if not path.is_dir():
        raise ConfigError(f"{path}: expected a folder of images, found a file; write kind = \"video\" for a video")
    paths = sorted((p for p in path.iterdir() if p.suffix.lower() in _IMAGES), key=_natural)
    if not paths:
        raise ConfigError(f"{path}: expected images, found none; put {', '.join(sorted(_IMAGES))} files there")
    fps = fps or _FOLDER_FPS
    newest = max(p.stat().st_mtime for p in paths)
    return Recording(lambda: map(_image, paths), fps, _start(newest, len(paths) / fps))


def _start(written_at: float, length_s: float) -> float:
    """When footage began; of a file whose date was lost (1970), the epoch: no sighting is older."""
    return max(0.0, written_at - length_s)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _image(path: Path) -> U8:
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels than OpenCV or the memory takes
        image = None
    if image is None:
        try:
            path.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{path}: expected an image, found none to read ({error.strerror}); keep the files "
                              "there and readable while they are read") from None
        raise ConfigError(f"{path}: expected an image, found a file that cannot be read as one; remove or replace it")
    return np.asarray(image, np.uint8)


def _need(path: Path, what: str) -> None:
    if not path.exists():
        raise ConfigError(f"{path}: expected {what}, found nothing there; name one that exists")
