"""Crops from which ranges are found: drawn ones, or a folder of the user's own. Of the pictures only a digest stays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Drawn, Ranges
from cmnas_edge.bundle.pictures import draw, of_modality
from cmnas_edge.camera.settings import SpectrumSettings
from cmnas_edge.camera.spectrum import chroma
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import ConfigError
from cmnas_edge.preprocess import resize
from export.calibrate import WORLD_SEED
from export.precision import Method
from train.data.decoding import load, quietly
from train.data.layout import SUFFIXES

__all__ = ["FEWEST", "FIRST_PERSON", "MOST", "Crops", "drawn", "from_folder"]

U8 = npt.NDArray[np.uint8]
FEWEST = 64  # of a modality
MOST = 1_024
# Nobody of these is searched for by the gate.
FIRST_PERSON = 10_000
DRAWN = 512
_CAMERAS: dict[Modality, tuple[int, ...]] = {"visible": (1, 2, 4, 5), "infrared": (3, 6)}


class Crops(NamedTuple):
    """What is shown to a network while its ranges are found.

    Attributes:
        images: By modality, BGR, ``(n, h, w, 3)``.
        source: Drawn people, or a folder.
    """

    images: dict[Modality, U8]
    source: Literal["drawn", "folder"]

    def ranges(self, method: Method) -> Ranges:
        """What a bundle says of them: how many, and a digest over the pixels as they were fed."""
        digests = {modality: hashlib.sha256(str(images.shape).encode() + images.tobytes()).hexdigest()
                   for modality, images in self.images.items()}
        return Ranges(method, self.source, {modality: len(images) for modality, images in self.images.items()}, digests)


def drawn(height: int, width: int, count: int | None = None) -> Crops:
    """Crops of drawn people, 512 or so many of each modality, of whom the gate searches nobody."""
    images, count = {}, count or DRAWN
    for modality, cameras in _CAMERAS.items():
        people = Drawn(FIRST_PERSON, -(-count // len(cameras)), cameras, 1, WORLD_SEED)
        images[modality] = of_modality(draw(people, height, width), modality)[:count]
    return Crops(images, "drawn")


def from_folder(folder: Path, height: int, width: int, progress: Callable[[int, int], None] | None = None) -> Crops:
    """Crops of the user's own: pictures in folders ``visible`` and ``infrared``, at any depth.

    Of more than `MOST` of a modality, every so manieth is taken, by name.

    Args:
        folder: Holds such folders: ``visible/1.jpg``, or ``people/17/entrance/visible/1.jpg``.
        height: Rows of a crop.
        width: Columns of a crop.
        progress: Called with pictures read, and all.

    Raises:
        ConfigError: No folder, too few pictures of a modality, a picture that cannot be read, or pictures that look
            like the other modality.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder of crops, found none; check the path, or leave it out for "
                          "drawn ones")
    quietly()
    paths = {modality: _thinned(_pictures(folder, modality)) for modality in MODALITIES}
    for modality, found in paths.items():
        if len(found) < FEWEST:
            raise ConfigError(f"{folder}: expected at least {FEWEST} pictures in folders named {modality}, found "
                              f"{len(found)}; add some, or leave the folder out for drawn ones")
    images = {}
    every, done = sum(map(len, paths.values())), 0
    for modality, found in paths.items():
        images[modality] = np.empty((len(found), height, width, 3), np.uint8)
        colours = np.empty(len(found))
        for row, path in enumerate(found):
            image = load(path)
            colours[row] = chroma(image)[0]
            resize(image, height, width, out=images[modality][row])
            done += 1
            if progress is not None:
                progress(done, every)
        _check_spectrum(folder, modality, colours)
    return Crops(images, "folder")


def _check_spectrum(folder: Path, modality: Modality, colours: npt.NDArray[np.float64]) -> None:
    """Refuse a folder most of whose pictures are grey where they should have colour, or the other way round."""
    told = colours[np.isfinite(colours)]
    limits = SpectrumSettings()
    middle = float(np.median(told)) if len(told) else 0.0
    looks: Modality | None = None
    if modality == "infrared" and middle >= limits.visible_above:
        looks = "visible"
    if modality == "visible" and middle <= limits.infrared_below:
        looks = "infrared"
    if looks is not None:
        raise ConfigError(f"{folder}: expected {modality} pictures in folders named {modality}, found some that look "
                          f"{looks} (half have a chroma of {'at least' if looks == 'visible' else 'at most'} "
                          f"{middle:.1f} of 255); a network would be calibrated for what it never sees: sort them "
                          "again")


def _pictures(folder: Path, modality: Modality) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.parent.name == modality and not path.name.startswith(".")
                  and path.suffix.lower() in SUFFIXES)


def _thinned(paths: list[Path]) -> list[Path]:
    if len(paths) <= MOST:
        return paths
    return [paths[row] for row in np.linspace(0, len(paths) - 1, MOST).round().astype(int)]
